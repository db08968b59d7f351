"""Long short-term memory whose gates see the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class PeepholeLSTM(OneMapCell):
    """LSTM with peepholes; state s = [h, c].

    i = sigmoid(p_i + w_i c)    f = sigmoid(p_f + w_f c)    g = tanh(p_g)    c' = f c + i g
    o = sigmoid(p_o + w_o c')    h' = o tanh(c')

    d c'/d c = f + c f (1 - f) w_f + g i (1 - i) w_i: the skip path is no longer f alone, and may be negative.
    Gers & Schmidhuber (2000).
    """

    p: Array | None = None  # (3, H): w_i, w_f, w_o, the weights of the peepholes

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

    def _with_peepholes(self, p: Preactivations, c: Array) -> tuple[Array, ...]:
        """Return the preactivations of i, f, g, o, peepholes included, and the new cell."""
        w_i, w_f, w_o = self.column("p")
        p_i, p_f, p_g = p["i"] + w_i * c, p["f"] + w_f * c, p["g"]
        new_c = sigmoid(p_f) * c + sigmoid(p_i) * tanh(p_g)
        return p_i, p_f, p_g, p["o"] + w_o * new_c, new_c

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        p_i, p_f, p_g, p_o, _ = self._with_peepholes(p, s["c"])
        return sigmoid(p_i), sigmoid(p_f), tanh(p_g), sigmoid(p_o)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        *_, p_o, new_c = self._with_peepholes(p, s["c"])
        return {"h": sigmoid(p_o) * tanh(new_c), "c": new_c}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        c, (w_i, w_f, w_o) = s["c"], self.column("p")
        p_i, p_f, p_g, p_o, new_c = self._with_peepholes(p, c)
        dc_i, dc_f, dc_g = tanh(p_g) * dsigmoid(p_i), c * dsigmoid(p_f), sigmoid(p_i) * dtanh(p_g)  # d c'/d p_i, ...
        dh_o = tanh(new_c) * dsigmoid(p_o)  # d h'/d p_o
        dc_c = sigmoid(p_f) + dc_f * w_f + dc_i * w_i  # d c'/d c
        dh_c = sigmoid(p_o) * dtanh(new_c) + dh_o * w_o  # d h'/d c' within the step
        return Partials(
            through={
                "h": {"i": dh_c * dc_i, "f": dh_c * dc_f, "g": dh_c * dc_g, "o": dh_o},
                "c": {"i": dc_i, "f": dc_f, "g": dc_g},
            },
            around={"h": {"c": dh_c * dc_c}, "c": {"c": dc_c}},
            within={"h": {"c": dh_c}},
        )
