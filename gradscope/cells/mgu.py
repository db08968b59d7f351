"""Minimal gated unit: one gate does what two do in a GRU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class MGU(Cell):
    """State s = [h].

    f = sigmoid(W_f x + U_f h + b_f)    g = tanh(W_g x + U_g (f h) + b_g)    h' = (1 - f) h + f g

    d h'/d h = 1 - f around the weights: an open gate forgets, and lets the old state into g.
    Zhou, Wu, Zhang & Zhou (2016).
    """

    parts = ("h",)
    gates = ("f", "g")
    gate_names: ClassVar = {"f": "forget", "g": "candidate"}
    keep_gates: ClassVar = {"f": -1}
    squash: ClassVar = {"f": (0, 1), "g": (-1, 1)}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        first, second = self.blocks(1)
        return _Gate(*first), _Candidate(*second)


class _Gate(Map):
    """Keeps h, and makes f and q = f h."""

    old_parts = ("h",)
    parts = ("h", "f", "q")
    gates = ("f",)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(sigmoid(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (f,) = self.activations(a, v, s)
        return s[0], f, f * s[0]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        (f,) = self.activations(a, v, s)
        (df,) = dsigmoid(a + v)
        return Partials(through=[[0], [df], [s[0] * df]], around=[[1], [0], [f]])


class _Candidate(Map):
    """g from U_g q, then the mixture of g and h."""

    old_parts = ("h", "f", "q")
    gates = ("g",)
    reads = "q"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        h, f, _ = s
        (g,) = self.activations(a, v, s)
        return (h + f * (g - h),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        h, f, _ = s
        (g,) = self.activations(a, v, s)
        return Partials(through=[[f * dtanh((a + v)[0])]], around=[[1 - f, g - h, 0]])
