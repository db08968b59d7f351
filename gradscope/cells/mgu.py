"""Minimal gated unit: one gate does what two do in a GRU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gradscope.networks import (
    Array,
    Gate,
    Map,
    MapsCell,
    Partials,
    Parts,
    Preactivations,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class MGU(MapsCell):
    """State s = [h].

    f = sigmoid(p_f), with p_f = W_f x + U_f h + b_f
    g = tanh(p_g), with p_g = W_g x + U_g (f h) + b_g
    h' = (1 - f) h + f g

    d h'/d h = 1 - f around the weights: an open gate forgets, and lets the old state into g.
    Zhou, Wu, Zhang & Zhou (2016).
    """

    parts = ("h",)
    gates = {"f": Gate("forget", (0, 1), keeps=-1), "g": Gate("candidate", (-1, 1))}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        first, second = self.blocks(gates=1)  # rows of f, and of g
        return _Forget(*first), _Candidate(*second)


# Names, intervals and signs of the gates are those of `MGU.gates`; here a bare Gate() only gives the order of the rows.


class _Forget(Map):
    """First half: h is copied, f and q = f h are computed."""

    old_parts = ("h",)
    parts = ("h", "f", "q")
    gates = {"f": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (sigmoid(p["f"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        (f,) = self.activations(p, s)
        return {"h": s["h"], "f": f, "q": f * s["h"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        (f,), df = self.activations(p, s), dsigmoid(p["f"])
        return Partials(
            through={"f": {"f": df}, "q": {"f": s["h"] * df}},
            around={"h": {"h": 1}, "q": {"h": f}},  # the integer 1: copied
        )


class _Candidate(Map):
    """Second half: g from U_g q, then the mixture of g and h."""

    old_parts = ("h", "f", "q")
    gates = {"g": Gate()}
    reads = "q"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["g"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        h, f = s["h", "f"]
        (g,) = self.activations(p, s)
        return {"h": h + f * (g - h)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h, f = s["h", "f"]
        (g,) = self.activations(p, s)
        return Partials(through={"h": {"g": f * dtanh(p["g"])}}, around={"h": {"h": 1 - f, "f": g - h}})
