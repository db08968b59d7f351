"""Minimal GRU: gates that see the input only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class MinGRU(Cell):
    """State s = [h].

    z = sigmoid(W_z x + b_z)    n = W_n x + b_n    h' = (1 - z) h + z n

    J = diag(1 - z): around is all there is. Here z near 1 forgets.
    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024).
    """

    parts = ("h",)
    gates = ("z", "n")
    gate_names: ClassVar = {"z": "update", "n": "candidate"}
    keep_gates: ClassVar = {"z": -1}
    squash: ClassVar = {"z": (0, 1)}
    recurrent_weights: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        z, n = a + v
        return sigmoid(z), n

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        z, n = self.activations(a, v, s)
        return (s[0] + z * (n - s[0]),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        z, n = self.activations(a, v, s)
        return Partials(through=[[(n - s[0]) * dsigmoid(p[0]), z]], around=[[sigmoid(-p[0])]])
