"""Real-gated linear recurrent unit (Griffin)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import (
    Array,
    Gate,
    OneMapCell,
    Partials,
    Parts,
    Preactivations,
    Property,
    dsigmoid,
    log_sigmoid,
    sigmoid,
)


@dataclass(frozen=True, eq=False)
class RGLRU(OneMapCell):
    """State s = [h].

    r, i = sigmoid(W x + b)    log a = 8 r log sigmoid(L)    h' = a h + sqrt(1 - a^2) (i z)    z = W_z x + b_z

    J = diag(a). d sqrt(1 - a^2) / d a = -a / sqrt(1 - a^2) has no bound as a -> 1; in r it stays finite, since both
    vanish together, and that is what is evaluated here; the authors' RecurrentGemma cuts the slope of the root at 1000
    instead. The letters: L is Lambda, z the projected input.
    De, Smith, Fernando et al. (2024); sigmoid(L)^8 from U(0.9, 0.999), as there.
    """

    L: Array | None = None

    parts = ("h",)
    gates = {
        "r": Gate("recurrence", (0, 1), keeps=-1),
        "i": Gate("input", (0, 1)),
        "z": Gate("candidate"),
    }
    recurrent_weights = False

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        a = rng.uniform(0.9, 0.999, hidden) ** (1 / POWER)
        return {"L": np.log(a) - np.log1p(-a)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["r"]), sigmoid(p["i"]), p["z"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        r, i, z = self.activations(p, s)
        log_a = POWER * log_sigmoid(self.column("L")) * r
        return {"h": np.exp(log_a) * s["h"] + np.sqrt(-np.expm1(2 * log_a)) * (i * z)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        r, i, z = self.activations(p, s)
        rate = POWER * log_sigmoid(self.column("L"))
        keep, twice = np.exp(rate * r), np.minimum(2 * rate * r, -SMALL)
        write, slope = np.sqrt(-np.expm1(twice)), np.expm1(twice) / twice
        d_keep = rate * keep * dsigmoid(p["r"])
        d_write = keep * keep * np.sqrt(-rate * r / (2 * slope)) * sigmoid(-p["r"])
        through = {"r": d_keep * s["h"] + d_write * i * z, "i": write * z * dsigmoid(p["i"]), "z": write * i}
        return Partials(through={"h": through}, around={"h": {"h": keep}})

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        r, _, _ = self.activations(*self.preactivations(x, s))
        least = float(-np.expm1((POWER * log_sigmoid(self.column("L")) * r).max()))
        slope = (1 - least) / np.sqrt(least * (2 - least)) if least > 0 else np.inf
        return {
            "least 1 - a": Property(least, "of all units and steps looked at"),
            "slope of sqrt(1 - a^2)": Property(
                float(slope), "in a, at the largest a: what low precision multiplies its errors by"
            ),
        }


POWER = 8.0  # c in the paper
SMALL = 1e-37  # stands for zero, where expm1(y) / y is 1
