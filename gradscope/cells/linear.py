"""Linear recurrence: the case whose Jacobian product is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations


@dataclass(frozen=True, eq=False)
class LinearCell(OneMapCell):
    """h' = W x + b_ih + U h + b_hh; state s = [h].

    J = U at every step, whatever the input: the product over t steps is U^t. A radius below one does
    not keep U^t from growing for a while when U is not normal.
    Trefethen & Embree, Spectra and Pseudospectra (2005).
    """

    parts = ("h",)
    gates = {"h": Gate("hidden")}
    skip_path = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (p["h"],)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": p["h"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": 1}})
