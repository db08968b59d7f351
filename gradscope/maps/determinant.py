"""The determinant of one step's Jacobian, which has a closed form where blocks stand alone in a row or column.

J is a grid of blocks, each a sum of a diagonal and of diagonals times blocks of the recurrent weights. What one new
part contributes to another in the same step is subtracted first, which changes no determinant: of an LSTM,
[[D(t o') U_o, 0], [C, D(f)]] is left, and log|det J| = sum log f + sum log|t o'| + log|det U_o|. Only logarithms
are added, so nothing underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradscope.maps.grid import Array, Grid
from gradscope.maps.same_step import is_nilpotent, is_zero, subtract_within

__all__ = ["block_log_det", "log_abs"]


def log_abs(matrix: Array) -> Array:
    """Return log|det| of square matrices (..., n, n), in float64; -inf where they are singular."""
    with np.errstate(divide="ignore"):  # denormal pivots
        return np.asarray(np.linalg.slogdet(np.asarray(matrix, float))[1])


def block_log_det(
    around: Grid, through: Grid, within: Grid | None, reads: int, units: int, weights: Callable[[int], float]
) -> Array | None:
    """Return log|det J|, (..., B) or a number, or None where no block stands alone.

    Args:
        around: a grid of `Grids`, every part `units` wide.
        through: likewise, every gate `units` wide; rows are empty where there are no recurrent weights.
        within: likewise, or None.
        reads: the old part that the recurrent weights multiply.
        units: H.
        weights: gate -> log|det| of its recurrent weights, (H, H).
    """
    if within is not None:
        if not is_nilpotent(within):
            return None
        around, through = subtract_within(around, within), subtract_within(through, within)
    rows, columns = set(range(len(around))), set(range(len(around)))
    total: Any = 0.0
    while rows:
        blocks = {(p, q): b for p in rows for q in columns if (b := _terms(around, through, reads, p, q))}
        alone = _alone(blocks, rows, columns)
        if alone is None:
            return _per_unit(around, blocks, sorted(rows), sorted(columns), units, total)
        p, q = alone
        if (p, q) not in blocks:  # a row or column of zeros
            return np.asarray(total - np.inf)
        if len(blocks[p, q]) > 1:
            return None
        entry, gate = blocks[p, q][0]
        total = total + _log_sum(entry, units) + (0.0 if gate is None else weights(gate))
        rows, columns = rows - {p}, columns - {q}
    return np.asarray(total)


def _terms(around: Grid, through: Grid, reads: int, p: int, q: int) -> list[tuple[Any, int | None]]:
    """Return the (diagonal, gate) whose sum the block is; the gate is None where no weights follow."""
    terms: list[tuple[Any, int | None]] = [] if is_zero(around[p][q]) else [(around[p][q], None)]
    if q == reads:
        terms += [(e, g) for g, e in enumerate(through[p]) if not is_zero(e)]
    return terms


def _alone(blocks: dict[tuple[int, int], Any], rows: set[int], columns: set[int]) -> tuple[int, int] | None:
    """Return a block that has nothing beside it in its row, or in its column."""
    lines = [[(p, q) for q in columns] for p in rows] + [[(p, q) for p in rows] for q in columns]
    for line in lines:
        there = [at for at in line if at in blocks]
        if len(there) <= 1:
            return (there or line)[0]
    return None


def _log_sum(entry: Any, units: int) -> Any:
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(np.asarray(entry, float)))
    return logs.sum(axis=-2) if logs.ndim >= 2 and logs.shape[-2] == units else units * np.squeeze(logs)


def _per_unit(
    around: Grid, blocks: dict[tuple[int, int], Any], rows: list[int], columns: list[int], units: int, total: Any
) -> Array | None:
    """Add the determinants of what is left, where it is diagonal: a small matrix for every unit."""
    if any(gate is not None for terms in blocks.values() for _, gate in terms):
        return None
    entries = [np.asarray(around[p][q], float) for p in rows for q in columns]
    shape = np.broadcast_shapes((units, 1), *(e.shape for e in entries))
    small = np.stack([np.broadcast_to(e, shape) for e in entries], axis=-1)
    return np.asarray(total + log_abs(small.reshape(*shape, len(rows), len(rows))).sum(axis=-2))
