"""Quantiles of Student's t, for whole degrees of freedom: scipy.special adds a tenth to the start of the program.

P(|t| < x) is a finite sum of powers of cos^2 of the angle atan(x / sqrt(nu)) (Abramowitz & Stegun 1964, 26.7.3 and
26.7.4); it is turned round by Newton's method. For many degrees of freedom, the expansion about the normal
distribution (26.7.5) is closer than rounding of that sum.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

__all__ = ["quantile"]

MANY = 2000  # degrees of freedom from which the terms of the expansion that are left out are below 1e-12


@lru_cache(maxsize=256)
def quantile(freedom: int, level: float) -> float:
    """Return x with P(t < x) = level, between a half and one, for a whole number of degrees of freedom."""
    if freedom > MANY:
        return _expanded(freedom, NormalDist().inv_cdf(level))
    low, high, angle = 0.0, math.pi / 2, math.pi / 4
    for _ in range(200):
        share, slope = _within(freedom, angle)
        error = share - (2 * level - 1)
        low, high = (low, angle) if error > 0 else (angle, high)
        step = angle - error / slope if slope else high
        after = step if low < step < high else (low + high) / 2
        if abs(after - angle) <= 4e-16 * angle:
            break
        angle = after
    return math.tan(angle) * math.sqrt(freedom)


def _within(freedom: int, angle: float) -> tuple[float, float]:
    """Return P(|t| < sqrt(nu) tan(angle)), and its derivative by the angle."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    # terms: cos (1 + 2/3 cos^2 + ...) for an odd number, 1 + 1/2 cos^2 + ... for an even one
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    share = 2 / math.pi * (angle + sine * total) if odd else sine * total
    height = 2 / math.sqrt(math.pi) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    return share, height * cosine ** (freedom - 1)


def _expanded(freedom: int, z: float) -> float:
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))
