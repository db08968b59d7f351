"""Dense matrices: decompositions that always give an answer, and the Jacobians of one sequence, multiplied out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from gradscope.maps.jacobian import Array, Linear

if TYPE_CHECKING:
    from gradscope.dynamics.chain import JacobianChain

__all__ = ["Matrices", "singular_values"]

KEPT = 64 << 20  # bytes of Jacobians that are kept for the next time


def singular_values(matrix: Array) -> Array:
    """Return all singular values; LAPACK's other driver is asked where the fast one does not converge."""
    try:
        return np.asarray(scipy.linalg.svdvals(matrix, check_finite=False))
    except scipy.linalg.LinAlgError:
        return np.asarray(scipy.linalg.svd(matrix, compute_uv=False, lapack_driver="gesvd", check_finite=False))


class Matrices:
    """The Jacobians of one sequence as matrices (n, n), in float64.

    Attributes:
        kept: whether they are few enough to be kept for the next time.
    """

    def __init__(self, chain: JacobianChain, sequence: int) -> None:
        self._chain, self._sequence = chain, sequence
        self.kept = chain.steps * chain.size**2 * 8 <= KEPT
        self._found: dict[int, Array] = {}

    def forward(self) -> Iterator[tuple[int, Array]]:
        """Yield (t, J[t]) from the first step to the last."""
        return self._made(self._chain.forward(), range(self._chain.steps))

    def backward(self) -> Iterator[tuple[int, Array]]:
        """Yield (t, J[t]) from the last step to the first."""
        return self._made(self._chain.backward(), range(self._chain.steps - 1, -1, -1))

    def _made(self, source: Iterator[tuple[int, Linear]], order: range) -> Iterator[tuple[int, Array]]:
        if len(self._found) == len(order):
            yield from ((t, self._found[t]) for t in order)
            return
        for t, J in source:
            matrix = J.column(self._sequence).dense64()
            if self.kept:
                self._found[t] = matrix
            yield t, matrix
