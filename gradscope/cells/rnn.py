"""Vanilla recurrent network (Elman 1990), tanh or relu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import ACTIVATIONS


@dataclass(frozen=True, eq=False)
class RNN(Cell):
    """h' = phi(W x + b_ih + U h + b_hh), phi = tanh or relu; state s = [h].

    There is no road around the weights: J = diag(phi') U, and every step back crosses U.
    Elman (1990); as torch.nn.RNN.
    """

    activation: str = "tanh"

    parts = ("h",)
    gates = ("h",)
    choices: ClassVar = {"activation": ("tanh", "relu")}
    gate_names: ClassVar = {"h": "hidden"}
    road: ClassVar = False

    @property
    def kinks(self) -> bool:
        return self.activation == "relu"

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        phi = ACTIVATIONS[self.activation]
        return {"h": (phi.low, phi.high)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(ACTIVATIONS[self.activation].f(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return self.activations(a, v, s)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        (dh,) = ACTIVATIONS[self.activation].df(a + v)
        return Partials(through=[[dh]], around=[[0]])
