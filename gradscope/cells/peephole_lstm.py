"""Long short-term memory whose gates see the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class PeepholeLSTM(OneMapCell):
    """LSTM with peepholes; state s = [h, c].

    i = sigmoid(p + p_i c)    f = sigmoid(p + p_f c)    g = tanh(p)
    c' = f c + i g    o = sigmoid(p + p_o c')    h' = o tanh(c')

    d c'/d c = f + c f (1 - f) p_f + g i (1 - i) p_i: the skip path is no longer f alone, and may be negative.
    Gers & Schmidhuber (2000).
    """

    p: Array | None = None  # (3, H): p_i, p_f, p_o

    parts = ("h", "c")
    gates = {
        "i": Gate("input", (0, 1), keeps=-1),
        "f": Gate("forget", (0, 1), keeps=+1),
        "g": Gate("cell", (-1, 1)),
        "o": Gate("output", (0, 1)),
    }

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"p": rng.uniform(-1, 1, (3, hidden)) / np.sqrt(hidden)}

    def _inner(self, p: Preactivations, c: Array) -> tuple[Array, ...]:
        """Return the preactivations of i, f, g, o, peepholes included, and the new cell."""
        p_i, p_f, p_o = self.column("p")
        i, f, g = p["i"] + p_i * c, p["f"] + p_f * c, p["g"]
        new = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return i, f, g, p["o"] + p_o * new, new

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        i, f, g, o, _ = self._inner(p, s["c"])
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        *_, o, new = self._inner(p, s["c"])
        return {"h": sigmoid(o) * tanh(new), "c": new}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        c, (p_i, p_f, p_o) = s["c"], self.column("p")
        i, f, g, o, new = self._inner(p, c)
        di, df, dg, do = tanh(g) * dsigmoid(i), c * dsigmoid(f), sigmoid(i) * dtanh(g), tanh(new) * dsigmoid(o)
        k = sigmoid(f) + df * p_f + di * p_i  # d c'/d c
        e = sigmoid(o) * dtanh(new) + do * p_o  # d h'/d c' within the step
        return Partials(
            through={"h": {"i": e * di, "f": e * df, "g": e * dg, "o": do}, "c": {"i": di, "f": df, "g": dg}},
            around={"h": {"c": e * k}, "c": {"c": k}},
            within={"h": {"c": e}},
        )
