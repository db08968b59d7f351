"""FastGRNN: a gate and a candidate that share their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class FastGRNN(Cell):
    """State s = [h].

    p = U h + W x    z = sigmoid(p + b_z)    g = tanh(p + b_g)    h' = (sigmoid(zeta) (1 - z) + sigmoid(nu)) g + z h

    d h'/d h = z around the weights. One matrix serves both, so that what opens the gate also drives the candidate.
    Kusupati, Singh, Bhatia, Kumar, Jain & Varma (2018); zeta = 1 and nu = -4 as there in the beginning.
    """

    b: Array | None = None  # (2, H): b_z, b_g
    zeta: float = 1.0
    nu: float = -4.0

    parts = ("h",)
    gates = ("p",)
    gate_names: ClassVar = {"p": "shared"}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"b": np.ones((2, hidden)), "b_ih": None, "b_hh": None}

    def _values(self, a: Array, v: Array) -> tuple[Array, Array, Array, Array]:
        p, (b_z, b_g) = (a + v)[0], self.column("b")
        write, always = (float(sigmoid(np.array(x))) for x in (self.zeta, self.nu))
        return p + b_z, p + b_g, sigmoid(p + b_z), write * sigmoid(-p - b_z) + always

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        _, g, z, write = self._values(a, v)
        return (write * tanh(g) + z * s[0],)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        to_gate, g, z, write = self._values(a, v)
        zeta = float(sigmoid(np.array(self.zeta)))
        d = (s[0] - zeta * tanh(g)) * dsigmoid(to_gate) + write * dtanh(g)
        return Partials(through=[[d]], around=[[z]])
