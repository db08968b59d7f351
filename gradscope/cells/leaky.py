"""Leaky integrator, or continuous-time network by Euler's method, in both forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dtanh, tanh


@dataclass(frozen=True, eq=False)
class Leaky(Cell):
    """State s = [h], rates or currents; alpha = dt / tau.

    h' = (1 - alpha) h + alpha tanh(U h + W x + b)      (form rate)
    h' = (1 - alpha) h + alpha (U tanh(h) + W x + b)    (form current)

    d h'/d h = 1 - alpha around the weights, for every unit and whatever the input.
    Jaeger, Lukosevicius, Popovici & Siewert (2007); Song, Yang & Wang (2016).
    """

    alpha: float = 0.1
    form: str = "rate"

    parts = ("h",)
    gates = ("h",)
    limits: ClassVar = {"alpha": "(0, 1]"}
    choices: ClassVar = {"form": ("rate", "current")}
    gate_names: ClassVar = {"h": "hidden"}

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1, 1)} if self.form == "rate" else {}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        if self.form == "rate":
            return (self,)
        return _Rates(None, None, None, None, self.width), _Currents(self.W, self.U, self.b_ih, self.b_hh, self.alpha)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (new,) = self.activations(a, v, s)
        return ((1 - self.alpha) * s[0] + self.alpha * new,)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[self.alpha * dtanh((a + v)[0])]], around=[[1 - self.alpha]])


@dataclass(frozen=True, eq=False)
class _Rates(Map):
    """Keeps h, and makes r = tanh(h)."""

    units: int = 0

    old_parts = ("h",)
    parts = ("h", "r")
    gates = ()

    @property
    def width(self) -> int:
        return self.units

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return ()

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return s[0], tanh(s[0])

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[], []], around=[[1], [dtanh(s[0])]])


@dataclass(frozen=True, eq=False)
class _Currents(Map):
    """h from what leaks and U r."""

    alpha: float = 0.1

    old_parts = ("h", "r")
    reads = "r"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return ((1 - self.alpha) * s[0] + self.alpha * (a + v)[0],)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[self.alpha]], around=[[1 - self.alpha, 0]])
