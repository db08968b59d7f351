"""A Jacobian as a product of maps whose rows are of similar size, J = E S M.

A product of Jacobians rounds off rows that are much smaller than others, as where units saturate or rest. M holds the
weights, S the size of the rows that come through one gate only, E what one new part contributes to another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradscope.maps.grid import Array, Grid, Grids, absent
from gradscope.maps.jacobian import Jacobian, Linear
from gradscope.maps.same_step import identity_plus, is_zero, squares_to_zero, without_same_step

__all__ = ["STEEP_NATS", "Factor", "factors", "row_spread"]

STEEP_NATS = 7.0  # nats between rows from which a Jacobian is factored: up to there 10^3 eps are lost
TINY = 1e-300  # stands for zero in a logarithm


class Factor(NamedTuple):
    """One of several maps that make up a Jacobian; `steep`: its rows may be of very different size."""

    map: Linear
    steep: bool = False


def factors(J: Linear) -> tuple[Factor, ...]:
    """Return the maps whose product is J, the first to be applied first; J alone where rows are of similar size."""
    if not isinstance(J, Jacobian) or J.U is None:
        return (Factor(J),)
    grids = _split(J.through, J.around, J.grids.within)
    if grids is None:
        return (Factor(J),)
    through, around, *diagonal = grids
    no_gates = [[0]] * len(J.new)
    size, *same_step = (Jacobian(Grids(no_gates, grid), None, None, 0, J.new, J.new) for grid in diagonal)
    first = Jacobian(Grids(through, around), J.U, None, J.reads, J.old, J.new)
    return Factor(first), Factor(size, steep=True), *(Factor(e) for e in same_step)


def _split(through: Grid, around: Grid, within: Grid | None) -> list[Grid] | None:
    """Return the grids through and around of M, around of S and, where there is one, of E; None for J as it is."""
    parts = range(len(through))
    if within is not None and not squares_to_zero(within):
        return None
    scales, direct, old = _scaled_rows(through, around, within)
    if within is None and all(np.ptp(_log(s)) < STEEP_NATS for s in scales):
        return None
    grids: list[Grid] = [direct, old, [[scales[p] if p == q else 0 for q in parts] for p in parts]]
    return grids if within is None else [*grids, identity_plus(within)]


def row_spread(through: Grid, around: Grid, within: Grid | None) -> Array:
    """Return the range of sizes of the rows that come through one gate only, at each of many steps.

    What one new part contributes to another is subtracted first. Its size counts as that of a row, since such a row is
    rounded relative to it.

    Args:
        through: a grid of (T, H, B) arrays or numbers.
        around: likewise.
        within: likewise, or None.

    Returns:
        (T,), nats, or (1,) where all entries are numbers; inf where a step has zeros that others do not have.
    """
    if within is not None and not squares_to_zero(within):
        return np.zeros(1)
    scales, _, _ = _scaled_rows(through, around, within)
    arrays = _arrays(through, around, within or ())
    if not arrays:
        return np.array([max(float(np.ptp(_log(s))) for s in scales)])
    same_step = [_log(e).max(axis=1) for e in _arrays(within or ()) if not is_zero(e)]
    spreads = [_spread(_log(s), same_step) for s in scales if np.ndim(s) == 3]
    other_zeros = np.any([~e.any(axis=(1, 2)) & e.any() for e in arrays], axis=0)
    return np.where(other_zeros, np.inf, np.max([np.zeros(len(other_zeros)), *spreads], axis=0))


def _arrays(*grids: Grid) -> list[Array]:
    """Return the entries that differ from step to step, (T, H, B)."""
    return [e for grid in grids for row in grid for e in row if np.ndim(e) == 3]


def _spread(logs: Array, same_step: list[Array]) -> Array:
    """Return the range of sizes of a row, (T, H, B) -> (T,); `same_step`, (T, B) each, count among the largest."""
    top = np.max(np.broadcast_arrays(logs.max(axis=1), *same_step), axis=0)
    return np.asarray((top - logs.min(axis=1)).max(axis=1))


def _log(entry: Any) -> Array:
    return np.asarray(np.log(np.abs(np.asarray(entry, float)) + TINY))


def _scaled_rows(through: Grid, around: Grid, within: Grid | None) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the size of the rows that come through one gate only, one elsewhere, and the grids without it."""
    direct, old = without_same_step(through, around, within)
    scales: list[Any] = [1] * len(direct)
    for p in range(len(direct)):
        gates = [g for g, e in enumerate(direct[p]) if not absent(e)]
        if len(gates) == 1 and all(absent(e) for e in old[p]):
            scales[p], direct[p][gates[0]] = direct[p][gates[0]], 1
    return scales, direct, old
