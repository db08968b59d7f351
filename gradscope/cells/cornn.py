"""Coupled oscillatory network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, Map, MapsCell, Partials, Parts, Preactivations, Product, dtanh, tanh


@dataclass(frozen=True, eq=False)
class CoRNN(MapsCell):
    """Oscillators that drive one another; state [y, z], positions and velocities.

    z' = z + dt (tanh(U y + U_z z + W x + b) - gamma y - epsilon z)    y' = y + dt z'

    Around the weights go the oscillators alone, [[1 - dt^2 gamma, dt (1 - dt epsilon)], [-dt gamma, 1 - dt epsilon]];
    the explicit form, as in the authors' code.
    Rusch & Mishra (2021); dt, gamma and epsilon as there for sequential images.
    """

    U_z: Array | None = None
    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7

    parts = ("y", "z")
    gates = {"z": Gate("force", (-1, 1))}
    limits = {"dt": "(0, inf)", "gamma": "[0, inf)", "epsilon": "[0, inf)"}
    products = 2

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"U_z": rng.uniform(-1, 1, (hidden, hidden)) / np.sqrt(hidden)}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        first = _FromPositions(self.W, self.U, self.b_ih, self.b_hh)
        return first, _Oscillators(None, self.U_z, None, None, self.dt, self.gamma, self.epsilon)


class _FromPositions(Product):
    """Keeps y and z, and makes p = U y + W x + b."""

    old_parts = ("y", "z")
    parts = ("y", "z", "p")
    reads = "y"


@dataclass(frozen=True, eq=False)
class _Oscillators(Map):
    """Velocities from U_z z and p, then positions."""

    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7

    old_parts = ("y", "z", "p")
    parts = ("y", "z")
    gates = {"z": Gate()}
    reads = "z"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["z"] + s["p"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        y, z = s["y", "z"]
        (force,) = self.activations(p, s)
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        return {"y": y + self.dt * z, "z": z}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        dt = self.dt
        d = dt * dtanh(p["z"] + s["p"])
        from_y, from_z = -dt * self.gamma, 1 - dt * self.epsilon
        return Partials(
            through={"y": {"z": dt * d}, "z": {"z": d}},
            around={
                "y": {"y": 1 + dt * from_y, "z": dt * from_z, "p": dt * d},
                "z": {"y": from_y, "z": from_z, "p": d},
            },
            within={"y": {"z": dt}},
        )
