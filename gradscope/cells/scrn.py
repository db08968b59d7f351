"""Structurally constrained network: slow context units beside fast hidden ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, sigmoid
from gradscope.networks.product import Product


@dataclass(frozen=True, eq=False)
class SCRN(Cell):
    """State [h, c], hidden units and context.

    c' = (1 - alpha) B x + alpha c    h' = sigmoid(P c' + W x + U h + b)

    d c'/d c = alpha around the weights, fixed and the same for every unit; the context never sees h.
    Mikolov, Joulin, Chopra, Mathieu & Ranzato (2015); alpha = 0.95 as there.
    """

    B: Array | None = None
    P: Array | None = None
    alpha: float = 0.95

    parts = ("h", "c")
    gates = ("h",)
    limits: ClassVar = {"alpha": "[0, 1]"}
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (0, 1)}
    products: ClassVar = 2

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        shapes = {"B": (hidden, inputs), "P": (hidden, hidden)}
        return {name: rng.uniform(-1, 1, shape) / np.sqrt(hidden) for name, shape in shapes.items()}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        return (
            _Context(self.B, None, None, None, self.alpha),
            _FromContext(None, self.P, None, None),
            _Hidden(self.W, self.U, self.b_ih, self.b_hh),
        )


@dataclass(frozen=True, eq=False)
class _Context(Map):
    """Keeps h, and moves the context."""

    alpha: float = 0.95

    old_parts = ("h", "c")
    parts = ("h", "c")
    gates = ("b",)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return s[0], self.alpha * s[1] + (1 - self.alpha) * (a + v)[0]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[0], [1 - self.alpha]], around=[[1, 0], [0, self.alpha]])


class _FromContext(Product):
    """Keeps h and c, and makes p = P c."""

    old_parts = ("h", "c")
    parts = ("h", "c", "p")
    reads = "c"


class _Hidden(Map):
    """h from U h, W x and p."""

    old_parts = ("h", "c", "p")
    parts = ("h", "c")

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return (sigmoid((a + v)[0] + s[2]),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return *self.activations(a, v, s), s[1]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        d = dsigmoid((a + v)[0] + s[2])
        return Partials(through=[[d], [0]], around=[[0, 0, d], [0, 1, 0]])
