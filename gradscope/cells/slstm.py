"""Scalar LSTM with exponential gates (xLSTM), without its gauge."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import (
    Array,
    Gate,
    OneMapCell,
    Partials,
    Parts,
    Preactivations,
    Property,
    dsigmoid,
    dtanh,
    log_sigmoid,
    sigmoid,
    softplus,
    tanh,
)


@dataclass(frozen=True, eq=False)
class SLSTM(OneMapCell):
    """State [h, q, l]: q = c / n, the cell over its normaliser, and l = m + log n, the log of all that was let in.

    t = i - log f - l    q' = sigmoid(-t) q + sigmoid(t) tanh(z)    l' = log f + l + softplus(t)    h' = sigmoid(o) q'

    with i, f, z, o = U h + W x + b and log f = log sigmoid(f). h does not change with (c, n, m) -> (c e^-d, n e^-d,
    m + d): in these letters the stabiliser m is a gauge, and would give every unit an exponent that means nothing.
    d q'/d q = d l'/d l = sigmoid(-t) around the weights. Zeros are a start with n = 1, where the paper has 0; U is
    full, as of one head.
    Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter (2024).
    """

    parts = ("h", "q", "l")
    gates = {
        "i": Gate("input", keeps=-1),
        "f": Gate("forget", (0, 1), keeps=+1),
        "z": Gate("cell", (-1, 1)),
        "o": Gate("output", (0, 1)),
    }

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return p["i"], sigmoid(p["f"]), tanh(p["z"]), sigmoid(p["o"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        i, f, z, o = p["i", "f", "z", "o"]
        q, old = s["q"], log_sigmoid(f) + s["l"]
        q = q + sigmoid(i - old) * (tanh(z) - q)
        return {"h": sigmoid(o) * q, "q": q, "l": old + softplus(i - old)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        i, f, z, o = p["i", "f", "z", "o"]
        q, old, d = s["q"], log_sigmoid(f) + s["l"], sigmoid(-f)  # d log f / d f
        t, z, dz = i - old, tanh(z), dtanh(z)
        let, keep, e = sigmoid(t), sigmoid(-t), sigmoid(o)
        w = dsigmoid(t) * (z - q)
        new = q + let * (z - q)
        return Partials(
            through={
                "h": {"i": e * w, "f": -e * w * d, "z": e * let * dz, "o": dsigmoid(o) * new},
                "q": {"i": w, "f": -w * d, "z": let * dz},
                "l": {"i": let, "f": keep * d},
            },
            around={"h": {"q": e * keep, "l": -e * w}, "q": {"q": keep, "l": -w}, "l": {"l": keep}},
            within={"h": {"q": e}},
        )

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        levels = self.evolve(x, s)[..., 2 * self.width :, :]
        return {
            "lowest l": Property(
                float(levels.min()), "log of the normaliser n e^m, which the stabiliser m keeps out of the numbers"
            ),
            "highest l": Property(float(levels.max()), "where it is above 88, n e^m itself would overflow in float32"),
        }
