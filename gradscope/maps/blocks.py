"""The grid of blocks that one step's Jacobian is made of: its determinant, and what it comes apart into.

log|det J| has a closed form where blocks can be peeled that stand alone in a row or column.

J is a grid of blocks, each a sum of a diagonal and of diagonals times blocks of the recurrent weights. What one new
part owes to another in the same step is undone first, which changes no determinant: of an LSTM,
[[D(t o') U_o, 0], [C, D(f)]] is left, and log|det J| = sum log f + sum log|t o'| + log|det U_o|. Only logarithms
are added, so nothing underflows.

The same parts make a Jacobian whose product would round off what they keep, J = E S M: M the weights, S the size of
rows that come through one gate only, tiny where a unit saturates or rests, E what one new part gives another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEEP", "absent", "block_log_det", "log_abs", "row_spread", "split", "unit", "without"]

Array = NDArray[Any]
Grid = Sequence[Sequence[Any]]  # [row][column], arrays (H, B) or numbers, as in jacobian.Partials
STEEP = 7.0  # nats between rows from which a Jacobian is taken apart: up to there 10^3 eps are lost
TINY = 1e-300  # stands for zero in a logarithm
ROUNDING = 8  # in eps: a difference of two products that is smaller than this is none


def absent(entry: Any) -> bool:
    """Tell whether a grid entry means "no path"."""
    return isinstance(entry, int) and entry == 0


def log_abs(matrix: Array) -> Array:
    """Return log|det| of square matrices (..., n, n), in float64; -inf where they are singular."""
    with np.errstate(divide="ignore"):  # denormal pivots
        return np.asarray(np.linalg.slogdet(np.asarray(matrix, float))[1])


def block_log_det(
    around: Grid, through: Grid, within: Grid | None, reads: int, units: int, weights: Callable[[int], float]
) -> Array | None:
    """Return log|det J|, (..., B) or a number, or None where blocks do not come apart.

    Args:
        around: a grid of `Partials`, every part `units` wide.
        through: likewise, every gate `units` wide; rows are empty where there are no recurrent weights.
        within: likewise, or None.
        reads: the old part that the recurrent weights multiply.
        units: H.
        weights: gate -> log|det| of its recurrent weights, (H, H).
    """
    if within is not None:
        if not _ends(within):
            return None
        around, through = _undone(around, within), _undone(through, within)
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


def _is_zero(entry: Any) -> bool:
    return not np.any(entry)


def _ends(within: Grid) -> bool:
    """Tell whether no part owes anything to itself, by whatever way: then I - within has determinant one."""
    owes = np.array([[not _is_zero(e) for e in row] for row in within], int)
    return not np.linalg.matrix_power(owes, len(owes)).any()


def _undone(grid: Grid, within: Grid) -> Grid:
    """Return grid - within @ grid, with what is only rounding set to zero."""
    rows = []
    for row, owes in zip(grid, within, strict=True):
        made = list(row)
        for weight, other in zip(owes, grid, strict=True):
            if not _is_zero(weight):
                made = [_less(a, weight * b) for a, b in zip(made, other, strict=True)]
        rows.append(made)
    return rows


def _less(a: Any, b: Any) -> Any:
    left = np.asarray(a) - np.asarray(b)
    eps = np.finfo(left.dtype).eps if left.dtype.kind == "f" else 0.0
    return np.where(np.abs(left) <= ROUNDING * eps * np.abs(b), 0, left)


def _terms(around: Grid, through: Grid, reads: int, p: int, q: int) -> list[tuple[Any, int | None]]:
    """Return the (diagonal, gate) whose sum the block is; the gate is None where no weights follow."""
    found: list[tuple[Any, int | None]] = [] if _is_zero(around[p][q]) else [(around[p][q], None)]
    if q == reads:
        found += [(e, g) for g, e in enumerate(through[p]) if not _is_zero(e)]
    return found


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


def split(through: Grid, around: Grid, within: Grid | None) -> list[Grid] | None:
    """Return grids (through, around) of M, and around of S and, where there is one, of E; None for J as it is."""
    parts = range(len(through))
    if within is not None and _twice(within):
        return None
    scales, direct, old = _scaled_rows(through, around, within)
    if within is None and all(np.ptp(_log(s)) < STEEP for s in scales):
        return None
    found: list[Grid] = [direct, old, [[scales[p] if p == q else 0 for q in parts] for p in parts]]
    return found if within is None else [*found, unit(within)]


def row_spread(through: Grid, around: Grid, within: Grid | None) -> Array:
    """Return by how many nats the rows differ that come through one gate only, of each of many steps, (T,).

    What one new part owes to another is undone first, and its size counts as that of a row: it is what such a row is
    rounded with. inf: a step has zeros that others do not have. Entries are (T, H, B) or numbers, and (1,) is
    returned where all are numbers.
    """
    if within is not None and _twice(within):
        return np.zeros(1)
    scales, _, _ = _scaled_rows(through, around, within)
    entries = [e for grid in (through, around, within or ()) for row in grid for e in row]
    arrays = [e for e in entries if np.ndim(e) == 3]
    if not arrays:
        return np.array([max(float(np.ptp(_log(s))) for s in scales)])
    odd = np.any([~e.any(axis=(1, 2)) & e.any() for e in arrays], axis=0)
    tops = [_log(e).max(axis=1) for row in within or () for e in row if np.ndim(e) == 3 and not _is_zero(e)]
    spreads = []
    for logs in (_log(s) for s in scales if np.ndim(s) == 3):
        top = np.max(np.broadcast_arrays(logs.max(axis=1), *tops), axis=0)
        spreads.append((top - logs.min(axis=1)).max(axis=1))
    return np.where(odd, np.inf, np.max([np.zeros(len(odd)), *spreads], axis=0))


def without(through: Grid, around: Grid, within: Grid | None) -> list[list[list[Any]]]:
    """Return grids (through, around) without what one new part gives another, which is `unit(within)` times these."""
    grids = (grid if within is None else _undone(grid, within) for grid in (through, around))
    return [[[0 if _is_zero(e) else e for e in row] for row in grid] for grid in grids]


def unit(within: Grid) -> Grid:
    """Return the grid I + within."""
    parts = range(len(within))
    return [[1 if p == q else within[p][q] for q in parts] for p in parts]


def _log(entry: Any) -> Array:
    return np.asarray(np.log(np.abs(np.asarray(entry, float)) + TINY))


def _twice(within: Grid) -> bool:
    """Tell whether a part owes something to another that itself owes something."""
    parts = range(len(within))
    return any(not _is_zero(within[p][q]) and not _is_zero(within[q][r]) for p in parts for q in parts for r in parts)


def _scaled_rows(through: Grid, around: Grid, within: Grid | None) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the size of the rows that come through one gate only, one elsewhere, and the grids without it."""
    direct, old = without(through, around, within)
    scales: list[Any] = [1] * len(direct)
    for p in range(len(direct)):
        gates = [g for g, e in enumerate(direct[p]) if not absent(e)]
        if len(gates) == 1 and all(absent(e) for e in old[p]):
            scales[p], direct[p][gates[0]] = direct[p][gates[0]], 1
    return scales, direct, old
