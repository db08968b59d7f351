"""How arrays become JSON: medians and bands over sequences. What is not determined is None."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from gradscope.maps.jacobian import Array

LONGEST_SERIES = 100_000  # entries; beyond, a document would be hundreds of megabytes
LN10 = math.log(10.0)

Document = dict[str, Any]


def timesteps(steps: int) -> Array:
    """Return the steps that series are given at: all, or of very long runs every so many, and the last."""
    return np.append(np.arange(0, steps, -(-steps // LONGEST_SERIES)), steps)


def median(values: Array) -> float | None:
    """Return the median; None where it is not determined."""
    with np.errstate(invalid="ignore"):
        value = float(np.median(values)) if values.size else math.nan
    return known(value)


def medians(rows: Array) -> list[float | None]:
    """Return the median over sequences, natural logs as log10; None where it is not determined for any of them."""
    out: list[float | None] = []
    for row in rows:
        determined = row[~np.isnan(row)]
        out.append(float(np.median(determined)) / LN10 if determined.size == row.size and row.size else None)
    return out


def finite_median(values: Array) -> list[float | None]:
    """Return the median over the last axis, of what is finite; None where nothing is."""
    finite = np.isfinite(values)
    complete = np.asarray(finite.all(axis=-1))
    out: list[float | None] = np.median(np.where(complete[:, None], values, 0), axis=-1).tolist()
    for k in np.flatnonzero(~complete):
        row = values[k][finite[k]]
        out[k] = float(np.median(row)) if row.size else None
    return out


def known(value: float) -> float | None:
    """Return a number; None for nan."""
    return None if math.isnan(value) else value


def floats(values: Array) -> list[float | None]:
    """Return numbers; None where one is not determined."""
    return [known(float(x)) for x in values]


def median_count(values: Array) -> int | None:
    """Return the median of counts."""
    value = median(values)
    return None if value is None else int(value)


def log10(value: float | None) -> float | None:
    """Return log10 of what is given as a natural log."""
    return None if value is None else value / LN10


def band(logs: Array) -> Document:
    """Return median, 5-95 % band, and log10 of the mean square, of log10 of a quantity over sequences."""
    top = logs.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        square = np.log10((10 ** (2 * (logs - top))).mean(axis=1)) + 2 * top[:, 0]
    return spread(logs) | {"mean_square": square.tolist()}


def spread(values: Array) -> Document:
    """Return the median and the 5-95 % band over the last axis."""
    low, mid, high = _percentiles(values, "linear")
    nonfinite = ~np.isfinite(values).all(axis=-1)
    if nonfinite.any():  # between -inf and a number there is nothing to interpolate
        for row, nearest in zip((low, mid, high), _percentiles(values, "lower"), strict=True):
            row[nonfinite] = nearest[nonfinite]
    return {"median": mid.tolist(), "p05": low.tolist(), "p95": high.tolist()}


def _percentiles(values: Array, method: Literal["linear", "lower"]) -> list[Array]:
    with np.errstate(invalid="ignore"):
        return [np.asarray(np.percentile(values, q, axis=-1, method=method)) for q in (5.0, 50.0, 95.0)]
