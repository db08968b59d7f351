"""Undamped independent controlled oscillators (UnICORNN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, Property, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class UnICORNN(OneMapCell):
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
    gates = {"z": Gate("force", (-1, 1))}
    limits = {"dt": "(0, inf)", "alpha": "[0, inf)"}
    recurrent_weights = False

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"w": rng.uniform(0, 1, hidden), "c": rng.uniform(-0.1, 0.1, hidden)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["z"] + self.column("w") * s["y"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        y, z = s["y", "z"]
        (force,) = self.activations(p, s)
        e = self.dt * sigmoid(self.column("c"))
        z = z - e * (force + self.alpha * y)
        return {"y": y + e * z, "z": z}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        w, ones = self.column("w"), np.ones_like(s["y"])
        e = self.dt * sigmoid(self.column("c")) * ones
        d = e * dtanh(p["z"] + w * s["y"])
        k = w * d + self.alpha * e
        return Partials(
            through={"y": {"z": -e * d}, "z": {"z": -d}},
            around={"y": {"y": 1 - e * k, "z": e}, "z": {"y": -k, "z": 1}},
            within={"y": {"z": e}},
        )

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        J = self.linearise(x, s).unit_blocks()
        assert J is not None
        gap = np.abs(J[0, 0] * J[1, 1] - J[0, 1] * J[1, 0] - 1).max()
        return {
            "|det J - 1|": Property(float(gap), "largest of all units and steps looked at: exponents come in pairs +-")
        }
