"""Many steps of a cell at a time: one product for all inputs, and a list of calls with every array in place.

What has to wait for the step before is one product with the recurrent weights and the cell's element-wise formulas,
recorded (`tape`). The calls of a few steps are made once, in arrays that fit into the cache, and repeated for the
next few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.kernels.tape import Call, Player, record, recorded
from gradscope.maps.jacobian import Array
from gradscope.networks.formulas import Parts, Preactivations
from gradscope.networks.map import Map

CACHE = 1 << 19  # bytes that the steps of one list may touch: half of a second-level cache
LARGE = 1 << 18  # bytes of preactivations of one step from which making its calls anew is cheaper than copying them
LONGEST = 32  # steps: making more calls costs as much as it saves


def joint_rows(m: Map) -> list[slice]:
    """Return the rows of the gates that need the sum of both preactivations alone, in runs."""
    return list(_runs(m, split=False))


def _runs(m: Map, *, split: bool) -> Iterator[slice]:
    start = 0
    flags = [gate.split for gate in m.gates.values()]
    for stop in range(1, len(flags) + 1):
        if stop == len(flags) or flags[stop] != flags[start]:
            if flags[start] == split:
                yield slice(start * m.width, stop * m.width)
            start = stop


def split_hull(m: Map) -> slice:
    """Return the rows from the first split gate to the last one."""
    runs = list(_runs(m, split=True))
    return slice(runs[0].start, runs[-1].stop) if runs else slice(0, 0)


def recurrent(m: Map, s: Array, out: Array) -> None:
    """Write U h of many steps, (K, gates * H, B), from their states (K, n, B); with b_hh for split gates."""
    if m.U is None:
        out[:] = 0
        return
    start = sum(m.old_sizes[: m.reads_part])
    _products(m.U, s[:, start : start + m.U.shape[1]], out)
    for rows in () if m.b_hh is None else _runs(m, split=True):
        out[:, rows] += np.asarray(m.b_hh)[rows, None]


def entering(m: Map, x: Array, out: Array) -> None:
    """Write W x + b_ih of many steps, (K, gates * H, B), from inputs (K, m, B); with b_hh for joint gates."""
    if m.W is None:
        out[:] = 0
    else:
        _products(m.W, x, out)
    if m.b_ih is not None:
        out += m.b_ih[:, None]
    for rows in () if m.b_hh is None else joint_rows(m):
        out[:, rows] += np.asarray(m.b_hh)[rows, None]


def _products(weights: Array, x: Array, out: Array) -> None:
    """Write weights @ x[k] for each k."""
    if x.shape[2] == 1:  # one product for all of them
        np.dot(x[:, :, 0], weights.T, out=out[:, :, 0])
    else:
        np.matmul(weights, x, out=out)


class Stepper:
    """Runs the maps of a cell, one after the other, over B sequences."""

    def __init__(self, maps: Sequence[Map], batch: int, steps: int, dtype: Any) -> None:
        self._sizes = [sum(maps[0].old_sizes), *(sum(m.new_sizes) for m in maps)]
        # 1. As many steps to a list as stay in the cache: its arrays are read again at every repetition.
        each = (sum(self._sizes) + 2 * sum(m.rows for m in maps)) * batch * np.dtype(dtype).itemsize
        self.steps = max(1, min(steps, LONGEST, CACHE // max(each, 1)))
        self._maps = [_MapSteps(m, self.steps, batch, dtype) for m in maps]
        # 2. arrays of a list: states, with the one before the first step, and what passes from map to map
        self._rows = np.empty((self.steps + 1, self._sizes[-1], batch), dtype)
        self._between = [np.empty((n, batch), dtype) for n in self._sizes[1:-1]]

    def run(self, x: Array, states: Array, saved: Sequence[Array] = ()) -> None:
        """Fill states[1:], (T + 1, n, B), from states[0] and inputs x (T, m, B).

        Args:
            x: inputs.
            states: states, the first of them given.
            saved: arrays to be filled with preactivations, for a cell of one map; () for none.
        """
        if self.steps > 1 or self._maps[0].a.nbytes < LARGE:
            self._in_lists(x, states, saved)
            return
        # One large step: its calls are bound anew to where its results belong, which is cheaper than to copy these.
        spare = [m.a[0] for m in self._maps]
        for t in range(len(x)):
            a = [saved[0][t]] if saved else spare
            self._read(x[t : t + 1])
            for call, arguments in self._calls(0, states[t], states[t + 1], a):
                call(*arguments)
            for out in saved[1:]:
                out[t] = self._maps[0].v[0, self._maps[0].split]

    def _in_lists(self, x: Array, states: Array, saved: Sequence[Array]) -> None:
        rows, lists, first = self._rows, self._lists, self._maps[0]
        for start in range(0, len(x), self.steps):
            count = min(self.steps, len(x) - start)
            to = slice(start, start + count)
            # 1. what does not wait for the step before: the last state, and W x of all steps
            rows[0] = states[start]
            self._read(x[to])
            # 2. step by step: U h, and the formulas
            for calls in lists[:count]:
                for call, arguments in calls:
                    call(*arguments)
            # 3. out of the arrays of the list, before the next steps overwrite them
            states[start + 1 : start + count + 1] = rows[1 : count + 1]
            for out, preactivations in zip(saved, (first.a, first.v[:, first.split]), strict=False):
                out[to] = preactivations[:count]

    @cached_property
    def _lists(self) -> list[list[Call]]:
        pre = [[m.a[k] for m in self._maps] for k in range(self.steps)]
        return [self._calls(k, self._rows[k], self._rows[k + 1], a) for k, a in enumerate(pre)]

    def _read(self, x: Array) -> None:
        for m in self._maps:
            entering(m.map, x, m.v[: len(x)])

    def _calls(self, k: int, s: Array, last: Array, a: Sequence[Array]) -> list[Call]:
        calls: list[Call] = []
        for m, pre, new in zip(self._maps, a, [*self._between, last], strict=True):
            calls += m.calls(k, s, new, pre)
            s = new
        return calls


class _MapSteps:
    """One map: its preactivations at every step of a list."""

    def __init__(self, m: Map, steps: int, batch: int, dtype: Any) -> None:
        self.map = m
        self.v = np.zeros((steps, m.rows, batch), dtype)
        self.split, self._joint = split_hull(m), joint_rows(m)
        # preactivations U h of every step of a list, and W x; those of joint gates are added up in `a`
        alone = m.U is None and self.split.stop == 0  # without recurrent weights, the sum of both is v
        self.a = self.v if alone else np.empty_like(self.v)
        self._grid = (len(m.gates), m.width, batch)
        runs = () if m.b_hh is None else _runs(m, split=True)
        self._biases = [(rows, np.asarray(m.b_hh)[rows, None]) for rows in runs if np.asarray(m.b_hh)[rows].any()]
        self._ends = np.cumsum((0, *m.old_sizes)).tolist()
        self._new_ends = np.cumsum((0, *m.new_sizes)).tolist()
        # the formulas, recorded once; tried with states that are not zero, in which factors of a state would not show
        key, tapes = ("advance", batch), recorded(m)
        if key not in tapes:
            old = [np.full((n, batch), 0.25, dtype) for n in m.old_sizes]
            a, v = np.full(self._grid, 0.5, dtype), np.zeros(self._grid, dtype)
            tapes[key] = record(self._advance, [a, v, *old])
        self._player = None if tapes[key] is None else Player(tapes[key])

    def _advance(self, a: Array, v: Array, *old: Array) -> Sequence[Array]:
        """Return the new parts: `a` holds the sum of both preactivations in the rows of joint gates."""
        m = self.map
        new = m.advance(Preactivations(m.places, a, a, v), Parts(zip(m.old_names, old, strict=True)))
        return [new[part] for part in m.parts]

    def _plainly(self, a: Array, v: Array, old: Sequence[Array], new: Sequence[Array]) -> None:
        for out, value in zip(new, self._advance(a, v, *old), strict=True):
            out[:] = value

    def calls(self, k: int, s: Array, new: Array, a: Array) -> list[Call]:
        """Return the calls of step k of a list.

        Args:
            k: number of the step.
            s: old state, (rows, B).
            new: where the new one belongs.
            a: where recurrent preactivations belong, (gates * H, B).
        """
        m, v = self.map, self.v[k]
        old = [s[i:j] for i, j in zip(self._ends[:-1], self._ends[1:], strict=True)]
        out = [new[i:j] for i, j in zip(self._new_ends[:-1], self._new_ends[1:], strict=True)]
        calls: list[Call] = []
        if m.U is not None:
            calls.append((m.U.dot, (old[m.reads_part], a)))
            calls += [(np.add, (a[rows], bias, a[rows])) for rows, bias in self._biases]
            calls += [(np.add, (a[rows], v[rows], a[rows])) for rows in self._joint]
        elif not np.may_share_memory(a, v):
            calls.append((np.copyto, (a, v)))
            calls += [(a[rows].fill, (0,)) for rows in _runs(m, split=True)]
        arguments = [a.reshape(self._grid), v.reshape(self._grid)]
        if self._player is None:
            return [*calls, (self._plainly, (*arguments, old, out))]
        return calls + self._player.calls([*arguments, *old], out)
