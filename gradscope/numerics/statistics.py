"""Error bars of a mean: over independent sequences, or over batches of one that is correlated in time."""

from __future__ import annotations

import numpy as np

from gradscope.numerics.formats import Array
from gradscope.numerics.student import quantile

FEWEST_BATCHES = 8  # below which longer batches are not tried: an error of seven numbers is a guess
ROUNDING_RELATIVE = 1e-9  # range of a series, relative to its size, that is rounding and no variation
HALVES_LEVEL = 0.999  # one-sided level at which two halves of a run are said to differ


def student(freedom: Array | int, level: float = 0.975) -> Array:
    """Return the quantile of Student's t.

    Args:
        freedom: numbers of degrees of freedom, any shape; below one they count as one.
        level: P(t < quantile).
    """
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

    Args:
        batches: (M, ...), means over batches.

    Returns:
        standard errors and degrees of freedom, (...) each.
    """
    error, freedom = mean_error(batches)
    joined = batches
    while len(joined) // 2 >= FEWEST_BATCHES:
        even = len(joined) // 2 * 2
        joined = (joined[0:even:2] + joined[1:even:2]) / 2
        other, fewer = mean_error(joined)
        freedom = np.where(other > error, fewer, freedom)
        error = np.maximum(error, other)
    return error, freedom


def correlation_time(series: Array) -> float | None:
    """Return the integrated autocorrelation time 1 + 2 (rho_1 + rho_2 + ...) of a series (T,), in steps.

    The variance of the mean is so many times var / T. Sums of neighbouring autocorrelations are added as long as they
    are positive and fall (initial monotone sequence, Geyer 1992, section 3.3).

    Returns:
        steps; None where the series does not vary, beyond rounding.
    """
    x = np.asarray(series, float)
    varies = len(x) >= 4 and np.isfinite(x).all() and np.ptp(x) > ROUNDING_RELATIVE * max(1.0, np.abs(x).max())
    if not varies:
        return None
    x = x - x.mean()
    spectrum = np.fft.rfft(x, 2 * len(x))  # padded with zeros, or the end of the series would meet its beginning
    rho = np.fft.irfft(np.abs(spectrum) ** 2)[: len(x) // 2 * 2]
    pairs = (rho / rho[0]).reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    return float(2 * np.minimum.accumulate(pairs[: ends[0] if ends.size else None]).sum() - 1)


def halves_differ(batches: Array, least: float) -> Array:
    """Return whether the means of the two halves of a run differ by more than chance, (k,).

    Args:
        batches: (M, S, k), means over batches of S sequences.
        least: difference that does not count in any case: rounding makes differences of 1e-15 "significant" in
            systems that do not vary.
    """
    half = len(batches) // 2
    if half < 2:
        return np.zeros(batches.shape[2], bool)
    first, second = batches[:half], batches[half:]
    with np.errstate(invalid="ignore"):
        changes = second.mean(axis=0) - first.mean(axis=0)  # (S, k)
        if len(changes) > 1:
            error, freedom = mean_error(changes)
        else:
            error = np.hypot(batch_error(first[:, 0])[0], batch_error(second[:, 0])[0])
            freedom = np.full(error.shape, half - 1)
        return np.asarray(np.abs(changes.mean(axis=0)) > student(freedom, HALVES_LEVEL) * error + least)
