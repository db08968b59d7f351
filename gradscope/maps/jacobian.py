"""The structured Jacobian of one step, J = through . U + around, and its algebra.

A recurrent cell is one matrix product followed by an element-wise map: pre-activations `a = U h + b`
and `v = W x + b` of some gates, then gates and new state unit by unit. So its Jacobian is a grid of
diagonals times U, the road *through* the weights, plus a grid of diagonals, the road *around* them.
Nothing here builds a dense diagonal; one application costs one product with U.

Grid entries are (H, B), or a plain number; the integer 0 stands for "no path" and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.kernels.vjp import GridVjp
from gradscope.maps.blocks import absent, block_log_det, log_abs, split
from gradscope.maps.linear import Array, Dense, Entry, Factor, Grid, Linear, Partials, PathShares, Transposed, ranges

__all__ = ["Array", "Dense", "Factor", "Jacobian", "Linear", "Partials", "PathShares", "Transposed", "ranges"]


def _combine(row: Sequence[Entry], blocks: Sequence[Array], like: Array) -> Array:
    """Sum entry * block over one row of a grid."""
    total: Any = None
    for entry, block in zip(row, blocks, strict=True):
        if not absent(entry):
            total = entry * block if total is None else total + entry * block
    return np.zeros_like(like) if total is None else total


@dataclass(frozen=True, eq=False)
class Jacobian(Linear):
    """J = through . U + around of one element-wise map.

    Attributes:
        partials: the grids.
        U: recurrent weights (gates * H, size of the part that they read), or None.
        W: input weights (gates * H, inputs), or None.
        reads: which old part U multiplies.
        old, new: sizes of the parts.
        gates: names of the gates, in the order of U; () for their numbers.
    """

    partials: Partials
    U: Array | None
    W: Array | None
    reads: int
    old: tuple[int, ...]
    new: tuple[int, ...]
    gates: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return sum(self.new), sum(self.old)

    @property
    def through(self) -> Grid:
        """[new part][gate] diagonals in front of the recurrent weights."""
        return self.partials.through

    @property
    def around(self) -> Grid:
        """[new part][old part] diagonals that cross no recurrent weight."""
        return self.partials.around

    @cached_property
    def _old(self) -> list[slice]:
        return ranges(self.old)

    @cached_property
    def _new(self) -> list[slice]:
        return ranges(self.new)

    def _split(self, product: Array) -> list[Array]:
        gates = len(self.through[0])
        return list(product.reshape(gates, -1, product.shape[-1]))

    def jvp_skip(self, v: Array) -> Array:
        old = [v[s] for s in self._old]
        size = (1, v.shape[1])
        rows = [
            _combine(row, old, np.zeros((n, *size[1:]), v.dtype)) for row, n in zip(self.around, self.new, strict=True)
        ]
        return np.concatenate(rows)

    def jvp(self, v: Array) -> Array:
        around, through = self.jvp_split(v)
        return around + through

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        around = self.jvp_skip(v)
        return around, self._jvp_through(self._products(v), around)

    def _products(self, v: Array) -> list[Array]:
        """Return U v, one block for each gate."""
        return [] if self.U is None else self._split(self.U @ v[self._old[self.reads]])

    def _jvp_through(self, blocks: list[Array], like: Array) -> Array:
        if not blocks:
            return np.zeros_like(like)
        rows = zip(self.through, self._new, strict=True)
        return np.concatenate([_combine(row, blocks, like[s]) for row, s in rows])

    def path_shares(self, u: Array, v: Array) -> PathShares:
        around, blocks = self.jvp_skip(v), self._products(v)
        through: dict[str, Array] = {}
        if blocks:
            names = self.gates or tuple(f"gate {i}" for i in range(len(blocks)))
            reached = self._split(self._gate_cotangents(self.through, u))
            for name, gate, block in zip(names, reached, blocks, strict=True):
                through[name] = through.get(name, 0) + (gate * block).sum(axis=0)
        return PathShares(around + self._jvp_through(blocks, around), (u * around).sum(axis=0), through)

    def _gate_cotangents(self, grid: Grid, u: Array) -> Array:
        """Return grid^T u with the gates stacked, (gates * H, B)."""
        new = [u[s] for s in self._new]
        like = next((new[p] for p, row in enumerate(grid) for e in row if not absent(e)), new[0])
        return np.concatenate([_combine(column, new, like) for column in zip(*grid, strict=True)])

    def jvp_columns(self, v: Array) -> Array:
        each = v.shape[1] // self.states
        return self.at((Ellipsis, np.repeat(np.arange(self.states), each))).jvp(v)

    def dense(self) -> Array:
        if self.states > 1:
            return super().dense()
        return self._filled(self.dtype, around=True)

    def dense64(self, *, skip: bool = True) -> Array:
        return self._filled(np.dtype(float), around=skip)

    def _filled(self, dtype: np.dtype[Any], *, around: bool) -> Array:
        made = np.zeros(self.shape, dtype)
        for p, (row, rows) in enumerate(zip(self.through, self._new, strict=True)):
            there = [g for g, e in enumerate(row) if not absent(e)]
            if self.U is not None and there:
                span = slice(there[0], there[-1] + 1)
                gates = np.array([np.broadcast_to(np.ravel(e), self.new[p]) for e in row[span]], dtype)
                blocks = self.U.reshape(len(row), self.new[p], -1)[span]
                np.einsum("gi,gij->ij", gates, blocks, out=made[rows, self._old[self.reads]])
            for e, columns in zip(self.around[p], self._old, strict=True):
                if around and not absent(e):
                    np.einsum("ii->i", made[rows, columns])[...] += np.ravel(e)
        return made

    def factors(self) -> tuple[Factor, ...]:
        """J = E S M: S the size of rows that come through one gate only, E what new parts give one another."""
        found = None if self.U is None else split(self.through, self.around, self.partials.within)
        if found is None:
            return (Factor(self),)
        through, around, *diagonal = found
        none = [[0]] * len(self.new)
        size, *unit = (Jacobian(Partials(none, grid), None, None, 0, self.new, self.new) for grid in diagonal)
        first = Jacobian(Partials(through, around), self.U, None, self.reads, self.old, self.new)
        return Factor(first), Factor(size, steep=True), *(Factor(e) for e in unit)

    def vjp(self, u: Array) -> Array:
        new = [u[s] for s in self._new]
        columns = zip(*self.around, strict=True)
        shape = u.shape[1:]
        rows = [_combine(c, new, np.zeros((n, *shape), u.dtype)) for c, n in zip(columns, self.old, strict=True)]
        if self.U is not None:
            rows[self.reads] = rows[self.reads] + self.U.T @ self._gate_cotangents(self.through, u)
        return np.concatenate(rows)

    def bound(self) -> float:
        gates = len(self.through[0])
        size = [0.0] * gates
        for gate, weights in enumerate([] if self.U is None else self._split(np.abs(self.U))):
            size[gate] = max(float(weights.sum(axis=0).max()), float(weights.sum(axis=1).max()))
        total = 0.0
        for grid, sizes in ((self.through, size), (self.around, [1.0] * len(self.old))):
            for row in grid:
                total += sum(
                    max(float(np.max(e)), -float(np.min(e))) * s
                    for e, s in zip(row, sizes, strict=True)
                    if not absent(e)
                )
        return total

    def unit_blocks(self) -> Array | None:
        units = self.new[0]
        if self.U is not None or self.new != self.old or set(self.new) != {units}:
            return None
        lead = np.broadcast_shapes(*(np.shape(e) for row in self.around for e in row), (units, self.states))
        made = np.empty((len(self.new), len(self.new), *lead), float)
        for p, row in enumerate(self.around):
            for q, entry in enumerate(row):
                made[p, q] = entry
        return made

    @property
    def _entry(self) -> Grid:
        return self.through if self.partials.entry is None else self.partials.entry

    def jvp_input(self, x: Array) -> Array:
        if self.W is None:
            return np.zeros((self.shape[0], x.shape[1]), x.dtype)
        blocks = self._split(self.W @ x)
        like = [np.zeros((n, x.shape[1]), x.dtype) for n in self.new]
        return np.concatenate([_combine(r, blocks, z) for r, z in zip(self._entry, like, strict=True)])

    def vjp_input(self, u: Array) -> Array:
        if self.W is None:
            return np.zeros((1, u.shape[1]), u.dtype)
        return np.asarray(self.W.T @ self._gate_cotangents(self._entry, u))

    def vjp_player(self, steps: int, batch: int) -> GridVjp:
        return GridVjp(self.partials, self.U, self.reads, self.old, self.new, steps, batch)

    def vjp_within(self, u: Array) -> Array:
        if self.partials.within is None:
            return np.zeros_like(u)
        new = [u[s] for s in self._new]
        columns = zip(*self.partials.within, strict=True)
        return np.concatenate([_combine(c, new, like) for c, like in zip(columns, new, strict=True)])

    def copied(self, new: int) -> int | None:
        """Return the number of the old part that a new part is a copy of; None where it is no copy."""
        there = [q for q, e in enumerate(self.around[new]) if not absent(e)]
        if len(there) != 1 or not all(map(absent, self.through[new])):
            return None
        entry = self.around[new][there[0]]
        same = isinstance(entry, int) and entry == 1 and self.old[there[0]] == self.new[new]
        return there[0] if same else None

    def vjp_within_steps(self, u: Array, steps: slice) -> list[tuple[slice, Array]]:
        if self.partials.within is None:
            return []
        new = [u[:, s] for s in self._new]
        columns = zip(*self.partials.take(steps).within or (), strict=True)
        reached = [(s, c) for s, c in zip(self._new, columns, strict=True) if not all(map(absent, c))]
        return [(s, _combine(c, new, u[:, s])) for s, c in reached]

    def log_abs_det(self) -> Array | None:
        units = self.new[0]
        if len(self.old) != len(self.new) or set(self.old + self.new) != {units}:
            return None
        through: Grid = [()] * len(self.new) if self.U is None else self.through
        log = block_log_det(self.around, through, self.partials.within, self.reads, units, self._log_det_of_gate)
        return None if log is None else np.broadcast_to(log, (*log.shape[:-1], self.states)).copy()

    @cached_property
    def _log_dets(self) -> dict[int, float]:
        """log|det| of the recurrent weights of gates, as they are asked for; shared by all steps."""
        return {}

    def _log_det_of_gate(self, gate: int) -> float:
        if gate not in self._log_dets and self.U is not None:
            units = self.new[0]
            self._log_dets[gate] = float(log_abs(self.U[gate * units : (gate + 1) * units]))
        return self._log_dets[gate]

    @property
    def _entries(self) -> list[Array]:
        grids = (self.through, self.around)
        return [e for grid in grids for row in grid for e in row if isinstance(e, np.ndarray)]

    @property
    def states(self) -> int:
        return max((e.shape[-1] for e in self._entries if e.ndim), default=1)

    @property
    def dtype(self) -> np.dtype[Any]:
        arrays = [*self._entries, *(w for w in (self.U, self.W) if w is not None)]
        return np.result_type(*arrays) if arrays else np.dtype(float)

    def _with(self, partials: Partials) -> Jacobian:
        made = Jacobian(partials, self.U, self.W, self.reads, self.old, self.new, self.gates)
        vars(made)["_log_dets"] = self._log_dets  # of the same U
        return made

    def at(self, index: Any) -> Jacobian:
        return self._with(self.partials.take(index))

    def column(self, b: int) -> Jacobian:
        return self._with(self.partials.take((Ellipsis, slice(b, b + 1))))
