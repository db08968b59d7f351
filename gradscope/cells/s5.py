"""Simplified state space with many inputs (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, ComplexDiagonal, Gate, Map, MapsCell


@dataclass(frozen=True, eq=False)
class S5(MapsCell):
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
    gates = {"re": Gate(), "im": Gate()}
    limits = {"dt_min": "(0, dt_max]", "dt_max": "(0, inf)"}
    recurrent_weights = False
    no_weights = ("log_dt", "A")

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
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
    """Return the n / 2 eigenvalues with Im > 0 of the normal part of HiPPO-LegS, -1/2 + skew-symmetric, in order.

    i omega is one of the skew-symmetric part, sqrt((2 j + 1)(2 k + 1)) / 2 at j < k, where w_k summed over k > j, less
    those over k < j, is 2 i omega w_j / (2 j + 1). Two rows in turn differ by w_j + w_(j + 1), which gives w one by
    one; first and last row then agree where the angles arctan(2 omega / (2 j + 1)) of all j add up to an odd multiple
    of pi / 2, for even n.
    """
    odds, slow = 2 * np.arange(n) + 1.0, n // 4
    targets = np.pi * (np.arange(n // 2) + 0.5)
    low, high = _of_angles(2 / odds, targets[:slow]), _of_angles(odds / 2, targets[: n // 2 - slow])
    return -0.5 + 1j * np.concatenate([low, 1 / high[::-1]])


def _of_angles(slopes: Array, targets: Array) -> Array:
    """Return x > 0 for each target, the sum of arctan(slope x): a concave function, so that Newton comes from below."""
    roots = np.zeros_like(targets)
    for part in np.array_split(np.arange(len(targets)), -(-len(targets) // TOGETHER)) if len(targets) else ():
        x = roots[part]
        for _ in range(ROUNDS):
            each = slopes * x[:, None]
            step = (targets[part] - np.arctan(each).sum(axis=1)) / (slopes / (1 + each**2)).sum(axis=1)
            x = x + step
            if np.abs(step / x).max() < 8 * np.finfo(float).eps:
                break
        roots[part] = x
    return roots


TOGETHER = 64  # eigenvalues that are sought at once
ROUNDS = 60  # of Newton's method; a dozen will do, and rounding may keep it from standing still
