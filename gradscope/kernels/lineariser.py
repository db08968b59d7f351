"""The derivatives of many steps of a map, in arrays that are used again.

`Map.differentiate` makes new arrays, which whoever asks may keep. A sweep along thousands of steps looks at each block
once: here the element-wise derivatives are recorded (`tape`), and written where the sweep reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from gradscope.kernels.stepper import LARGE, entering, joint_rows, recurrent, split_hull
from gradscope.kernels.tape import Call, Player, Tape, record, recorded
from gradscope.kernels.vjp import ContiguousGrids
from gradscope.maps.jacobian import Array, Grids, Jacobian, Linear
from gradscope.networks.formulas import Parts, Preactivations
from gradscope.networks.map import Map

Grid = list[list[Any]]


def lineariser(m: Map, steps: int, batch: int, dtype: Any) -> Lineariser | None:
    """Return what linearises blocks of up to so many steps; None where the map's derivatives cannot be recorded."""
    key = ("partials", steps, batch)
    tapes = recorded(m)
    if key not in tapes:
        tapes[key] = _record(m, steps, batch, dtype)
    return None if tapes[key] is None else Lineariser(m, steps, batch, dtype, *tapes[key])


def _record(m: Map, steps: int, batch: int, dtype: Any) -> tuple[Tape, list[Grid | None]] | None:
    """Return the tape of all derivatives, each once, and the grids with numbers where these belong."""
    grids: list[Grid | None] = []

    def flat(a: Array, v: Array, *s: Array) -> Sequence[Any]:
        nonlocal grids
        partials = m.partials(Preactivations(m.places, a, a, v), Parts(zip(m.old_names, s, strict=True)))
        grids, arrays = _flattened(partials.grids(m.parts, m.old_names, m.gates))
        return arrays

    # values to try the formulas at; in states of zero, factors of a state would not show
    gates = np.zeros((len(m.gates), steps, m.width, batch), dtype)
    old = [np.full((steps, n, batch), 0.25, dtype) for n in m.old_sizes]
    tape = record(flat, [gates, gates.copy(), *old])
    return None if tape is None else (tape, grids)


class Lineariser:
    """Linearises blocks of a map, each in the place of the one before.

    Args:
        m: the map.
        steps, batch: size of a block, at most.
        dtype: of the weights.
        tape, grids: what `_record` returns.
    """

    def __init__(self, m: Map, steps: int, batch: int, dtype: Any, tape: Tape, grids: list[Grid | None]) -> None:
        self._map, self._player = m, Player(tape)
        self._block_shape = (steps, len(m.gates), m.width, batch)
        # 1. Where the formulas read. The calls run on all rows of a block, of which a short one fills some: the others
        #    hold older steps, or zeros. Memory that was never written might hold numbers that overflow.
        self._a, self._v = np.zeros((2, steps, m.rows, batch), dtype)
        self._s = np.zeros((steps, sum(m.old_sizes), batch), dtype)
        self._ends = np.cumsum((0, *m.old_sizes)).tolist()
        # 2. where they write: the arrays of one Jacobian, which every block overwrites
        stacked, self._results = _places(grids[0] or [], tape.kinds(), self._block_shape, dtype)

        def back(grid: Grid | None) -> Any:
            return grid and [[self._results[e.number] if isinstance(e, _Array) else e for e in row] for row in grid]

        through, around, entry, within = (back(g) for g in grids)
        contiguous = ContiguousGrids(through, around, entry, within, stacked)
        names = tuple(m.gates)
        self._block = Jacobian(contiguous, m.U, m.W, m.reads_part, m.old_sizes, m.new_sizes, names)
        # 3. the calls from the one to the other, bound to these arrays once
        self._split = split_hull(m)
        self._calls = self._on(self._a, self._v, self._s)

    def _on(self, a: Array, v: Array, s: Array) -> list[Call]:
        by_gate = [np.moveaxis(pre.reshape(self._block_shape), 1, 0) for pre in (a, v)]
        old = [s[:, i:j] for i, j in zip(self._ends[:-1], self._ends[1:], strict=True)]
        return self._player.calls([*by_gate, *old], self._results)

    def __call__(self, x: Array, s: Array, saved: Sequence[Array]) -> Linear:
        """Return the Jacobians of a block, valid until the next one.

        Args:
            x: inputs (K, m, B).
            s: states before each step, (K, n, B).
            saved: preactivations as `Stepper.run` saves them, K of each; () where they were not saved.
        """
        calls, count = self._calls, len(s)
        # one large step: to bind the calls to the saved preactivations is cheaper than to copy these
        if len(self._s) == 1 and saved and self._a.nbytes >= LARGE:
            if saved[1:]:
                self._v[:, self._split] = saved[1]
            calls = self._on(saved[0], self._v, s)
        else:
            self._s[:count] = s
            self._fill(x, s, saved)
        for call, arguments in calls:
            call(*arguments)
        return self._block

    def _fill(self, x: Array, s: Array, saved: Sequence[Array]) -> None:
        a, v = self._a[: len(s)], self._v[: len(s)]
        # a: the sum of both preactivations for joint gates, U h + b_hh alone for split ones, which read W x + b_ih in v
        if saved:
            a[:] = saved[0]
            if saved[1:]:
                v[:, self._split] = saved[1]
            return
        recurrent(self._map, s, a)
        entering(self._map, x, v)
        for rows in joint_rows(self._map):
            a[:, rows] += v[:, rows]


class _Array:
    """Stands for an array in a grid."""

    def __init__(self, number: int) -> None:
        self.number = number


def _flattened(grids: Grids) -> tuple[list[Grid | None], list[Any]]:
    """Return the grids with numbers for their arrays, and the arrays, each of them once."""
    arrays: list[Any] = []
    numbers: dict[int, int] = {}  # by id: an array that stands in several places is computed once

    def one(entry: Any) -> Any:
        if isinstance(entry, int | float):
            return entry
        if id(entry) not in numbers:
            numbers[id(entry)] = len(arrays)
            arrays.append(entry)
        return _Array(numbers[id(entry)])

    four = (grids.through, grids.around, grids.entry, grids.within)
    return [None if g is None else [[one(e) for e in row] for row in g] for g in four], arrays


def _places(
    through: Grid, kinds: Sequence[Any], block: tuple[int, ...], dtype: Any
) -> tuple[dict[int, Array], list[Array]]:
    """Return where the arrays go: those of a row of `through` beside one another, by gate, and the rest anywhere."""
    steps, _, width, batch = block
    stacked: dict[int, Array] = {}
    placed: dict[int, Array] = {}
    for p, row in enumerate(through):
        numbers = {g: e.number for g, e in enumerate(row) if isinstance(e, _Array)}
        if not numbers or not _separate(list(numbers.values()), kinds, ((steps, width, batch), dtype), placed):
            continue
        stacked[p] = np.zeros(block, dtype)
        for g, e in enumerate(row):
            if g in numbers:
                placed[numbers[g]] = stacked[p][:, g]
            else:  # a number: written once, and never again
                stacked[p][:, g] = e
    return stacked, [placed[i] if i in placed else np.zeros(*kind) for i, kind in enumerate(kinds)]


def _separate(numbers: Sequence[int], kinds: Sequence[Any], kind: Any, placed: Collection[int]) -> bool:
    """Return whether arrays are all of one kind, different, and not placed yet: an array cannot be in two places."""
    return len(set(numbers)) == len(numbers) and all(kinds[n] == kind and n not in placed for n in numbers)
