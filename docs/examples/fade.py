"""Units that fade, each at its own rate, and see the input alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class Fade(Cell):
    """State s = [h].

    f = sigmoid(W_f x + b_f)    n = tanh(W_n x + b_n)    h' = f h + (1 - f) n
    """

    parts = ("h",)
    gates = ("f", "n")
    gate_names: ClassVar = {"f": "forget", "n": "candidate"}
    keep_gates: ClassVar = {"f": +1}
    squash: ClassVar = {"f": (0, 1), "n": (-1, 1)}
    recurrent_weights: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return sigmoid(v[0]), tanh(v[1])

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        f, n = self.activations(a, v, s)
        return (f * s[0] + (1 - f) * n,)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        f, n = self.activations(a, v, s)
        entry = [[(s[0] - n) * dsigmoid(v[0]), (1 - f) * dtanh(v[1])]]
        return Partials(through=[[0, 0]], entry=entry, around=[[f]])
