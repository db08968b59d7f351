"""Linear recurrence: the case whose Jacobian product is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts


@dataclass(frozen=True, eq=False)
class LinearCell(Cell):
    """h' = W x + b_ih + U h + b_hh; state s = [h].

    J = U at every step, whatever the input: the product over t steps is U^t. A radius below one does
    not keep U^t from growing for a while when U is not normal.
    Trefethen & Embree, Spectra and Pseudospectra (2005).
    """

    parts = ("h",)
    gates = ("h",)
    gate_names: ClassVar = {"h": "hidden"}
    road: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return self.activations(a, v, s)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[1]], around=[[0]])
