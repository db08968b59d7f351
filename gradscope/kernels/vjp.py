"""What are the numpy calls of u <- J[k]^T u, step by step, with every array in place?

`Linear.vjp` makes a dozen small arrays a step. A player takes in the coefficients of a block of steps at once and gives
the calls that take the cotangent of s[k+1] to that of s[k]; they stay the same for the next blocks. Jacobians of a type
without a player of its own are asked for `Linear.vjp`: the same numbers, slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, Protocol

import numpy as np

from gradscope.kernels.tape import Call
from gradscope.maps.composition import Composite
from gradscope.maps.grid import Entry, Grid, absent, combine
from gradscope.maps.jacobian import Array, Dense, Grids, Jacobian, Linear, ranges


class VjpPlayer(Protocol):
    """Vector-Jacobian products of blocks of one kind, with the same number of sequences, and of steps at most."""

    def load(self, block: Any) -> bool:
        """Take in the Jacobians of the next steps; False where they are of another kind."""

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        """Return the calls that write J[k]^T u to `out`; u (rows, B), out (columns, B)."""


@dataclass(frozen=True)
class ContiguousGrids(Grids):
    """Grids of a block of steps that share memory, and are written again in place for the next block.

    Attributes:
        stacked: {new part: (K, gates, H, B)}, rows of `through` as one array, zeros included.
    """

    stacked: Mapping[int, Array] = field(default_factory=dict)


@singledispatch
def vjp_player(block: Linear, steps: int, batch: int) -> VjpPlayer:
    """Return the player of vector-Jacobian products for blocks like this one.

    Args:
        block: Jacobians with a time axis, before `at`.
        steps: number of steps of a block, at most.
        batch: number of sequences B.
    """
    return PlainVjp(block)


@vjp_player.register(Composite)
def _(block: Composite, steps: int, batch: int) -> VjpPlayer:
    return _CompositeVjp(block, steps, batch)


@vjp_player.register(Jacobian)
def _(block: Jacobian, steps: int, batch: int) -> VjpPlayer:
    return _GridVjp(block, steps, batch)


class PlainVjp:
    """The player for Jacobians of any type: `Linear.vjp`, step by step."""

    def __init__(self, block: Linear) -> None:
        self._block = block

    def load(self, block: Linear) -> bool:
        self._block = block
        return True

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        return [(self._vjp, (k, u, out))]

    def _vjp(self, k: int, u: Array, out: Array) -> None:
        out[:] = self._block.at(k).vjp(u)


class _CompositeVjp:
    """The player for several maps in a row."""

    def __init__(self, block: Composite, steps: int, batch: int) -> None:
        self._players = [vjp_player(m, steps, batch) for m in block.maps]
        self._between = [np.empty((m.shape[0], batch), block.dtype) for m in block.maps[:-1]]

    def load(self, block: Any) -> bool:
        return all(p.load(m) for p, m in zip(self._players, block.maps, strict=True))

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        calls: list[Call] = []
        for player, to in zip(reversed(self._players), [*reversed(self._between), out], strict=True):
            calls += player.calls(k, u, to)
            u = to
        return calls


class _GridVjp:
    """The player for J = through . U + around: J^T u = U^T (through^T u) + around^T u."""

    def __init__(self, block: Jacobian, steps: int, batch: int) -> None:
        # The calls are bound to arrays. A later block fits them if it has numbers and arrays in the same places, or if
        # it is the first one again, whose arrays have been written in place.
        self._first, self._pattern = block.grids, _pattern(block.grids)
        self._old, self._new, self._reads = ranges(block.old), ranges(block.new), block.reads
        # Coefficients that are contiguous already are read where they are; `load` copies the others.
        self._in_place = block.grids.stacked if isinstance(block.grids, ContiguousGrids) else {}
        self._copies: list[tuple[Array, str, int, int]] = []  # (array, grid, row, column of the entry that it holds)
        # 1. through: the coefficients of all gates of a new part as one array, for one multiplication
        gates, weights = len(block.through[0]), block.U
        width = 0 if weights is None else len(weights) // gates
        rows = [] if weights is None else [p for p, row in enumerate(block.through) if not all(map(absent, row))]
        self._through = {p: self._row(p, (steps, gates, width, batch), block.dtype) for p in rows}
        # 2. around: an array for each diagonal of the skip path, or the number that all of it is
        self._around = {
            (p, o): self._entry(p, o, (steps, size, batch), block.dtype)
            for p in range(len(block.new))
            for o, size in enumerate(block.old)
            if not absent(block.around[p][o])
        }
        # 3. what the calls write in between
        self._UT = weights.T if weights is not None and rows else None
        self._gates = np.empty((2, gates, width, batch), block.dtype)  # through^T u, and one more term of it
        self._spare = np.empty((max([*block.old, *block.new]), batch), block.dtype)

    def _row(self, p: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return the coefficients of all gates in new part p, (K, gates, H, B)."""
        if p in self._in_place:
            return self._in_place[p]
        row = np.zeros(shape, dtype)
        present = [g for g, e in enumerate(self._first.through[p]) if not absent(e)]
        self._copies += [(row[:, g], "through", p, g) for g in present]
        return row

    def _entry(self, p: int, o: int, shape: tuple[int, ...], dtype: Any) -> Entry:
        """Return the coefficients of old part o in new part p, (K, H, B), or the number that they all are."""
        entry = self._first.around[p][o]
        if not isinstance(entry, np.ndarray) or (self._in_place and entry.shape == shape):
            return entry
        array = np.zeros(shape, dtype)
        self._copies.append((array, "around", p, o))
        return array

    def load(self, block: Any) -> bool:
        grids = block.grids
        # other arrays than those that the calls read: with `_in_place` nothing is copied, and they would never be read
        if grids is not self._first and (self._in_place or _pattern(grids) != self._pattern):
            return False
        for array, grid, row, column in self._copies:
            entry = getattr(grids, grid)[row][column]
            array[: len(entry) if np.ndim(entry) else None] = entry  # as many steps as there are
        return True

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        written: set[int] = set()  # old parts whose cotangent has its first term
        calls = self._through_calls(k, u, out, written)
        for (p, o), entry in self._around.items():
            factor = entry[k] if isinstance(entry, np.ndarray) and entry.ndim else entry
            to, part = out[self._old[o]], u[self._new[p]]
            if o not in written:  # the first term is written, not added: `out` holds another step's cotangent
                calls.append((np.multiply, (part, factor, to)))
                written.add(o)
            elif isinstance(factor, np.ndarray) or factor != 1:
                spare = self._spare[: len(part)]
                calls += [(np.multiply, (part, factor, spare)), (np.add, (to, spare, to))]
            else:
                calls.append((np.add, (to, part, to)))
        # an old part that no new part reads would keep the cotangent of another step
        return calls + [(out[s].fill, (0,)) for o, s in enumerate(self._old) if o not in written]

    def _through_calls(self, k: int, u: Array, out: Array, written: set[int]) -> list[Call]:
        """Return the calls of U^T (through^T u), one matrix product for all gates."""
        calls: list[Call] = []
        total, term = self._gates
        for i, (p, rows) in enumerate(self._through.items()):
            calls.append((np.multiply, (rows[k], u[self._new[p]], term if i else total)))
            if i:
                calls.append((np.add, (total, term, total)))
        if self._UT is not None:
            calls.append((self._UT.dot, (total.reshape(-1, u.shape[1]), out[self._old[self._reads]])))
            written.add(self._reads)
        return calls


