"""What one new part contributes to another in the same step, and grids without that contribution.

Of an LSTM, c' contributes t o' c' to h'. With D such a grid (`Grids.within`), the grids of a Jacobian are (I + D)
times grids without the contribution, as long as no contribution passes on another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.maps.grid import Grid

__all__ = ["identity_plus", "is_nilpotent", "is_zero", "squares_to_zero", "subtract_within", "without_same_step"]

ROUNDING_EPS = 8  # a difference of two products that is smaller than so many eps is zero


def is_zero(entry: Any) -> bool:
    """Whether an entry, an array or a number, is zero throughout."""
    return not np.any(entry)


def subtract_within(grid: Grid, within: Grid) -> Grid:
    """Return grid - within @ grid, with what is only rounding set to zero."""
    rows = []
    for row, contributions in zip(grid, within, strict=True):
        difference = list(row)
        for weight, other in zip(contributions, grid, strict=True):
            if not is_zero(weight):
                difference = [_subtract(a, weight * b) for a, b in zip(difference, other, strict=True)]
        rows.append(difference)
    return rows


def _subtract(a: Any, b: Any) -> Any:
    difference = np.asarray(a) - np.asarray(b)
    eps = np.finfo(difference.dtype).eps if difference.dtype.kind == "f" else 0.0
    return np.where(np.abs(difference) <= ROUNDING_EPS * eps * np.abs(b), 0, difference)


def without_same_step(through: Grid, around: Grid, within: Grid | None) -> list[list[list[Any]]]:
    """Return grids (through, around) without the contributions; `identity_plus(within)` times these are the given."""
    grids = (grid if within is None else subtract_within(grid, within) for grid in (through, around))
    return [[[0 if is_zero(e) else e for e in row] for row in grid] for grid in grids]


def identity_plus(within: Grid) -> Grid:
    """Return the grid I + within."""
    parts = range(len(within))
    return [[1 if p == q else within[p][q] for q in parts] for p in parts]


def squares_to_zero(within: Grid) -> bool:
    """Whether no part contributes to a part that itself contributes to another."""
    parts = range(len(within))
    return not any(not is_zero(within[p][q]) and not is_zero(within[q][r]) for p in parts for q in parts for r in parts)


def is_nilpotent(within: Grid) -> bool:
    """Whether the contributions are acyclic; then det(I - within) = 1."""
    present = np.array([[not is_zero(e) for e in row] for row in within], int)
    return not np.linalg.matrix_power(present, len(present)).any()
