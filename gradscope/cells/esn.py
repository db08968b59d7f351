"""Leaky echo state network: a reservoir whose weights are not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dtanh, tanh


@dataclass(frozen=True, eq=False)
class ESN(Cell):
    """h' = (1 - alpha) h + alpha tanh(U h + W x + b); state s = [h].

    U is drawn once, and scaled to a spectral radius: `--init reservoir`, with the settings `radius` and `density`.
    Nothing trains it; gradients are of interest all the same, since what a reservoir remembers decays as they do. d
    h'/d h = 1 - alpha around the weights.
    Jaeger (2001); leaky: Jaeger, Lukosevicius, Popovici & Siewert (2007).
    """

    alpha: float = 1.0

    parts = ("h",)
    gates = ("h",)
    limits: ClassVar = {"alpha": "(0, 1]"}
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (-1, 1)}
    usual_init: ClassVar = "reservoir"
    road: ClassVar = "alpha < 1"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (new,) = self.activations(a, v, s)
        return (s[0] + self.alpha * (new - s[0]),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[self.alpha * dtanh((a + v)[0])]], around=[[1 - self.alpha]])
