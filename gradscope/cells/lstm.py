"""Long short-term memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.errors import UsageError
from gradscope.networks import (
    Array,
    Gate,
    Map,
    OneMapCell,
    Partials,
    Parts,
    Preactivations,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class LSTM(OneMapCell):
    """LSTM with forget gate and no peepholes; state s = [h, c], twice as wide as h.

    i = sigmoid(p_i)    f = sigmoid(p_f)    g = tanh(p_g)    o = sigmoid(p_o)    c' = f c + i g    h' = o tanh(c')

    d c'/d c = f is the skip path, around the weights: the reason the cell exists. With a projection W_hr, drawn where
    `projection` is above 0, h' = W_hr (o tanh(c')) and h has so many units, fewer than c.
    Hochreiter & Schmidhuber (1997); forget gate: Gers, Schmidhuber & Cummins (2000); projection: Sak, Senior &
    Beaufays (2014).
    """

    W_hr: Array | None = None
    projection: int = 0

    parts = ("h", "c")
    gates = {  # row blocks of U, W and b, as in PyTorch
        "i": Gate("input", (0, 1), keeps=-1),
        "f": Gate("forget", (0, 1), keeps=+1),
        "g": Gate("cell", (-1, 1)),
        "o": Gate("output", (0, 1)),
    }

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        narrow, k = settings["projection"], 1 / np.sqrt(hidden)
        if not narrow:
            return {}
        if narrow >= hidden:
            raise UsageError(f"a projection must be narrower than the {hidden} units, not {narrow}")
        return {"W_hr": rng.uniform(-k, k, (narrow, hidden)), "U": rng.uniform(-k, k, (4 * hidden, narrow))}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        return (self,) if self.W_hr is None else (self, _Projection(None, self.W_hr, None, None))

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        i, f = sigmoid(p["i", "f"])
        return i, f, tanh(p["g"]), sigmoid(p["o"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        i, f, g, o = self.activations(p, s)
        c = f * s["c"] + i * g
        return {"h": o * tanh(c), "c": c}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        c = s["c"]
        i, f, g, o = self.activations(p, s)
        new_c = f * c + i * g
        di, df = dsigmoid(p["i", "f"])
        dc_i, dc_f, dc_g = g * di, c * df, i * dtanh(p["g"])  # d c'/d p_i, d c'/d p_f, d c'/d p_g
        dh_c = o * dtanh(new_c)  # d h'/d c' within the step
        return Partials(
            through={
                "h": {"i": dh_c * dc_i, "f": dh_c * dc_f, "g": dh_c * dc_g, "o": tanh(new_c) * dsigmoid(p["o"])},
                "c": {"i": dc_i, "f": dc_f, "g": dc_g},
            },
            around={"h": {"c": dh_c * f}, "c": {"c": f}},
            within={"h": {"c": dh_c}},
        )


class _Projection(Map):
    """h = W_hr m, with m = o tanh(c'); c is copied."""

    old_parts = ("m", "c")
    parts = ("h", "c")
    gates = {"p": Gate()}
    reads = "m"

    @property
    def old_sizes(self) -> tuple[int, ...]:
        assert self.U is not None
        return (self.U.shape[1],) * 2

    @property
    def new_sizes(self) -> tuple[int, ...]:
        assert self.U is not None
        return len(self.U), self.U.shape[1]

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (p["p"],)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": p["p"], "c": s["c"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"p": 1}}, around={"c": {"c": 1}})  # the integer 1: copied
