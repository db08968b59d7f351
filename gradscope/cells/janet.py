"""Just another network: an LSTM with a forget gate and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class JANET(Cell):
    """State s = [h], the cell itself.

    h' = sigmoid(f) h + (1 - sigmoid(f - beta)) tanh(g)    f, g = U h + W x + b

    d h'/d h = sigmoid(f) around the weights. With beta = 1 what is kept and what is written add up to more than one.
    van der Westhuizen & Lasenby (2018).
    """

    beta: float = 1.0

    parts = ("h",)
    gates = ("f", "g")
    gate_names: ClassVar = {"f": "forget", "g": "cell"}
    keep_gates: ClassVar = {"f": 1}
    squash: ClassVar = {"f": (0, 1), "g": (-1, 1)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        f, g = a + v
        return sigmoid(f), tanh(g)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        f, g = self.activations(a, v, s)
        return (f * s[0] + sigmoid(self.beta - (a + v)[0]) * g,)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        f, g = self.activations(a, v, s)
        df = s[0] * dsigmoid(p[0]) - g * dsigmoid(p[0] - self.beta)
        return Partials(through=[[df, sigmoid(self.beta - p[0]) * dtanh(p[1])]], around=[[f]])
