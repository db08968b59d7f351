"""Quasi-recurrent network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class QRNN(Cell):
    """Forget-gate pooling; state s = [c]. An output gate, where there is one, is read from it and not fed back.

    z = tanh(W_z x + b_z)    f = sigmoid(W_f x + b_f)    c' = f c + (1 - f) z

    J = diag(f): what the input says, and nothing else, decides how far gradients reach. The convolution has width 1:
    a wider one sees more of the input, and changes no derivative in c.
    Bradbury, Merity, Xiong & Socher (2017).
    """

    parts = ("c",)
    gates = ("z", "f")
    gate_names: ClassVar = {"z": "candidate", "f": "forget"}
    keep_gates: ClassVar = {"f": 1}
    squash: ClassVar = {"z": (-1, 1), "f": (0, 1)}
    recurrent_weights: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        z, f = a + v
        return tanh(z), sigmoid(f)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        z, f = self.activations(a, v, s)
        return (z + f * (s[0] - z),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        z, f = self.activations(a, v, s)
        return Partials(through=[[sigmoid(-p[1]) * dtanh(p[0]), (s[0] - z) * dsigmoid(p[1])]], around=[[f]])
