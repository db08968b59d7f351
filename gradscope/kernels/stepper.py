"""Many steps of a cell at a time: one product for all inputs, and a list of calls with every array in place.

What has to wait for the step before is one product with the recurrent weights and the cell's element-wise formulas,
recorded (`_tape`). The calls of a few steps are made once, in arrays that fit into the cache, and repeated for the
next few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.kernels.tape import Call, Player, record
from gradscope.maps.jacobian import Array
from gradscope.networks.map import Map

__all__ = ["LARGE", "Stepper"]

CACHE = 1 << 19  # bytes that the steps of one list may touch: half of a second-level cache
LARGE = 1 << 18  # bytes of pre-activations of one step from which making its calls anew is cheaper than copying them
LONGEST = 32  # steps: making more calls costs as much as it saves


class Stepper:
    """Runs the maps of a cell, one after the other, over B sequences."""

    def __init__(self, maps: Sequence[Map], batch: int, steps: int, dtype: Any) -> None:
        self._sizes = [sum(maps[0].old_sizes), *(sum(m.new_sizes) for m in maps)]
        each = (sum(self._sizes) + 2 * sum(m.rows for m in maps)) * batch * np.dtype(dtype).itemsize
        self.steps = max(1, min(steps, LONGEST, CACHE // max(each, 1)))
        self._maps = [_MapSteps(m, self.steps, batch, dtype) for m in maps]
        self._rows = np.empty((self.steps + 1, self._sizes[-1], batch), dtype)
        self._between = [np.empty((n, batch), dtype) for n in self._sizes[1:-1]]

    def run(self, x: Array, states: Array, kept: Sequence[Array] = ()) -> None:
        """Fill states[1:], (T + 1, n, B), from states[0] and inputs x (T, m, B).

        Args:
            x: inputs.
            states: states, the first of them given.
            kept: where to keep what `BaseCell.keeps` says, for a cell of one map.
        """
        if self.steps > 1 or self._maps[0].a.nbytes < LARGE:
            self._in_lists(x, states, kept)
            return
        own = [m.a[0] for m in self._maps]
        for t in range(len(x)):  # in the place where the results belong
            a = [kept[0][t]] if kept else own
            self._read(x[t : t + 1])
            for call, arguments in self._calls(0, states[t], states[t + 1], a):
                call(*arguments)
            for to in kept[1:]:
                to[t] = self._maps[0].v[0, self._maps[0].map.separate]

    def _in_lists(self, x: Array, states: Array, kept: Sequence[Array]) -> None:
        rows, lists, first = self._rows, self._lists, self._maps[0]
        for start in range(0, len(x), self.steps):
            count = min(self.steps, len(x) - start)
            to = slice(start, start + count)
            rows[0] = states[start]
            self._read(x[to])
            for calls in lists[:count]:
                for call, arguments in calls:
                    call(*arguments)
            states[start + 1 : start + count + 1] = rows[1 : count + 1]
            for own, made in zip(kept, (first.a, first.v[:, first.map.separate]), strict=False):
                own[to] = made[:count]

    @cached_property
    def _lists(self) -> list[list[Call]]:
        pre = [[m.a[k] for m in self._maps] for k in range(self.steps)]
        return [self._calls(k, self._rows[k], self._rows[k + 1], a) for k, a in enumerate(pre)]

    def _read(self, x: Array) -> None:
        for m in self._maps:
            m.map.entering(x, m.v[: len(x)])

    def _calls(self, k: int, s: Array, last: Array, a: Sequence[Array]) -> list[Call]:
        calls: list[Call] = []
        for m, pre, new in zip(self._maps, a, [*self._between, last], strict=True):
            calls += m.calls(k, s, new, pre)
            s = new
        return calls


class _MapSteps:
    """One map: its pre-activations at every step of a list."""

    def __init__(self, m: Map, steps: int, batch: int, dtype: Any) -> None:
        self.map = m
        self.v = np.zeros((steps, m.rows, batch), dtype)
        self.a = self.v if m.U is None else np.empty_like(self.v)  # without weights, the sum of both is v
        self._grid = (len(m.gates), m.width, batch)
        self._bias = None if m.b_hh is None or not m.b_hh[m.separate].any() else m.b_hh[m.separate, None]
        self._ends = np.cumsum((0, *m.old_sizes)).tolist()
        self._new_ends = np.cumsum((0, *m.new_sizes)).tolist()
        tape = m.recorded.get(("advance", batch))
        if tape is None:
            old = [np.full((n, batch), 0.25, dtype) for n in m.old_sizes]
            a, v = np.full(self._grid, 0.5, dtype), np.zeros(self._grid, dtype)
            zeros = [g for g, together in enumerate(m.joint) if together]
            tape = m.recorded["advance", batch] = record(self._advance, [a, v, *old], {1: zeros}) or ()
        self._player = Player(tape) if tape else None

    def _advance(self, a: Array, v: Array, *old: Array) -> Sequence[Array]:
        return self.map.advance(a, v, old)

    def _plainly(self, a: Array, v: Array, old: Sequence[Array], new: Sequence[Array]) -> None:
        v = v.copy()
        for rows in self.map.together:  # added to a
            v.reshape(-1, v.shape[2])[rows] = 0
        for out, value in zip(new, self.map.advance(a, v, old), strict=True):
            out[:] = value

    def calls(self, k: int, s: Array, new: Array, a: Array) -> list[Call]:
        """Return the calls of step k of a list.

        Args:
            k: number of the step.
            s: old state, (rows, B).
            new: where the new one belongs.
            a: where recurrent pre-activations belong, (gates * H, B).
        """
        m, v = self.map, self.v[k]
        old = [s[i:j] for i, j in zip(self._ends[:-1], self._ends[1:], strict=True)]
        out = [new[i:j] for i, j in zip(self._new_ends[:-1], self._new_ends[1:], strict=True)]
        calls: list[Call] = []
        if m.U is not None:
            calls.append((m.U.dot, (old[m.reads_part], a)))
            if self._bias is not None:
                calls.append((np.add, (a[m.separate], self._bias, a[m.separate])))
            calls += [(np.add, (a[rows], v[rows], a[rows])) for rows in m.together]
        elif not np.may_share_memory(a, v):
            calls.append((np.copyto, (a, v)))
        arguments = [a.reshape(self._grid), v.reshape(self._grid)]
        if self._player is None:
            return [*calls, (self._plainly, (*arguments, old, out))]
        return calls + self._player.calls([*arguments, *old], out)
