"""Pulling cotangents back through many steps: the calls of numpy for each, with every array in place.

`Linear.vjp` makes a dozen small arrays a step. A player takes in the coefficients of a few steps at once, in arrays
of its own, and gives the calls that take a cotangent from s_(k+1) to s_k; they are the same for the next few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradscope.kernels.tape import Call
from gradscope.maps.blocks import absent
from gradscope.maps.linear import Array, Entry, Grid, Linear, Partials, ranges

__all__ = ["CompositeVjp", "GridVjp"]


class CompositeVjp:
    """For several maps in a row."""

    def __init__(self, maps: Sequence[Linear], steps: int, batch: int, dtype: Any) -> None:
        self._players = [m.vjp_player(steps, batch) for m in maps]
        self._between = [np.empty((m.shape[0], batch), dtype) for m in maps[:-1]]

    def load(self, block: Any) -> bool:
        return all(p.load(m) for p, m in zip(self._players, block.maps, strict=True))

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        calls: list[Call] = []
        for player, to in zip(reversed(self._players), [*reversed(self._between), out], strict=True):
            calls += player.calls(k, u, to)
            u = to
        return calls


class GridVjp:
    """For J = through . U + around: a few products with diagonals, one with U^T."""

    def __init__(
        self,
        partials: Partials,
        U: Array | None,
        reads: int,
        old: Sequence[int],
        new: Sequence[int],
        steps: int,
        B: int,
    ) -> None:
        self._pattern = _pattern(partials)
        self._old, self._new, self._reads = ranges(old), ranges(new), reads
        arrays = [*([] if U is None else [U]), *_arrays(partials)]
        dtype = np.result_type(*arrays) if arrays else np.dtype(float)
        gates = len(partials.through[0]) if partials.through else 0
        width = 0 if U is None else len(U) // gates
        rows = [] if U is None else [p for p, row in enumerate(partials.through) if not all(map(absent, row))]
        self._given = partials  # with `stacked`, blocks come in the same arrays, which need no copies
        self._through: dict[int, Any] = {p: partials.stacked.get(p) for p in rows}
        self._around: dict[tuple[int, int], Any] = {
            (p, o): row[o] if partials.stacked and row[o].shape == (steps, size, B) else None
            for p, row in enumerate(partials.around)
            for o, size in enumerate(old)
            if isinstance(row[o], np.ndarray)
        }
        self._copied_rows = {
            p: np.zeros((steps, gates, width, B), dtype) for p, r in self._through.items() if r is None
        }
        self._copied = {key: np.zeros((steps, old[key[1]], B), dtype) for key, e in self._around.items() if e is None}
        self._through |= self._copied_rows
        self._around |= self._copied
        self._numbers = {(p, o): e for p, row in enumerate(partials.around) for o, e in enumerate(row) if not absent(e)}
        self._UT = None if U is None or not rows else U.T
        self._gates = np.empty((2, gates, width, B), dtype)
        self._spare = np.empty((max([*old, *new]), B), dtype)

    def load(self, block: Any) -> bool:
        partials = block.partials
        if partials is not self._given and (self._given.stacked or _pattern(partials) != self._pattern):
            return False
        for p, rows in self._copied_rows.items():
            for g, entry in enumerate(partials.through[p]):
                if not absent(entry):
                    _fill(rows[:, g], entry)
        for (p, o), rows in self._copied.items():
            _fill(rows, partials.around[p][o])
        return True

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        calls: list[Call] = []
        begun: set[int] = set()
        gates, more = self._gates
        for i, (p, rows) in enumerate(self._through.items()):
            calls.append((np.multiply, (rows[k], u[self._new[p]], more if i else gates)))
            if i:
                calls.append((np.add, (gates, more, gates)))
        if self._UT is not None:
            calls.append((self._UT.dot, (gates.reshape(-1, u.shape[1]), out[self._old[self._reads]])))
            begun.add(self._reads)
        for (p, o), entry in self._numbers.items():
            factor = self._around[p, o][k] if (p, o) in self._around else entry
            to, part = out[self._old[o]], u[self._new[p]]
            if o not in begun:
                calls.append((np.multiply, (part, factor, to)))
                begun.add(o)
            elif isinstance(factor, np.ndarray) or factor != 1:
                spare = self._spare[: len(part)]
                calls += [(np.multiply, (part, factor, spare)), (np.add, (to, spare, to))]
            else:
                calls.append((np.add, (to, part, to)))
        return calls + [(out[s].fill, (0,)) for o, s in enumerate(self._old) if o not in begun]


def _fill(rows: Array, entry: Entry) -> None:
    """Write the coefficients of as many steps as there are."""
    rows[: len(entry) if isinstance(entry, np.ndarray) and entry.ndim else None] = entry


def _arrays(partials: Partials) -> list[Array]:
    return [e for grid in (partials.through, partials.around) for row in grid for e in row if isinstance(e, np.ndarray)]


def _pattern(partials: Partials) -> list[Any]:
    """Return what must stay the same from one block to the next: which entries are arrays, and the numbers."""

    def kinds(grid: Grid) -> list[Any]:
        return [[None if isinstance(e, np.ndarray) else e for e in row] for row in grid]

    return [kinds(partials.through), kinds(partials.around)]
