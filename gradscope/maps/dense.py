"""A Jacobian that is given as a matrix, as of a user's step function, or by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.maps.determinant import log_abs
from gradscope.maps.grid import Array
from gradscope.maps.linear import Linear

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A Jacobian given as a matrix: (rows, columns), or (B, rows, columns), with leading time axes.

    Attributes:
        matrix: the matrix.
        inputs: d(next state) / d(input), likewise.
        around: (rows,), the diagonal within `matrix` that is the skip path, where there is one.
    """

    matrix: Array
    inputs: Array | None = None
    around: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.matrix.shape[-2], self.matrix.shape[-1]

    @property
    def states(self) -> int:
        return 1 if self.matrix.ndim == 2 else self.matrix.shape[-3]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    @staticmethod
    def _apply(matrix: Array, v: Array) -> Array:
        if matrix.ndim == 2:
            return np.asarray(matrix @ v)
        if len(matrix) == 1:  # one sequence, a block of columns
            return np.asarray(matrix[0] @ v)
        return np.asarray(np.einsum("bij,jb->ib", matrix, v))

    def jvp(self, v: Array) -> Array:
        return self._apply(self.matrix, v)

    def vjp(self, u: Array) -> Array:
        return self._apply(self.matrix.swapaxes(-1, -2), u)

    def jvp_skip(self, v: Array) -> Array:
        return super().jvp_skip(v) if self.around is None else self.around[:, None].astype(v.dtype) * v

    def without_weights(self, *, inputs: bool = False) -> Dense | None:
        if self.around is None:
            return None
        matrix = np.broadcast_to(np.diag(self.around), self.matrix.shape)
        given = self.inputs if self.inputs is None or not inputs else np.zeros_like(self.inputs)
        return Dense(matrix, given, self.around)

    def jvp_input(self, x: Array) -> Array:
        if self.inputs is None:
            return super().jvp_input(x)
        return self._apply(self.inputs, x)

    def vjp_input(self, u: Array) -> Array:
        assert self.inputs is not None
        return self._apply(self.inputs.swapaxes(-1, -2), u)

    def dense(self, dtype: Any = None, *, skip: bool = True) -> Array:
        matrix = np.array(self.matrix if self.states > 1 else self.matrix.reshape(self.shape), dtype)
        return matrix if skip or self.around is None else matrix - np.diag(self.around)

    def log_abs_det(self) -> Array | None:
        return np.atleast_1d(log_abs(self.matrix)) if self.shape[0] == self.shape[1] else None

    def at(self, index: Any) -> Dense:
        return Dense(self.matrix[index], None if self.inputs is None else self.inputs[index], self.around)

    def column(self, b: int) -> Dense:
        inputs = None if self.inputs is None or self.inputs.ndim == 2 else self.inputs[..., b : b + 1, :, :]
        matrix = self.matrix if self.matrix.ndim == 2 else self.matrix[..., b : b + 1, :, :]
        return Dense(matrix, inputs, self.around)
