"""Undamped independent controlled oscillators (UnICORNN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Parts
from gradscope.networks.elementwise import dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class UnICORNN(Cell):
    """Oscillators on their own; state [y, z], positions and velocities.

    e = dt sigmoid(c)    z' = z - e (tanh(w y + W x + b) + alpha y)    y' = y + e z'

    Unit by unit J = [[1 - e k, e], [-k, 1]], k = e (w (1 - tanh^2) + alpha): its determinant is one whatever the
    weights are, and exponents come in pairs +-. Around is all there is.
    Rusch & Mishra (2021); w from U(0, 1), c from U(-0.1, 0.1), as there.
    """

    w: Array | None = None
    c: Array | None = None
    dt: float = 0.1
    alpha: float = 1.0

    parts = ("y", "z")
    gates = ("z",)
    limits: ClassVar = {"dt": "(0, inf)", "alpha": "[0, inf)"}
    gate_names: ClassVar = {"z": "force"}
    squash: ClassVar = {"z": (-1, 1)}
    recurrent_weights: ClassVar = False

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"w": rng.uniform(0, 1, hidden), "c": rng.uniform(-0.1, 0.1, hidden)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return (tanh((a + v)[0] + self.column("w") * s[0]),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        y, z = s
        (force,) = self.activations(a, v, s)
        e = self.dt * sigmoid(self.column("c"))
        z = z - e * (force + self.alpha * y)
        return y + e * z, z

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        w, ones = self.column("w"), np.ones_like(s[0])
        e = self.dt * sigmoid(self.column("c")) * ones
        d = e * dtanh((a + v)[0] + w * s[0])
        k = w * d + self.alpha * e
        return Partials(through=[[-e * d], [-d]], around=[[1 - e * k, e], [-k, 1]], within=[[0, e], [0, 0]])

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        J = self.linearise(x, s).unit_blocks()
        assert J is not None
        gap = np.abs(J[0, 0] * J[1, 1] - J[0, 1] * J[1, 0] - 1).max()
        return {"|det J - 1|": Fact(float(gap), "largest of all units and steps looked at: exponents come in pairs +-")}
