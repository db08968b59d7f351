"""Scalar LSTM with exponential gates (xLSTM), without its gauge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, log_sigmoid, sigmoid, softplus, tanh


@dataclass(frozen=True, eq=False)
class SLSTM(Cell):
    """State [h, q, l]: q = c / n, the cell over its normaliser, and l = m + log n, the log of all that was let in.

    t = i - log f - l    q' = sigmoid(-t) q + sigmoid(t) tanh(z)    l' = log f + l + softplus(t)    h' = sigmoid(o) q'

    with i, f, z, o = U h + W x + b and log f = log sigmoid(f). h does not change with (c, n, m) -> (c e^-d, n e^-d,
    m + d): in these letters the stabiliser m is a gauge, and would give every unit an exponent that means nothing.
    d q'/d q = d l'/d l = sigmoid(-t) around the weights. Zeros are a start with n = 1, where the paper has 0; U is
    full, as of one head.
    Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter (2024).
    """

    parts = ("h", "q", "l")
    gates = ("i", "f", "z", "o")
    gate_names: ClassVar = {"i": "input", "f": "forget", "z": "cell", "o": "output"}
    keep_gates: ClassVar = {"f": 1, "i": -1}
    squash: ClassVar = {"f": (0, 1), "z": (-1, 1), "o": (0, 1)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        i, f, z, o = a + v
        return i, sigmoid(f), tanh(z), sigmoid(o)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        i, f, z, o = a + v
        _, q, old = s
        old = log_sigmoid(f) + old
        q = q + sigmoid(i - old) * (tanh(z) - q)
        return sigmoid(o) * q, q, old + softplus(i - old)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        i, f, z, o = a + v
        _, q, old = s
        old, d = log_sigmoid(f) + old, sigmoid(-f)  # d log f / d f
        t, z, dz = i - old, tanh(z), dtanh(z)
        let, keep, e = sigmoid(t), sigmoid(-t), sigmoid(o)
        w = dsigmoid(t) * (z - q)
        new = q + let * (z - q)
        q_row = [w, -w * d, let * dz, 0]
        return Partials(
            through=[[e * w, -e * w * d, e * let * dz, dsigmoid(o) * new], q_row, [let, keep * d, 0, 0]],
            around=[[0, e * keep, -e * w], [0, keep, -w], [0, 0, keep]],
            within=[[0, e, 0], [0, 0, 0], [0, 0, 0]],
        )

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        levels = self.evolve(x, s)[..., 2 * self.width :, :]
        return {
            "lowest l": Fact(
                float(levels.min()), "log of the normaliser n e^m, which the stabiliser m keeps out of the numbers"
            ),
            "highest l": Fact(float(levels.max()), "where it is above 88, n e^m itself would overflow in float32"),
        }
