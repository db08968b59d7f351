"""Grids of diagonals: the derivatives of an element-wise map, and their products with blocks of a vector.

The two products at the end are the product rule of every structured Jacobian: in `maps.jacobian`, `jvp`, `vjp`,
`path_shares`, the derivatives in the input and the weights' part of `dense` call them. What reads the same grids
without them, and changes with the rule:

- `Jacobian.dense` writes the skip path as diagonals: multiplied by an identity, one nan would spread along its row;
- `Jacobian.unit_blocks` returns the diagonals of `around` as they are;
- `Jacobian.log_abs_det` (`maps.determinant`) adds logarithms of diagonals, so that nothing underflows;
- `maps.row_scaling` divides rows by their size;
- `kernels` has products and bounds for many steps (`jvp`, `vjp`, `bound`).

`check_cell` compares the matrix and the determinant with J v, and `tests/contracts/test_kernels.py` the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.numerics.formats import Array

__all__ = ["Array", "Entry", "Grid", "Grids", "absent", "combine", "grid_jvp", "grid_vjp"]

Entry = Any  # an array (..., H, B), or a number: the integer 0 means no path, the integer 1 (not 1.0) a copied part
Grid = Sequence[Sequence[Entry]]


@dataclass(frozen=True)
class Grids:
    """Derivatives of one element-wise map, all of them diagonals.

    Attributes:
        through: [new part][gate], d(part) / d(recurrent preactivation of the gate).
        around: [new part][old part], the skip path: what touches no recurrent weight.
        entry: [new part][gate], d(part) / d(input preactivation); None where it equals `through`.
        within: [new part][new part], what one new part contributes to another in the same step,
            as c' does to h' in an LSTM; None where there is no such path.
    """

    through: Grid
    around: Grid
    entry: Grid | None = None
    within: Grid | None = None

    def take(self, index: Any) -> Grids:
        """Return the same grids with `index` applied to every array in them."""

        def grid(g: Grid | None) -> Any:
            if g is None:
                return None
            return [[e[index] if isinstance(e, np.ndarray) and e.ndim else e for e in row] for row in g]

        return Grids(grid(self.through), grid(self.around), grid(self.entry), grid(self.within))


def absent(entry: Any) -> bool:
    """Whether an entry of a grid means "no path"."""
    return isinstance(entry, int) and entry == 0


def combine(row: Sequence[Entry], blocks: Sequence[Array], size: int) -> Array:
    """Return the sum of entry * block over one row of a grid; (size, B) zeros where the row has no path."""
    total: Any = None
    for entry, block in zip(row, blocks, strict=True):
        if not absent(entry):
            total = entry * block if total is None else total + entry * block
    return np.zeros((size, *blocks[0].shape[1:]), blocks[0].dtype) if total is None else total


def grid_jvp(grid: Grid, blocks: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
    """Return grid @ v by blocks.

    Args:
        grid: [row][column].
        blocks: v, one block (size, B) for each column.
        sizes: rows of each block of the result.
    """
    return [combine(row, blocks, size) for row, size in zip(grid, sizes, strict=True)]


def grid_vjp(grid: Grid, blocks: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
    """Return grid^T @ u by blocks.

    Args:
        grid: [row][column].
        blocks: u, one block (size, B) for each row.
        sizes: rows of each block of the result.
    """
    return [combine(column, blocks, size) for column, size in zip(zip(*grid, strict=True), sizes, strict=True)]
