"""Long short-term memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.errors import UsageError
from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class LSTM(Cell):
    """LSTM with forget gate and no peepholes; state s = [h, c], twice as wide as h.

    i, f, o = sigmoid(a + v)    g = tanh(a + v)    c' = f c + i g    h' = o tanh(c')

    d c'/d c = f is the road around the weights: the reason the cell exists. With a projection W_hr, drawn where
    `projection` is above 0, h' = W_hr (o tanh(c')) and h has so many units, fewer than c.
    Hochreiter & Schmidhuber (1997); forget gate: Gers, Schmidhuber & Cummins (2000); projection: Sak, Senior &
    Beaufays (2014).
    """

    W_hr: Array | None = None
    projection: int = 0

    parts = ("h", "c")
    gates = ("i", "f", "g", "o")  # row blocks of U, W and b, as in PyTorch
    gate_names: ClassVar = {"i": "input", "f": "forget", "g": "cell", "o": "output"}
    keep_gates: ClassVar = {"f": 1, "i": -1}
    squash: ClassVar = {"i": (0, 1), "f": (0, 1), "g": (-1, 1), "o": (0, 1)}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        narrow, k = settings["projection"], 1 / np.sqrt(hidden)
        if not narrow:
            return {}
        if narrow >= hidden:
            raise UsageError(f"a projection must be narrower than the {hidden} units, not {narrow}")
        return {"W_hr": rng.uniform(-k, k, (narrow, hidden)), "U": rng.uniform(-k, k, (4 * hidden, narrow))}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        return (self,) if self.W_hr is None else (self, _Projection(None, self.W_hr, None, None))

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        p = a + v
        i, f = sigmoid(p[:2])
        return i, f, tanh(p[2]), sigmoid(p[3])

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        _, c = s
        i, f, g, o = self.activations(a, v, s)
        c = f * c + i * g
        return o * tanh(c), c

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        _, c = s
        p = a + v
        i, f, g, o = self.activations(a, v, s)
        new = f * c + i * g
        ds, t = dsigmoid(p[:2]), tanh(new)
        di, df, dg = g * ds[0], c * ds[1], i * dtanh(p[2])
        e = o * dtanh(new)  # d h'/d c' within the step
        return Partials(
            through=[[e * di, e * df, e * dg, t * dsigmoid(p[3])], [di, df, dg, 0]],
            around=[[0, e * f], [0, f]],
            within=[[0, e], [0, 0]],
        )


class _Projection(Map):
    """h = W_hr m; c passes by."""

    old_parts = ("m", "c")
    parts = ("h", "c")
    gates = ("p",)
    reads = "m"

    @property
    def old_sizes(self) -> tuple[int, ...]:
        assert self.U is not None
        return (self.U.shape[1],) * 2

    @property
    def new_sizes(self) -> tuple[int, ...]:
        assert self.U is not None
        return len(self.U), self.U.shape[1]

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return a[0], s[1]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[1], [0]], around=[[0, 0], [0, 1]])
