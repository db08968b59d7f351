"""Closed-form continuous-time network (liquid)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class CfC(Cell):
    """State s = [h].

    h' = sigmoid(-f dt) tanh(g) + sigmoid(f dt) tanh(k)    f, g, k = U h + W x + b

    Nothing goes around the weights: the gate chooses between two new values, and the old state is in neither.
    Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl & Rus (2022), without a backbone; their code adds to
    f dt a product that dt does not multiply, which at dt = 1 is the same.
    """

    dt: float = 1.0

    parts = ("h",)
    gates = ("f", "g", "k")
    limits: ClassVar = {"dt": "(0, inf)"}
    gate_names: ClassVar = {"f": "time", "g": "early", "k": "late"}
    squash: ClassVar = {"f": (0, 1), "g": (-1, 1), "k": (-1, 1)}
    road: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        f, g, k = a + v
        return sigmoid(f * self.dt), tanh(g), tanh(k)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        late, g, k = self.activations(a, v, s)
        return (g + late * (k - g),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        f, dg, dk = a + v
        late, g, k = self.activations(a, v, s)
        through = [self.dt * (k - g) * dsigmoid(f * self.dt), sigmoid(-f * self.dt) * dtanh(dg), late * dtanh(dk)]
        return Partials(through=[through], around=[[0]])
