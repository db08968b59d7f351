"""Independently recurrent network: each unit sees only itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import ACTIVATIONS, Array, Gate, OneMapCell, Partials, Parts, Preactivations


@dataclass(frozen=True, eq=False)
class IndRNN(OneMapCell):
    """h' = phi(W x + b + u h), unit by unit, phi = relu or tanh; state s = [h].

    J = diag(u phi') is diagonal: a unit's gradient over t steps is u^t times its phi', and nothing mixes.
    Li, Li, Cook, Zhu & Gao (2018); u is drawn from U(0, 1).
    """

    u: Array | None = None
    activation: str = "relu"

    parts = ("h",)
    gates = {"h": Gate("hidden")}
    choices = {"activation": ("relu", "tanh")}
    recurrent_weights = False

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"u": rng.uniform(0, 1, hidden)}

    @property
    def kinks(self) -> bool:
        return self.activation == "relu"

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        phi = ACTIVATIONS[self.activation]
        return {"h": (phi.low, phi.high)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (ACTIVATIONS[self.activation].f(p["h"] + self.column("u") * s["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": self.activations(p, s)[0]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        u = self.column("u")
        d = ACTIVATIONS[self.activation].df(p["h"] + u * s["h"])
        return Partials(through={"h": {"h": d}}, around={"h": {"h": u * d}})
