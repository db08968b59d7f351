"""Update gate RNN: a vanilla network with one gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class UGRNN(Cell):
    """State s = [h].

    c = tanh(a + v)    g = sigmoid(a + v)    h' = g h + (1 - g) c

    d h'/d h = g around the weights. Here g near 1 keeps the old state.
    Collins, Sohl-Dickstein & Sussillo (2017).
    """

    parts = ("h",)
    gates = ("c", "g")
    gate_names: ClassVar = {"c": "candidate", "g": "update"}
    keep_gates: ClassVar = {"g": 1}
    squash: ClassVar = {"c": (-1, 1), "g": (0, 1)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        c, g = a + v
        return tanh(c), sigmoid(g)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        c, g = self.activations(a, v, s)
        return (c + g * (s[0] - c),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        c, g = self.activations(a, v, s)
        return Partials(through=[[sigmoid(-p[1]) * dtanh(p[0]), (s[0] - c) * dsigmoid(p[1])]], around=[[g]])
