"""The structured Jacobian of one step, J = through . U + around, and its algebra.

A recurrent cell is one matrix product followed by an element-wise map: preactivations `a = U h + b`
and `v = W x + b` of some gates, then gates and new state unit by unit. So its Jacobian is a grid of
diagonals times U, the path *through* the weights, plus a grid of diagonals, the skip path *around* them.
Nothing here builds a dense diagonal; one application costs one product with U.

Grid entries are (H, B), or a plain number; the integer 0 stands for "no path" and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.maps.dense import Dense
from gradscope.maps.determinant import block_log_det, log_abs
from gradscope.maps.grid import Array, Grid, Grids, absent, grid_jvp, grid_vjp
from gradscope.maps.linear import Linear, PathShares, Transposed, ranges

__all__ = ["Array", "Dense", "Jacobian", "Linear", "Grids", "PathShares", "Transposed", "ranges"]


@dataclass(frozen=True, eq=False)
class Jacobian(Linear):
    """J = through . U + around of one element-wise map.

    Attributes:
        grids: the derivatives.
        U: recurrent weights (gates * H, size of the part that they read), or None.
        W: input weights (gates * H, inputs), or None.
        reads: which old part U multiplies.
        old, new: sizes of the parts.
        gates: names of the gates, in the order of U; () for their numbers.
    """

    grids: Grids
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
        return self.grids.through

    @property
    def around(self) -> Grid:
        """[new part][old part] diagonals that cross no recurrent weight."""
        return self.grids.around

    @property
    def _entry(self) -> Grid:
        """[new part][gate] diagonals in front of the input weights."""
        return self.through if self.grids.entry is None else self.grids.entry

    @cached_property
    def _old(self) -> list[slice]:
        return ranges(self.old)

    @cached_property
    def _new(self) -> list[slice]:
        return ranges(self.new)

    # Forward: J v = around v + through (U v)

    def jvp(self, v: Array) -> Array:
        around, through = self.jvp_split(v)
        return around + through

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        around = self.jvp_skip(v)
        return around, self._jvp_through(self._products(v), around)

    def jvp_skip(self, v: Array) -> Array:
        return np.concatenate(grid_jvp(self.around, [v[s] for s in self._old], self.new))

    def without_weights(self, *, inputs: bool = False) -> Jacobian:
        U = None if self.U is None else np.zeros_like(self.U)
        return replace(self, U=U, W=None if inputs else self.W)

    def _jvp_through(self, products: list[Array], like: Array) -> Array:
        return np.concatenate(grid_jvp(self.through, products, self.new)) if products else np.zeros_like(like)

    def _products(self, v: Array) -> list[Array]:
        """Return U v, one block for each gate."""
        return [] if self.U is None else self._by_gate(self.U @ v[self._old[self.reads]])

    def _by_gate(self, product: Array) -> list[Array]:
        return list(product.reshape(len(self.through[0]), -1, product.shape[-1]))

    def jvp_input(self, x: Array) -> Array:
        if self.W is None:
            return np.zeros((self.shape[0], x.shape[1]), x.dtype)
        return np.concatenate(grid_jvp(self._entry, self._by_gate(self.W @ x), self.new))

    # Backward: J^T u = around^T u + U^T (through^T u)

    def vjp(self, u: Array) -> Array:
        rows = grid_vjp(self.around, [u[s] for s in self._new], self.old)
        if self.U is not None:
            rows[self.reads] = rows[self.reads] + self.U.T @ np.concatenate(self._gate_cotangents(self.through, u))
        return np.concatenate(rows)

    def _gate_cotangents(self, grid: Grid, u: Array) -> list[Array]:
        """Return grid^T u, the cotangents of the preactivations, one block for each gate."""
        new = [u[s] for s in self._new]
        width = next((n for row, n in zip(grid, self.new, strict=True) if not all(map(absent, row))), self.new[0])
        return grid_vjp(grid, new, [width] * len(grid[0]))

    def vjp_input(self, u: Array) -> Array:
        if self.W is None:
            return np.zeros((1, u.shape[1]), u.dtype)
        return np.asarray(self.W.T @ np.concatenate(self._gate_cotangents(self._entry, u)))

    def vjp_within(self, u: Array) -> Array:
        if self.grids.within is None:
            return np.zeros_like(u)
        return np.concatenate(grid_vjp(self.grids.within, [u[s] for s in self._new], self.new))

    def path_shares(self, u: Array, v: Array) -> PathShares:
        around, products = self.jvp_skip(v), self._products(v)
        through: dict[str, Array] = {}
        if products:
            names = self.gates or tuple(f"gate {i}" for i in range(len(products)))
            cotangents = self._gate_cotangents(self.through, u)
            for name, cotangent, product in zip(names, cotangents, products, strict=True):
                through[name] = through.get(name, 0) + (cotangent * product).sum(axis=0)
        return PathShares(around + self._jvp_through(products, around), (u * around).sum(axis=0), through)

    # The matrix, its determinant and its diagonal blocks

    def dense(self, dtype: Any = None, *, skip: bool = True) -> Array:
        if self.states > 1:
            return super().dense(dtype, skip=skip)
        matrix = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        if self.U is not None:
            read = matrix[:, self._old[self.reads]]
            # U times the identity is U
            products = grid_jvp(self.through, self._by_gate(self.U.astype(matrix.dtype, copy=False)), self.new)
            for rows, product in zip(self._new, products, strict=True):
                read[rows] = product
        for row, rows in zip(self.around if skip else (), self._new, strict=False):
            for e, columns in zip(row, self._old, strict=True):
                if not absent(e):
                    np.einsum("ii->i", matrix[rows, columns])[...] += np.ravel(e)
        return matrix

    def unit_blocks(self) -> Array | None:
        units = self.new[0]
        if self.U is not None or self.new != self.old or set(self.new) != {units}:
            return None
        lead = np.broadcast_shapes(*(np.shape(e) for row in self.around for e in row), (units, self.states))
        blocks = np.empty((len(self.new), len(self.new), *lead), float)
        for p, row in enumerate(self.around):
            for q, entry in enumerate(row):
                blocks[p, q] = entry
        return blocks

    def log_abs_det(self) -> Array | None:
        units = self.new[0]
        if len(self.old) != len(self.new) or set(self.old + self.new) != {units}:
            return None
        through: Grid = [()] * len(self.new) if self.U is None else self.through
        log = block_log_det(self.around, through, self.grids.within, self.reads, units, self._log_det_of_gate)
        return None if log is None else np.broadcast_to(log, (*log.shape[:-1], self.states)).copy()

    @cached_property
    def _log_dets(self) -> dict[int, float]:
        """log|det| of the recurrent weights by gate, filled on demand; shared by all steps, which have the same U."""
        return {}

    def _log_det_of_gate(self, gate: int) -> float:
        if gate not in self._log_dets and self.U is not None:
            units = self.new[0]
            self._log_dets[gate] = float(log_abs(self.U[gate * units : (gate + 1) * units]))
        return self._log_dets[gate]

    # Steps and sequences

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

    def _take(self, index: Any) -> Jacobian:
        taken = Jacobian(self.grids.take(index), self.U, self.W, self.reads, self.old, self.new, self.gates)
        vars(taken)["_log_dets"] = self._log_dets
        return taken

    def at(self, index: Any) -> Jacobian:
        return self._take(index)

    def column(self, b: int) -> Jacobian:
        return self._take((Ellipsis, slice(b, b + 1)))
