"""Steps made of steps: several maps in a row, and a loop from output to input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.kernels.pull import ChainPuller
from gradscope.maps.jacobian import Array, Jacobian, Linear, Roads, ranges

__all__ = ["Composite", "Looped", "added", "sum_of_log_dets"]


@dataclass(frozen=True, eq=False)
class Composite(Linear):
    """A step of several maps in a row, as in a GRU whose reset comes before its matrix product."""

    maps: tuple[Linear, ...]

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.maps[-1].shape[0], self.maps[0].shape[1]

    @property
    def states(self) -> int:
        return max(m.states for m in self.maps)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(m.dtype for m in self.maps))

    def push(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push(v)
        return v

    def push_blocks(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push_blocks(v)
        return v

    def bound(self) -> float:
        return float(np.prod([m.bound() for m in self.maps]))

    def pull(self, u: Array) -> Array:
        for m in reversed(self.maps):
            u = m.pull(u)
        return u

    def puller(self, steps: int, batch: int) -> ChainPuller:
        return ChainPuller(self.maps, steps, batch, self.dtype)

    def push_around(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push_around(v)
        return v

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around, through = self.maps[0].push_apart(v)
        for m in self.maps[1:]:
            around, crossed = m.push_apart(around)
            through = m.push(through) + crossed
        return around, through

    def roads(self, u: Array, v: Array) -> Roads:
        """Share out u . J v. A path may cross weights of several maps; it counts for those that it crosses first."""
        back = [u]
        for m in reversed(self.maps[1:]):
            back.append(m.pull(back[-1]))
        around, through = v, dict[str, Array]()
        for m, reached in zip(self.maps, reversed(back), strict=True):
            for name, part in m.roads(reached, around).through.items():
                through[name] = through.get(name, 0) + part
            around = m.push_around(around)
        return Roads(self.push(v), (u * around).sum(axis=0), through)

    def push_input(self, x: Array) -> Array:
        out = self.maps[0].push_input(x)
        for m in self.maps[1:]:
            out = m.push(out) + m.push_input(x)
        return out

    def pull_input(self, u: Array) -> Array:
        total: Any = 0
        for m in reversed(self.maps):
            total = total + m.pull_input(u)
            u = m.pull(u)
        return np.asarray(total)

    def pull_within(self, u: Array) -> Array:
        """Return what later maps, and the one that makes a part, pass on to it from the other new parts."""
        out, reached = np.zeros_like(u), u  # the cotangent of what map k makes
        last = self.maps[-1]
        parts = [(s, i) for i, s in enumerate(ranges(last.new))] if isinstance(last, Jacobian) else []
        for k, m in reversed(list(enumerate(self.maps))):
            if not isinstance(m, Jacobian):
                break
            within, rows, before = m.pull_within(reached), ranges(m.new), []
            for to, i in parts:
                source = m.copied(i) if k else None
                if source is None:  # made here
                    out[to] = within[rows[i]] + (reached[rows[i]] - u[to])
                else:
                    before.append((to, source))
            parts, reached = before, m.pull(reached)
        return out

    def log_abs_det(self) -> Array | None:
        return sum_of_log_dets(self.maps, self.states)

    def at(self, index: Any) -> Composite:
        return Composite(tuple(m.at(index) for m in self.maps))

    def column(self, b: int) -> Composite:
        return Composite(tuple(m.column(b) for m in self.maps))


def sum_of_log_dets(maps: Sequence[Linear], states: int) -> Array | None:
    """Return log|det| of a product of maps, or of what has them as its diagonal blocks, (states,); None: not known."""
    logs = [m.log_abs_det() for m in maps]
    known = [log for log in logs if log is not None]
    total = np.asarray(sum(known))
    return np.broadcast_to(total, (*total.shape[:-1], states)).copy() if len(known) == len(logs) else None


def added(s: Array, outputs: Sequence[slice]) -> Array:
    """Return the sum of some rows of (..., n, B): what is read off a state."""
    return np.asarray(sum((s[..., rows, :] for rows in outputs[1:]), s[..., outputs[0], :]))


@dataclass(frozen=True, eq=False)
class Looped(Linear):
    """A step whose input is a linear readout of the old output: J = ds'/ds + (ds'/dx) R, on the output's columns.

    There is no input from outside. The road through the readout crosses weights: `push_around` leaves it out.
    """

    step: Linear
    R: Array
    outputs: tuple[slice, ...]  # rows of the state whose sum R reads

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.step.shape

    @property
    def states(self) -> int:
        return self.step.states

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(self.step.dtype, self.R)

    def push(self, v: Array) -> Array:
        return self.step.push(v) + self._fed_back(v)

    def _fed_back(self, v: Array) -> Array:
        return self.step.push_input(self.R @ added(v, self.outputs))

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around, through = self.step.push_apart(v)
        return around, through + self._fed_back(v)

    def roads(self, u: Array, v: Array) -> Roads:
        """Share out u . J v; what crosses the readout first has a road of that name."""
        pushed, around, through = self.step.roads(u, v)
        back = self._fed_back(v)
        return Roads(pushed + back, around, through | {"readout": (u * back).sum(axis=0)})

    def pull(self, u: Array) -> Array:
        out = self.step.pull(u).copy()
        back = self.R.T @ self.step.pull_input(u)
        for rows in self.outputs:
            out[rows] += back
        return out

    def push_around(self, v: Array) -> Array:
        return self.step.push_around(v)

    def push_input(self, x: Array) -> Array:
        return np.zeros((self.shape[0], x.shape[1]), self.dtype)

    def pull_input(self, u: Array) -> Array:
        return np.zeros((0, u.shape[1]), u.dtype)

    def pull_within(self, u: Array) -> Array:
        return self.step.pull_within(u)

    def at(self, index: Any) -> Looped:
        return Looped(self.step.at(index), self.R, self.outputs)

    def column(self, b: int) -> Looped:
        return Looped(self.step.column(b), self.R, self.outputs)
