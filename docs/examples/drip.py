"""A leaky recurrent network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dtanh, tanh


@dataclass(frozen=True, eq=False)
class Drip(Cell):
    """Leaky integrator; state s = [h].

    h' = (1 - leak) h + leak tanh(a + v)

    d h'/d h = 1 - leak around the weights: the smaller the leak, the farther gradients reach.
    Jaeger, Lukosevicius, Popovici & Siewert (2007).
    """

    leak: float = 0.1

    parts = ("h",)
    gates = ("h",)
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (-1, 1)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (y,) = self.activations(a, v, s)
        return ((1 - self.leak) * s[0] + self.leak * y,)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[self.leak * dtanh((a + v)[0])]], around=[[1 - self.leak]])

    def changes(self, lack: float, steps: int) -> dict[str, Callable[[], Drip]]:
        smaller = {"leak / 10": lambda: self.replace(leak=self.leak / 10)} if lack > 1 else {}
        return smaller | super().changes(lack, steps)
