"""Numbers with an exponent of their own: arrays whose columns are kept near one by powers of two.

A gradient that halves every step is exactly 0 after 1075 steps in float64, and a squared norm underflows
at 1e-154. Multiplying by a power of two is exact, so nothing is lost by moving the exponent aside.
"""

from __future__ import annotations

import numpy as np

from gradscope.maps.jacobian import Array

__all__ = ["LN2", "add", "log_norm", "norm", "rescale"]

LN2 = float(np.log(2.0))


def rescale(u: Array, exponent: Array) -> tuple[Array, Array]:
    """Return (u', exponent') with the same value u 2^exponent and max|u'| of each column in [1/2, 1)."""
    size = np.abs(u).max(axis=0)
    shift = np.where(np.isfinite(size), np.frexp(size)[1], 0).astype(np.int64)
    return np.ldexp(u, -shift.astype(np.int32)), exponent + shift


def add(u: Array, exponent: Array, direct: Array) -> tuple[Array, Array]:
    """Return u 2^exponent + direct, in the scale of the larger of the two, column by column."""
    direct, other = rescale(direct, np.zeros_like(exponent))
    tiny = np.int64(-(1 << 40))  # the scale of a zero column: below everything
    e = np.where(u.any(axis=0), exponent, tiny)
    d = np.where(direct.any(axis=0), other, tiny)
    top = np.maximum(e, d)
    top = np.where(top == tiny, 0, top)
    return _lowered(u, e - top) + _lowered(direct, d - top), top


def _lowered(u: Array, shift: Array) -> Array:
    """Return u 2^shift for shifts at or below zero; a shift beyond -4000 leaves nothing in any format."""
    return np.asarray(np.ldexp(u, np.clip(shift, -4000, 0).astype(np.int32)))


def norm(x: Array) -> float:
    """Return the 2-norm of all numbers in x; their squares may be too small or too large to be written."""
    scale = float(np.abs(x).max(initial=0.0))
    return scale * float(np.linalg.norm(x / scale)) if scale else 0.0


def log_norm(u: Array, exponent: Array) -> Array:
    """Return the natural log of the 2-norm of each column of u (..., n, B): -inf for zero, nan if not finite."""
    size = np.abs(u).max(axis=-2, initial=0.0)
    scale = np.where((size > 0) & np.isfinite(size), size, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.square(u / scale[..., None, :]).sum(axis=-2)
        logs = np.log(np.sqrt(sums, dtype=float)) + np.log(scale.astype(float))
    return np.where(np.isfinite(size), logs + exponent * LN2, np.nan)