def _pattern(grids: Grids) -> list[Any]:
    """Return what must stay the same from one block to the next: which entries are arrays, and the numbers."""

    def kinds(grid: Grid) -> list[Any]:
        return [[None if isinstance(e, np.ndarray) else e for e in row] for row in grid]

    return [kinds(grids.through), kinds(grids.around)]


@singledispatch
def vjp_within(block: Linear, u: Array, steps: slice) -> list[tuple[slice, Array]]:
    """Return the same-step vjp, `Linear.vjp_within`, of several steps of a block.

    Args:
        block: Jacobians with a time axis, before `at`.
        u: cotangents of the new states, (K, rows, B).
        steps: the K steps of the block that they belong to.

    Returns:
        (rows of the state, (K, those rows, B)); rows that are not named get nothing from the same step.
    """
    return plain_vjp_within(block, u, steps)


def plain_vjp_within(block: Linear, u: Array, steps: slice) -> list[tuple[slice, Array]]:
    """Return `vjp_within` for Jacobians of any type, step by step."""
    each = [block.at(k).vjp_within(one) for k, one in zip(range(steps.start, steps.stop), u, strict=True)]
    return [(slice(0, u.shape[1]), np.array(each))]


@vjp_within.register(Dense)
def _(block: Dense, u: Array, steps: slice) -> list[tuple[slice, Array]]:
    return []


@vjp_within.register(Jacobian)
def _(block: Jacobian, u: Array, steps: slice) -> list[tuple[slice, Array]]:
    if block.grids.within is None:  # before `take`, which cuts all grids to these steps, and is asked for every piece
        return []
    within, rows = block.grids.take(steps).within or [], ranges(block.new)
    reached = [(s, c) for s, c in zip(rows, zip(*within, strict=True), strict=True) if not all(map(absent, c))]
    return [(s, combine(c, [u[:, r] for r in rows], s.stop - s.start)) for s, c in reached]
