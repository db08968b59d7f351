"""Liquid time-constant network, by its fused solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, Property, dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class LTC(OneMapCell):
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
    gates = {"f": Gate("conductance", (0, 1), keeps=-1)}
    limits = {"dt": "(0, inf)"}

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"A": rng.uniform(-1, 1, hidden), "tau": np.ones(hidden)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (sigmoid(p["f"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        (f,) = self.activations(p, s)
        return {"h": (s["h"] + self.dt * f * self.column("A")) / (1 + self.dt * (1 / self.column("tau") + f))}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        (f,) = self.activations(p, s)
        A, whole = self.column("A"), 1 + self.dt * (1 / self.column("tau") + f)
        new = (s["h"] + self.dt * f * A) / whole
        through = {"f": self.dt * (A - new) / whole * dsigmoid(p["f"])}
        return Partials(through={"h": through}, around={"h": {"h": 1 / whole}})

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        (f,) = self.activations(*self.preactivations(x, s))
        constants = 1 / (1 / self.column("tau") + f)
        return {
            "liquid time constant": Property(
                float(np.median(constants)), "in units of dt, median of units and steps looked at"
            )
        }
