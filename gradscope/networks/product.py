"""A map that only multiplies: a step of several products begins with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradscope.maps.jacobian import Array
from gradscope.networks.formulas import Partials, Parts, Preactivations
from gradscope.networks.gate import Gate
from gradscope.networks.map import Map

__all__ = ["Product"]


class Product(Map):
    """Return the old parts as they are, and one more of a product: p = U (what `reads` names) + W x + b.

    A subclass names `old_parts`, the same with p after them as `parts`, and `reads`.
    """

    gates = {"p": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> Sequence[Array]:
        return (p["p"],)

    def advance(self, p: Preactivations, s: Parts) -> Mapping[str, Array]:
        return {**s, "p": p["p"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"p": {"p": 1}}, around={part: {part: 1} for part in s})
