"""Error bars of a mean: over independent sequences, or over batches of one that is correlated in time."""

from __future__ import annotations

import numpy as np

from gradscope.maps.jacobian import Array
from gradscope.numerics.student import quantile

__all__ = ["batch_error", "correlation_time", "mean_error", "student"]

FEWEST = 8  # batches, below which longer ones are not tried


def student(freedom: Array | int, level: float = 0.975) -> Array:
    """Return the quantile of Student's t for each number of degrees of freedom, at least one."""
    degrees, where = np.unique(np.maximum(freedom, 1), return_inverse=True)
    return np.array([quantile(int(d), level) for d in degrees])[where].reshape(np.shape(freedom))


def mean_error(samples: Array) -> tuple[Array, Array]:
    """Return the standard error of the mean over the first axis, and its degrees of freedom; nan for one sample."""
    count = len(samples)
    if count < 2:
        return np.full(samples.shape[1:], np.nan), np.zeros(samples.shape[1:], int)
    with np.errstate(invalid="ignore"):
        error = samples.std(axis=0, ddof=1) / np.sqrt(count)
    return error, np.full(samples.shape[1:], count - 1)


def batch_error(batches: Array) -> tuple[Array, Array]:
    """Return the standard error of the mean of batches of equal length that follow one another in time.

    Non-overlapping batch means (Geyer 1992, section 3.2). Batches that are too short for the correlation in time
    give an error that is too small: they are joined in twos and fours, as long as eight are left, and the largest
    of the errors is taken.
    """
    error, freedom = mean_error(batches)
    joined = batches
    while len(joined) // 2 >= FEWEST:
        even = len(joined) // 2 * 2
        joined = (joined[0:even:2] + joined[1:even:2]) / 2
        other, fewer = mean_error(joined)
        freedom = np.where(other > error, fewer, freedom)
        error = np.maximum(error, other)
    return error, freedom


def correlation_time(series: Array) -> float | None:
    """Return 1 + 2 (rho_1 + rho_2 + ...) of a series (T,): the variance of its mean is so many times var / T.

    Sums of neighbouring autocorrelations are added as long as they are positive (Geyer 1992, section 3.3). None where
    the series does not vary, beyond rounding.
    """
    x = np.asarray(series, float)
    if len(x) < 4 or not np.isfinite(x).all() or np.ptp(x) <= 1e-9 * max(1.0, np.abs(x).max()):
        return None
    x = x - x.mean()
    padded = np.fft.rfft(x, 2 * len(x))
    rho = np.fft.irfft(np.abs(padded) ** 2)[: len(x) // 2 * 2]
    pairs = (rho / rho[0]).reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    return float(2 * np.minimum.accumulate(pairs[: ends[0] if ends.size else None]).sum() - 1)
