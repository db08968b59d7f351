"""Long short-term memory whose gates see the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class PeepholeLSTM(Cell):
    """LSTM with peepholes; state s = [h, c].

    i = sigmoid(a + v + p_i c)    f = sigmoid(a + v + p_f c)    g = tanh(a + v)
    c' = f c + i g    o = sigmoid(a + v + p_o c')    h' = o tanh(c')

    d c'/d c = f + c f (1 - f) p_f + g i (1 - i) p_i: the road around is no longer f alone, and may be negative.
    Gers & Schmidhuber (2000).
    """

    p: Array | None = None  # (3, H): p_i, p_f, p_o

    parts = ("h", "c")
    gates = ("i", "f", "g", "o")
    gate_names: ClassVar = {"i": "input", "f": "forget", "g": "cell", "o": "output"}
    keep_gates: ClassVar = {"f": 1, "i": -1}
    squash: ClassVar = {"i": (0, 1), "f": (0, 1), "g": (-1, 1), "o": (0, 1)}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"p": rng.uniform(-1, 1, (3, hidden)) / np.sqrt(hidden)}

    def _inner(self, a: Array, v: Array, c: Array) -> tuple[Array, ...]:
        """Return the pre-activations of i, f, g, o, and the new cell."""
        p, (p_i, p_f, p_o) = a + v, self.column("p")
        i, f, g = p[0] + p_i * c, p[1] + p_f * c, p[2]
        new = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return i, f, g, p[3] + p_o * new, new

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        i, f, g, o, _ = self._inner(a, v, s[1])
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        *_, o, new = self._inner(a, v, s[1])
        return sigmoid(o) * tanh(new), new

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        c, (p_i, p_f, p_o) = s[1], self.column("p")
        i, f, g, o, new = self._inner(a, v, c)
        di, df, dg, do = tanh(g) * dsigmoid(i), c * dsigmoid(f), sigmoid(i) * dtanh(g), tanh(new) * dsigmoid(o)
        k = sigmoid(f) + df * p_f + di * p_i  # d c'/d c
        e = sigmoid(o) * dtanh(new) + do * p_o  # d h'/d c' within the step
        return Partials(
            through=[[e * di, e * df, e * dg, do], [di, df, dg, 0]],
            around=[[0, e * k], [0, k]],
            within=[[0, e], [0, 0]],
        )
