"""A leaky recurrent network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dtanh, tanh


@dataclass(frozen=True, eq=False)
class Drip(OneMapCell):
    """Leaky integrator; state s = [h].

    h' = (1 - leak) h + leak tanh(U h + W x + b)

    d h'/d h = 1 - leak around the weights: the smaller the leak, the farther gradients reach.
    Jaeger, Lukosevicius, Popovici & Siewert (2007).
    """

    leak: float = 0.1

    parts = ("h",)
    gates = {"h": Gate("hidden", (-1, 1))}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": (1 - self.leak) * s["h"] + self.leak * tanh(p["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        through = {"h": {"h": self.leak * dtanh(p["h"])}}
        return Partials(through, around={"h": {"h": 1 - self.leak}})

    def changes(self, missing_factor: float, steps: int) -> dict[str, Callable[[], Drip]]:
        smaller = {"leak / 10": lambda: self.replace(leak=self.leak / 10)} if missing_factor > 1 else {}
        return smaller | super().changes(missing_factor, steps)
