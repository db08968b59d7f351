"""Simplified state space with many inputs (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.cells._base import Cell, Map
from gradscope.cells._complex import ComplexDiagonal
from gradscope.jacobian import Array


@dataclass(frozen=True, eq=False)
class S5(Cell):
    """H complex states that all see all inputs; state [re, im].

    z' = exp(dt A) z + (exp(dt A) - 1) / A (B x)    (zero-order hold)

    A are eigenvalues of the normal part of HiPPO-LegS, those with Im A > 0, which stand for their conjugates too; B = W
    is complex, W = [Re B; Im B]. J is the same at every step, |exp(dt A)| = exp(-dt / 2) in the beginning. The output
    is read from z, and not fed back.
    Smith, Warrington & Linderman (2023); dt from dt_min to dt_max, uniform in its logarithm.
    """

    log_dt: Array | None = None
    A: Array | None = None  # (2, H): log of -Re, Im
    dt_min: float = 0.001
    dt_max: float = 0.1

    parts = ("re", "im")
    gates = ("re", "im")
    limits: ClassVar = {"dt_min": "(0, dt_max]", "dt_max": "(0, inf)"}
    recurrent_weights: ClassVar = False
    no_weights: ClassVar = ("log_dt", "A")

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        low, high = np.log(settings["dt_min"]), np.log(settings["dt_max"])
        eigenvalues = _hippo(2 * hidden)
        return {
            "log_dt": rng.uniform(low, high, hidden),
            "A": np.array([np.log(-eigenvalues.real), eigenvalues.imag]),
            "W": rng.standard_normal((2 * hidden, inputs)) / np.sqrt(2 * inputs),
            "b_ih": None,
        }

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.W is not None and self.A is not None and self.log_dt is not None
        A = -np.exp(self.A[0]) + 1j * self.A[1]
        held = np.exp(self.log_dt) * A
        factor = np.expm1(held) / A

        def entering(w: Array) -> Array:
            z = (factor * (w[: len(A)] + 1j * w[len(A) :]).T).T
            return np.concatenate([z.real, z.imag]).astype(w.dtype)

        eigenvalues = np.exp(held)
        parts = np.array([eigenvalues.real, eigenvalues.imag], self.W.dtype)
        bias = None if self.b_ih is None else entering(self.b_ih)
        return (ComplexDiagonal(entering(self.W), None, bias, None, parts),)


def _hippo(n: int) -> Array:
    """Return the n / 2 eigenvalues with Im > 0 of the normal part of HiPPO-LegS, -1/2 + skew-symmetric."""
    root = np.sqrt(1 + 2 * np.arange(n))
    upper = np.triu(np.outer(root, root), 1) / 2
    found = np.linalg.eigvalsh(1j * (upper - upper.T))
    return -0.5 + 1j * np.sort(found[found > 0])
