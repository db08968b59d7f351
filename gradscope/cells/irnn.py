"""Rectified units that begin as the identity: IRNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import drelu, relu


@dataclass(frozen=True, eq=False)
class IRNN(Cell):
    """h' = relu(W x + b_ih + U h + b_hh), U = 1 in the beginning; state s = [h].

    J = diag(1 where the unit is on) U: a unit that is on passes gradients as they are, one that is off passes none.
    Le, Jaitly & Hinton (2015).
    """

    parts = ("h",)
    gates = ("h",)
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (0, float("inf"))}
    usual_init: ClassVar = "identity"
    kinks: ClassVar = True
    road: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(relu(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return self.activations(a, v, s)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[drelu((a + v)[0])]], around=[[0]])
