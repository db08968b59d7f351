"""Quantiles of Student's t for whole degrees of freedom, without scipy.special, whose import takes 50 to 100 ms.

P(|t| < x) is a finite sum of powers of cos^2 of the angle atan(x / sqrt(nu)) (Abramowitz & Stegun 1964, 26.7.3 and
26.7.4); it is turned round by Newton's method. For many degrees of freedom, the expansion about the normal
distribution (26.7.5) is closer than rounding of that sum.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

EXPANSION_ABOVE = 2000  # degrees of freedom, from which terms that the expansion leaves out are below 1e-12
MAX_ITERATIONS = 200  # of Newton's method; bisection alone would take 60


@lru_cache(maxsize=256)
def quantile(freedom: int, level: float) -> float:
    """Return x with P(t < x) = level.

    Args:
        freedom: degrees of freedom, a whole number.
        level: between a half and one.
    """
    if freedom > EXPANSION_ABOVE:
        return _expanded(freedom, NormalDist().inv_cdf(level))
    # the angle atan(x / sqrt(nu)) by Newton's method within a bracket that bisection keeps
    low, high, angle = 0.0, math.pi / 2, math.pi / 4
    for _ in range(MAX_ITERATIONS):
        share, slope = _central_probability(freedom, angle)
        error = share - (2 * level - 1)
        low, high = (low, angle) if error > 0 else (angle, high)
        step = angle - error / slope if slope else high
        after = step if low < step < high else (low + high) / 2
        if abs(after - angle) <= 4e-16 * angle:
            break
        angle = after
    return math.tan(angle) * math.sqrt(freedom)


def _central_probability(freedom: int, angle: float) -> tuple[float, float]:
    """Return P(|t| < sqrt(nu) tan(angle)), and its derivative by the angle."""
    sine, cosine = math.sin(angle), math.cos(angle)
    parity = freedom % 2
    # terms: cos (1 + 2/3 cos^2 + ...) for an odd number, 1 + 1/2 cos^2 + ... for an even one
    term, total = (cosine if parity else 1.0), 0.0
    for k in range(1 + parity, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    share = 2 / math.pi * (angle + sine * total) if parity else sine * total
    # the derivative is a constant times cos^(nu - 1); lgamma, since gamma overflows at 171
    height = 2 / math.sqrt(math.pi) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    return share, height * cosine ** (freedom - 1)


def _expanded(freedom: int, z: float) -> float:
    """Return the quantile of Student's t from the quantile z of the normal distribution (26.7.5)."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))
