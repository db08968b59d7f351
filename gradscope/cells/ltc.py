"""Liquid time-constant network, by its fused solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Parts
from gradscope.networks.elementwise import dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class LTC(Cell):
    """One step of the fused solver; state s = [h].

    f = sigmoid(U h + W x + b)    h' = (h + dt f A) / (1 + dt (1 / tau + f))

    d h'/d h = 1 / (1 + dt (1 / tau + f)) around the weights: a time constant that the input shortens.
    Hasani, Lechner, Amini, Rus & Grosu (2021). Their code has a sigmoid for each synapse and six such steps an input;
    here it is one for each unit, and one step. A from U(-1, 1) and tau = 1 are of this file.
    """

    A: Array | None = None
    tau: Array | None = None
    dt: float = 1.0

    parts = ("h",)
    gates = ("f",)
    limits: ClassVar = {"dt": "(0, inf)"}
    gate_names: ClassVar = {"f": "conductance"}
    keep_gates: ClassVar = {"f": -1}
    squash: ClassVar = {"f": (0, 1)}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"A": rng.uniform(-1, 1, hidden), "tau": np.ones(hidden)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(sigmoid(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (f,) = self.activations(a, v, s)
        return ((s[0] + self.dt * f * self.column("A")) / (1 + self.dt * (1 / self.column("tau") + f)),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        (f,) = self.activations(a, v, s)
        A, whole = self.column("A"), 1 + self.dt * (1 / self.column("tau") + f)
        new = (s[0] + self.dt * f * A) / whole
        return Partials(through=[[self.dt * (A - new) / whole * dsigmoid((a + v)[0])]], around=[[1 / whole]])

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        (f,) = self.activations(*self.preactivations(x, s))
        constants = 1 / (1 / self.column("tau") + f)
        return {
            "liquid time constant": Fact(
                float(np.median(constants)), "in units of dt, median of units and steps looked at"
            )
        }
