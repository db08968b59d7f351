"""Real-gated linear recurrent unit (Griffin)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Parts
from gradscope.networks.elementwise import dsigmoid, log_sigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class RGLRU(Cell):
    """State s = [h].

    r, i = sigmoid(W x + b)    log a = 8 r log sigmoid(L)    h' = a h + sqrt(1 - a^2) (i z)    z = W_z x + b_z

    J = diag(a). d sqrt(1 - a^2) / d a = -a / sqrt(1 - a^2) has no bound as a -> 1; in r it stays finite, since both
    vanish together, and that is what is evaluated here; the authors' RecurrentGemma cuts the slope of the root at 1000
    instead. The letters: L is Lambda, z the projected input.
    De, Smith, Fernando et al. (2024); sigmoid(L)^8 from U(0.9, 0.999), as there.
    """

    L: Array | None = None

    parts = ("h",)
    gates = ("r", "i", "z")
    gate_names: ClassVar = {"r": "recurrence", "i": "input", "z": "candidate"}
    keep_gates: ClassVar = {"r": -1}
    squash: ClassVar = {"r": (0, 1), "i": (0, 1)}
    recurrent_weights: ClassVar = False

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        a = rng.uniform(0.9, 0.999, hidden) ** (1 / POWER)
        return {"L": np.log(a) - np.log1p(-a)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        r, i, z = a + v
        return sigmoid(r), sigmoid(i), z

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        r, i, z = self.activations(a, v, s)
        log_a = POWER * log_sigmoid(self.column("L")) * r
        return (np.exp(log_a) * s[0] + np.sqrt(-np.expm1(2 * log_a)) * (i * z),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        r, i, z = self.activations(a, v, s)
        rate = POWER * log_sigmoid(self.column("L"))
        keep, twice = np.exp(rate * r), np.minimum(2 * rate * r, -SMALL)
        write, slope = np.sqrt(-np.expm1(twice)), np.expm1(twice) / twice
        d_keep = rate * keep * dsigmoid(p[0])
        d_write = keep * keep * np.sqrt(-rate * r / (2 * slope)) * sigmoid(-p[0])
        return Partials(
            through=[[d_keep * s[0] + d_write * i * z, write * z * dsigmoid(p[1]), write * i]], around=[[keep]]
        )

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        r, _, _ = self.activations(*self.preactivations(x, s))
        least = float(-np.expm1((POWER * log_sigmoid(self.column("L")) * r).max()))
        slope = (1 - least) / np.sqrt(least * (2 - least)) if least > 0 else np.inf
        return {
            "least 1 - a": Fact(least, "of all units and steps looked at"),
            "slope of sqrt(1 - a^2)": Fact(
                float(slope), "in a, at the largest a: what low precision multiplies its errors by"
            ),
        }


POWER = 8.0  # c in the paper
SMALL = 1e-37  # stands for zero, where expm1(y) / y is 1
