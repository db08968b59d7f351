"""Numbers with a separate exponent: arrays whose columns are kept near one by powers of two.

A gradient that halves every step is exactly 0 after 1075 steps in float64, and a squared norm underflows
at 1e-154. Multiplying by a power of two is exact, so nothing is lost by moving the exponent aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradscope.numerics.formats import LN2, Array

SAFE_SIZE = 1e100  # entries up to it, or down to its inverse: their squares, and sums of many, stay within float64
BELOW_ALL_EXPONENTS = -(1 << 40)  # the exponent of a column of zeros: any other column sets the common scale
NOTHING_LEFT_EXPONENT = -4000  # 2^-4000 is zero in every format, and still an int32, as ldexp takes them


def rescale(u: Array, exponent: Array) -> tuple[Array, Array]:
    """Return (u', exponent') with the same value u 2^exponent and max|u'| of each column in [1/2, 1).

    Args:
        u: (..., B).
        exponent: (B,), integers.
    """
    size = np.abs(u).max(axis=0)
    # a column with inf or nan stays as it is: frexp has no exponent for it
    shift = np.where(np.isfinite(size), np.frexp(size)[1], 0).astype(np.int64)
    return np.ldexp(u, -shift.astype(np.int32)), exponent + shift


def add(u: Array, exponent: Array, direct: Array) -> tuple[Array, Array]:
    """Return u 2^exponent + direct as (array, exponent), in the scale of the larger of the two, column by column.

    Args:
        u: (n, B).
        exponent: (B,), integers.
        direct: (n, B), with exponent 0.
    """
    direct, other = rescale(direct, np.zeros_like(exponent))
    lowest = np.int64(BELOW_ALL_EXPONENTS)
    # zeros have no scale: without this, a column of zeros with a large exponent would push the other one to zero
    e = np.where(u.any(axis=0), exponent, lowest)
    d = np.where(direct.any(axis=0), other, lowest)
    top = np.maximum(e, d)
    top = np.where(top == lowest, 0, top)
    return _scaled_down(u, e - top) + _scaled_down(direct, d - top), top


def _scaled_down(u: Array, shift: Array) -> Array:
    """Return u 2^shift for shifts at or below zero."""
    return np.asarray(np.ldexp(u, np.clip(shift, NOTHING_LEFT_EXPONENT, 0).astype(np.int32)))


def max_abs(array: Array) -> float:
    """Return the largest absolute value; nan if there is one, 0 for an empty array."""
    # two passes without a temporary: np.abs would write the whole array once more
    return max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))


def in_range(block: Array) -> bool:
    """Return whether the largest entry is far from overflow and from zero; False for nan."""
    return 1 / SAFE_SIZE < max_abs(block) < SAFE_SIZE


def norm(x: Array) -> float:
    """Return the 2-norm of all entries of x, scaled first: their squares may overflow or underflow."""
    scale = float(np.abs(x).max(initial=0.0))
    return scale * float(np.linalg.norm(x / scale)) if scale else 0.0


def log_norm(u: Array, exponent: Array) -> Array:
    """Return the natural log of the 2-norm of each column of u 2^exponent.

    Args:
        u: (..., n, B).
        exponent: (..., B).

    Returns:
        (..., B): -inf for a column of zeros, nan for one that is not finite.
    """
    size = np.abs(u).max(axis=-2, initial=0.0)
    scale = np.where((size > 0) & np.isfinite(size), size, 1)  # squares of what is scaled neither over- nor underflow
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.square(u / scale[..., None, :]).sum(axis=-2)
        logs = np.log(np.sqrt(sums, dtype=float)) + np.log(scale.astype(float))
    return np.where(np.isfinite(size), logs + exponent * LN2, np.nan)


def two_sum_error(a: Any, b: Any, total: Any) -> Any:
    """Return a + b - total exactly, for total = a + b rounded (Knuth's two-sum, The Art of Computer Programming 4.2.2).

    Logs of sizes are sums of thousands of terms: the rounding of these sums would be the largest error of all.
    """
    of_b = total - a
    return (a - (total - of_b)) + (b - of_b)


class ScaledProduct:
    """A product of matrices that is multiplied out: a matrix with entries near one, and the logarithm of its scale."""

    def __init__(self, n: int) -> None:
        self.matrix: Array = np.eye(n)
        self._exponent = np.zeros(1, np.int64)

    def multiply(self, apply: Callable[[Array], Array]) -> None:
        """Multiply by a map from the left."""
        flat, self._exponent = rescale(apply(self.matrix).reshape(-1, 1), self._exponent)
        self.matrix = flat.reshape(self.matrix.shape)

    @property
    def log_scale(self) -> float:
        """Natural log of the factor that `matrix` was divided by."""
        return float(self._exponent[0]) * LN2
