"""One closed form, and how far a result may be from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.kernels.frame import FRAME_SPREAD_NATS, STRETCH
from gradscope.numerics.formats import EPS
from gradscope.numerics.interval import REDO_ABOVE_NATS

CHANCE = 5.0  # standard errors: chance goes beyond once in two million times


@dataclass(frozen=True)
class Check:
    """One closed form.

    Attributes:
        name: what is known.
        residual: how far the result is from it; absolute, in nats, unless `why` says otherwise.
        allowed: how far rounding or chance may take it.
        why: where that number comes from.
        group: the subject.
    """

    name: str
    residual: float
    allowed: float
    why: str
    group: str = ""

    @property
    def scaled(self) -> float:
        """Residual over what is allowed."""
        return self.residual / self.allowed

    @property
    def passed(self) -> bool:
        """Whether the residual is within what is allowed; never if it is nan."""
        return bool(self.residual <= self.allowed)

    def of(self, group: str) -> Check:
        """Return the check as one of a group of that title."""
        return replace(self, group=group)


def gap(computed: Any, exact: Any) -> float:
    """Return the largest difference between two arrays of one shape; -inf differs from -inf by nothing."""
    a, b = np.asarray(computed, float), np.asarray(exact, float)
    if a.shape != b.shape:
        return math.inf
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b)).max())


def frame_allowance(size: int, *, steady: bool = False) -> tuple[float, str]:
    """Return (how far a mean of log diag R over steps may be off, nats; why).

    The columns of an interval spread by so many nats, and the smallest is rounded like the largest: at worst in every
    interval, with one sign. By how much a frame is not orthonormal counts once, at the end, and is taken account of.

    Args:
        size: n.
        steady: whether all steps are alike, so that no interval is larger than was meant.
    """
    nats = STRETCH * FRAME_SPREAD_NATS if steady else REDO_ABOVE_NATS
    allowed = 64 * EPS + size * EPS * math.exp(nats)
    return allowed, f"64 eps, and n e^{nats:.3g} eps of an interval"
