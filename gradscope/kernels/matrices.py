"""The Jacobians of one sequence as dense matrices, kept for the next pass where they are small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradscope.maps.linear import Array, Linear

if TYPE_CHECKING:
    from gradscope.dynamics.chain import JacobianChain

CACHE_BYTES = 64 << 20  # of matrices that are kept: products are formed in both directions, cycles repeat


class DenseJacobians:
    """The Jacobians of one sequence as matrices (n, n), in float64.

    Attributes:
        cached: whether they are few enough to be kept for the next pass.
    """

    def __init__(self, chain: JacobianChain, sequence: int) -> None:
        self._chain, self._sequence = chain, sequence
        self.cached = chain.steps * chain.size**2 * 8 <= CACHE_BYTES
        self._matrices: dict[int, Array] = {}

    def forward(self) -> Iterator[tuple[int, Array]]:
        """Yield (t, J[t]) from the first step to the last."""
        return self._of(self._chain.forward(), range(self._chain.steps))

    def backward(self) -> Iterator[tuple[int, Array]]:
        """Yield (t, J[t]) from the last step to the first."""
        return self._of(self._chain.backward(), range(self._chain.steps - 1, -1, -1))

    def _of(self, jacobians: Iterator[tuple[int, Linear]], order: range) -> Iterator[tuple[int, Array]]:
        if len(self._matrices) == len(order):  # a pass before was complete
            yield from ((t, self._matrices[t]) for t in order)
            return
        for t, J in jacobians:
            matrix = J.column(self._sequence).dense(float)
            # a pass that is abandoned leaves some of them: `_of` takes all from here, or none
            if self.cached:
                self._matrices[t] = matrix
            yield t, matrix
