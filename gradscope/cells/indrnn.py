"""Independently recurrent network: each unit sees only itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import ACTIVATIONS


@dataclass(frozen=True, eq=False)
class IndRNN(Cell):
    """h' = phi(W x + b + u h), unit by unit, phi = relu or tanh; state s = [h].

    J = diag(u phi') is diagonal: a unit's gradient over t steps is u^t times its phi', and nothing mixes.
    Li, Li, Cook, Zhu & Gao (2018); u is drawn from U(0, 1).
    """

    u: Array | None = None
    activation: str = "relu"

    parts = ("h",)
    gates = ("h",)
    choices: ClassVar = {"activation": ("relu", "tanh")}
    gate_names: ClassVar = {"h": "hidden"}
    recurrent_weights: ClassVar = False

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"u": rng.uniform(0, 1, hidden)}

    @property
    def kinks(self) -> bool:
        return self.activation == "relu"

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        phi = ACTIVATIONS[self.activation]
        return {"h": (phi.low, phi.high)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return (ACTIVATIONS[self.activation].f((a + v)[0] + self.column("u") * s[0]),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return self.activations(a, v, s)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        u = self.column("u")
        d = ACTIVATIONS[self.activation].df((a + v)[0] + u * s[0])
        return Partials(through=[[d]], around=[[u * d]])
