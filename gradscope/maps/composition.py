"""Steps composed of steps: several maps in a row, and a loop from output to input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.maps.grid import absent
from gradscope.maps.jacobian import Array, Jacobian, Linear, PathShares, ranges

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

    def jvp(self, v: Array) -> Array:
        for m in self.maps:
            v = m.jvp(v)
        return v

    def vjp(self, u: Array) -> Array:
        for m in reversed(self.maps):
            u = m.vjp(u)
        return u

    def jvp_skip(self, v: Array) -> Array:
        for m in self.maps:
            v = m.jvp_skip(v)
        return v

    def without_weights(self, *, inputs: bool = False) -> Composite | None:
        maps = all_without_weights(self.maps, inputs=inputs)
        return None if maps is None else Composite(maps)

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        around, through = self.maps[0].jvp_split(v)
        for m in self.maps[1:]:
            around, crossed = m.jvp_split(around)
            through = m.jvp(through) + crossed
        return around, through

    def path_shares(self, u: Array, v: Array) -> PathShares:
        """Share out u . J v by paths. A path may cross weights of several maps; it counts for the first of them."""
        cotangents = [u]
        for m in reversed(self.maps[1:]):
            cotangents.append(m.vjp(cotangents[-1]))
        around, through = v, dict[str, Array]()
        for m, cotangent in zip(self.maps, reversed(cotangents), strict=True):
            for name, part in m.path_shares(cotangent, around).through.items():
                through[name] = through.get(name, 0) + part
            around = m.jvp_skip(around)
        return PathShares(self.jvp(v), (u * around).sum(axis=0), through)

    def jvp_input(self, x: Array) -> Array:
        out = self.maps[0].jvp_input(x)
        for m in self.maps[1:]:
            out = m.jvp(out) + m.jvp_input(x)
        return out

    def vjp_input(self, u: Array) -> Array:
        total: Any = 0
        for m in reversed(self.maps):
            total = total + m.vjp_input(u)
            u = m.vjp(u)
        return np.asarray(total)

    def vjp_within(self, u: Array) -> Array:
        """Return the same-step vjp: what the map that computes a part, and the maps after it, add to its cotangent.

        A part that a map only copies is followed back to the map that computes it.
        """
        out, cotangent = np.zeros_like(u), u  # the cotangent of the result of map k
        parts = [(rows, rows, i) for i, rows in enumerate(_new_parts(self.maps[-1]))]
        for k, m in reversed(list(enumerate(self.maps))):
            within, copies = m.vjp_within(cotangent), []
            for to, rows, i in parts:  # rows of u, and of the result of map k, where they are its part number i
                source = _copied_part(m, i) if k and isinstance(m, Jacobian) else None
                if source is None:  # map k computes the part
                    out[to] = within[rows] + (cotangent[rows] - u[to])
                else:
                    copies.append((to, *source))
            parts, cotangent = copies, m.vjp(cotangent)
        return out

    def log_abs_det(self) -> Array | None:
        return sum_of_log_dets(self.maps, self.states)

    def at(self, index: Any) -> Composite:
        return Composite(tuple(m.at(index) for m in self.maps))

    def column(self, b: int) -> Composite:
        return Composite(tuple(m.column(b) for m in self.maps))


def _new_parts(m: Linear) -> list[slice]:
    """Return where the new parts of a map lie; one for all of them where no parts are known."""
    return ranges(m.new if isinstance(m, Jacobian) else (m.shape[0],))


def _copied_part(m: Jacobian, new: int) -> tuple[slice, int] | None:
    """Return rows and number of the old part that a new part is a copy of; None where it is no copy."""
    present = [q for q, e in enumerate(m.around[new]) if not absent(e)]
    if len(present) != 1 or not all(map(absent, m.through[new])):
        return None
    entry = m.around[new][present[0]]
    # only the integer: an array may be one at this step and another number at the next
    same = isinstance(entry, int) and entry == 1 and m.old[present[0]] == m.new[new]
    return (ranges(m.old)[present[0]], present[0]) if same else None


def sum_of_log_dets(maps: Sequence[Linear], states: int) -> Array | None:
    """Return log|det| of a product of maps, or of a block triangular map with these on its diagonal.

    Args:
        maps: the maps, square.
        states: number of states.

    Returns:
        (states,), with a time axis in front where the maps have one; None where one of them has no closed form.
    """
    logs = [m.log_abs_det() for m in maps]
    known = [log for log in logs if log is not None]
    total = np.asarray(sum(known))
    return np.broadcast_to(total, (*total.shape[:-1], states)).copy() if len(known) == len(logs) else None


def all_without_weights(maps: Sequence[Linear], *, inputs: bool) -> tuple[Linear, ...] | None:
    """Return `without_weights` of each map; None where one of them does not know."""
    bare = [m.without_weights(inputs=inputs) for m in maps]
    known = tuple(m for m in bare if m is not None)
    return known if len(known) == len(bare) else None


def added(s: Array, outputs: Sequence[slice]) -> Array:
    """Return the output that a readout sees, the sum of some rows of a state (..., n, B)."""
    return np.asarray(sum((s[..., rows, :] for rows in outputs[1:]), s[..., outputs[0], :]))


@dataclass(frozen=True, eq=False)
class Looped(Linear):
    """A step whose input is a linear readout of the old output: J = ds'/ds + (ds'/dx) R, on the output's columns.

    There is no input from outside. The path through the readout crosses weights: `jvp_skip` leaves it out.
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

    def jvp(self, v: Array) -> Array:
        return self.step.jvp(v) + self._jvp_readout(v)

    def _jvp_readout(self, v: Array) -> Array:
        """Return (ds'/dx) R v, the path from the old output back to the input."""
        return self.step.jvp_input(self.R @ added(v, self.outputs))

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        around, through = self.step.jvp_split(v)
        return around, through + self._jvp_readout(v)

    def path_shares(self, u: Array, v: Array) -> PathShares:
        """Share out u . J v by paths; what crosses the readout first is a path of that name."""
        product, around, through = self.step.path_shares(u, v)
        readout = self._jvp_readout(v)
        return PathShares(product + readout, around, through | {"readout": (u * readout).sum(axis=0)})

    def vjp(self, u: Array) -> Array:
        out = self.step.vjp(u).copy()
        output_cotangent = self.R.T @ self.step.vjp_input(u)
        for rows in self.outputs:
            out[rows] += output_cotangent
        return out

    def jvp_skip(self, v: Array) -> Array:
        return self.step.jvp_skip(v)

    def without_weights(self, *, inputs: bool = False) -> Looped | None:
        step = self.step.without_weights(inputs=inputs)
        return None if step is None else Looped(step, np.zeros_like(self.R), self.outputs)

    def vjp_within(self, u: Array) -> Array:
        return self.step.vjp_within(u)

    def at(self, index: Any) -> Looped:
        return Looped(self.step.at(index), self.R, self.outputs)

    def column(self, b: int) -> Looped:
        return Looped(self.step.column(b), self.R, self.outputs)
