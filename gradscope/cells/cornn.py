"""Coupled oscillatory network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dtanh, tanh
from gradscope.networks.product import Product


@dataclass(frozen=True, eq=False)
class CoRNN(Cell):
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
    gates = ("z",)
    limits: ClassVar = {"dt": "(0, inf)", "gamma": "[0, inf)", "epsilon": "[0, inf)"}
    reads = "y"
    gate_names: ClassVar = {"z": "force"}
    squash: ClassVar = {"z": (-1, 1)}
    products: ClassVar = 2

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
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
    gates = ("z",)
    reads = "z"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return (tanh((a + v)[0] + s[2]),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        y, z, _ = s
        (force,) = self.activations(a, v, s)
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        return y + self.dt * z, z

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        dt = self.dt
        d = dt * dtanh((a + v)[0] + s[2])
        from_y, from_z = -dt * self.gamma, 1 - dt * self.epsilon
        return Partials(
            through=[[dt * d], [d]],
            around=[[1 + dt * from_y, dt * from_z, dt * d], [from_y, from_z, d]],
            within=[[0, dt], [0, 0]],
        )
