"""Linear recurrent unit: a complex diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, ComplexDiagonal, Gate, Map, MapsCell


@dataclass(frozen=True, eq=False)
class LRU(MapsCell):
    """z' = lambda z + gamma (B x), complex, as state [re, im]; lambda = exp(-exp(nu) + i exp(theta)).

    J is the same at every step: a rotation by exp(theta) and a factor |lambda| = exp(-exp(nu)) below one, for both
    parts of a unit. gamma = sqrt(1 - |lambda|^2) keeps the size of the state near that of its input. The output is
    read from z, and not fed back.
    Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De (2023), where gamma is trained from this value on; lambda
    uniform on the ring from r_min to r_max, both parts of B of variance 1 / (2 inputs).
    """

    nu: Array | None = None
    theta: Array | None = None
    r_min: float = 0.9
    r_max: float = 0.999

    parts = ("re", "im")
    gates = {"re": Gate(), "im": Gate()}
    limits = {"r_min": "[0, r_max)", "r_max": "(0, 1]"}
    recurrent_weights = False
    no_weights = ("nu", "theta")

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        low, high = settings["r_min"] ** 2, settings["r_max"] ** 2
        return {
            "nu": np.log(-0.5 * np.log(rng.uniform(low, high, hidden))),
            "theta": np.log(rng.uniform(0, 2 * np.pi, hidden)),
            "W": rng.standard_normal((2 * hidden, inputs)) / np.sqrt(2 * inputs),
            "b_ih": None,
        }

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.W is not None and self.nu is not None and self.theta is not None
        decay, angle = np.exp(self.nu), np.exp(self.theta)
        eigenvalues = np.exp(-decay) * np.array([np.cos(angle), np.sin(angle)])
        gamma = np.sqrt(-np.expm1(-2 * decay))
        scale = np.tile(gamma, 2)
        bias = None if self.b_ih is None else scale * self.b_ih
        return (ComplexDiagonal(scale[:, None] * self.W, None, bias, None, eigenvalues),)
