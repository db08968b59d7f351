"""Leaky integrator, or continuous-time network by Euler's method, in both forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gradscope.networks import Array, Gate, Map, OneMapCell, Partials, Parts, Preactivations, dtanh, tanh


@dataclass(frozen=True, eq=False)
class Leaky(OneMapCell):
    """State s = [h], rates or currents; alpha = dt / tau.

    h' = (1 - alpha) h + alpha tanh(U h + W x + b)      (form rate)
    h' = (1 - alpha) h + alpha (U tanh(h) + W x + b)    (form current)

    d h'/d h = 1 - alpha around the weights, for every unit and whatever the input.
    Jaeger, Lukosevicius, Popovici & Siewert (2007); Song, Yang & Wang (2016).
    """

    alpha: float = 0.1
    form: str = "rate"

    parts = ("h",)
    gates = {"h": Gate("hidden")}
    limits = {"alpha": "(0, 1]"}
    choices = {"form": ("rate", "current")}

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1, 1)} if self.form == "rate" else {}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        if self.form == "rate":
            return (self,)
        return _Rates(None, None, None, None, self.width), _Currents(self.W, self.U, self.b_ih, self.b_hh, self.alpha)

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        (new,) = self.activations(p, s)
        return {"h": (1 - self.alpha) * s["h"] + self.alpha * new}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": self.alpha * dtanh(p["h"])}}, around={"h": {"h": 1 - self.alpha}})


@dataclass(frozen=True, eq=False)
class _Rates(Map):
    """Keeps h, and makes r = tanh(h)."""

    units: int = 0

    old_parts = ("h",)
    parts = ("h", "r")
    gates = {}

    @property
    def width(self) -> int:
        return self.units

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return ()

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": s["h"], "r": tanh(s["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={}, around={"h": {"h": 1}, "r": {"h": dtanh(s["h"])}})


@dataclass(frozen=True, eq=False)
class _Currents(Map):
    """h from what leaks and U r."""

    alpha: float = 0.1

    old_parts = ("h", "r")
    reads = "r"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (p["h"],)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": (1 - self.alpha) * s["h"] + self.alpha * p["h"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": self.alpha}}, around={"h": {"h": 1 - self.alpha}})
