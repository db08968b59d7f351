"""Rectified units that begin as the identity: IRNN."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, drelu, relu


@dataclass(frozen=True, eq=False)
class IRNN(OneMapCell):
    """h' = relu(W x + b_ih + U h + b_hh), U = 1 in the beginning; state s = [h].

    J = diag(1 where the unit is on) U: a unit that is on passes gradients as they are, one that is off passes none.
    Le, Jaitly & Hinton (2015).
    """

    parts = ("h",)
    gates = {"h": Gate("hidden", (0, float("inf")))}
    usual_init = "identity"
    kinks = True
    skip_path = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (relu(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": relu(p["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": drelu(p["h"])}})
