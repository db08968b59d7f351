"""Long expressive memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class LEM(Cell):
    """Two time scales that the input and the state choose; state [y, z].

    d1, d2 = dt sigmoid(U y + W x + b)    z' = (1 - d1) z + d1 tanh(U_z y + W_z x + b_z)
    y' = (1 - d2) y + d2 tanh(U_y z' + W_y x + b_y)

    d y'/d y = 1 - d2 and d z'/d z = 1 - d1 around the weights.
    Rusch, Mishra, Erichson & Mahoney (2022).
    """

    dt: float = 1.0

    parts = ("y", "z")
    gates = ("d1", "d2", "z", "y")
    limits: ClassVar = {"dt": "(0, inf)"}
    reads = "y"
    gate_names: ClassVar = {"d1": "memory_step", "d2": "output_step", "z": "memory", "y": "output"}
    keep_gates: ClassVar = {"d2": -1, "d1": -1}
    squash: ClassVar = {"z": (-1, 1), "y": (-1, 1)}

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {"d1": (0, self.dt), "d2": (0, self.dt)} | super().gate_ranges

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        first, second = self.blocks(3)
        return _Memory(*first, self.dt), _Output(*second)


@dataclass(frozen=True, eq=False)
class _Memory(Map):
    """Keeps y, moves z, and makes d2."""

    dt: float = 1.0

    old_parts = ("y", "z")
    parts = ("y", "z", "d2")
    gates = ("d1", "d2", "z")
    reads = "y"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        d1, d2, z = a + v
        return self.dt * sigmoid(d1), self.dt * sigmoid(d2), tanh(z)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        d1, d2, new = self.activations(a, v, s)
        return s[0], s[1] + d1 * (new - s[1]), d2

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        d1, _, new = self.activations(a, v, s)
        dd1, dd2 = self.dt * dsigmoid(p[:2])
        return Partials(
            through=[[0, 0, 0], [(new - s[1]) * dd1, 0, d1 * dtanh(p[2])], [0, dd2, 0]],
            around=[[1, 0], [0, 1 - d1], [0, 0]],
        )


class _Output(Map):
    """y from U_y z', and z as it is."""

    old_parts = ("y", "z", "d2")
    parts = ("y", "z")
    gates = ("y",)
    reads = "z"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (new,) = self.activations(a, v, s)
        return s[0] + s[2] * (new - s[0]), s[1]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        (new,) = self.activations(a, v, s)
        return Partials(
            through=[[s[2] * dtanh((a + v)[0])], [0]],
            around=[[1 - s[2], 0, new - s[0]], [0, 1, 0]],
        )
