"""Structurally constrained network: slow context units beside fast hidden ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, Map, MapsCell, Partials, Parts, Preactivations, Product, dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class SCRN(MapsCell):
    """State [h, c], hidden units and context.

    c' = (1 - alpha) B x + alpha c    h' = sigmoid(P c' + W x + U h + b)

    d c'/d c = alpha around the weights, fixed and the same for every unit; the context never sees h.
    Mikolov, Joulin, Chopra, Mathieu & Ranzato (2015); alpha = 0.95 as there.
    """

    B: Array | None = None
    P: Array | None = None
    alpha: float = 0.95

    parts = ("h", "c")
    gates = {"h": Gate("hidden", (0, 1))}
    limits = {"alpha": "[0, 1]"}
    products = 2

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
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
    gates = {"b": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (p["b"],)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": s["h"], "c": self.alpha * s["c"] + (1 - self.alpha) * p["b"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"c": {"b": 1 - self.alpha}}, around={"h": {"h": 1}, "c": {"c": self.alpha}})


class _FromContext(Product):
    """Keeps h and c, and makes p = P c."""

    old_parts = ("h", "c")
    parts = ("h", "c", "p")
    reads = "c"


class _Hidden(Map):
    """h from U h, W x and p."""

    old_parts = ("h", "c", "p")
    parts = ("h", "c")

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (sigmoid(p["h"] + s["p"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": sigmoid(p["h"] + s["p"]), "c": s["c"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        d = dsigmoid(p["h"] + s["p"])
        return Partials(through={"h": {"h": d}}, around={"h": {"p": d}, "c": {"c": 1}})
