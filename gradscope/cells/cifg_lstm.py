"""Long short-term memory with coupled input and forget gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class CIFGLSTM(Cell):
    """LSTM with i = 1 - f; state s = [h, c].

    f, o = sigmoid(a + v)    g = tanh(a + v)    c' = f c + (1 - f) g    h' = o tanh(c')

    d c'/d c = f around the weights, as in an LSTM; the cell is a mean of g and cannot grow beyond one.
    Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber (2017).
    """

    parts = ("h", "c")
    gates = ("f", "g", "o")
    gate_names: ClassVar = {"f": "forget", "g": "cell", "o": "output"}
    keep_gates: ClassVar = {"f": 1}
    squash: ClassVar = {"f": (0, 1), "g": (-1, 1), "o": (0, 1)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        f, g, o = a + v
        return sigmoid(f), tanh(g), sigmoid(o)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        f, g, o = self.activations(a, v, s)
        c = g + f * (s[1] - g)
        return o * tanh(c), c

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p, c = a + v, s[1]
        f, g, o = self.activations(a, v, s)
        new = g + f * (c - g)
        df, dg, do = (c - g) * dsigmoid(p[0]), sigmoid(-p[0]) * dtanh(p[1]), tanh(new) * dsigmoid(p[2])
        e = o * dtanh(new)  # d h'/d c' within the step
        return Partials(
            through=[[e * df, e * dg, do], [df, dg, 0]],
            around=[[0, e * f], [0, f]],
            within=[[0, e], [0, 0]],
        )
