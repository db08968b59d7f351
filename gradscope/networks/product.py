"""A map that only multiplies: a step of several products begins with it."""

from __future__ import annotations

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.map import Map, Parts

__all__ = ["Product"]


class Product(Map):
    """Keeps the old parts, and makes one more of a product: p = U (what `reads` names) + W x + b.

    Who derives from it names `old_parts`, the same with p after them as `parts`, and `reads`.
    """

    gates = ("p",)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return *s, (a + v)[0]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        count = len(s)
        kept = [[int(p == q) for q in range(count)] for p in range(count)]
        return Partials(through=[*[[0]] * count, [1]], around=[*kept, [0] * count])
