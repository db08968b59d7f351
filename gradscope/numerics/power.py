"""The largest singular value, by power iteration from a vector that is nearly right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from gradscope.maps.jacobian import Array
from gradscope.numerics.scaled import norm

__all__ = ["Norm", "direction", "exact", "power"]

FAR = 1e100  # size beyond which, or below its inverse, squares are in danger
MIXED = 0.1  # share of a random direction in the first vector
SETTLED = 8 * float(np.finfo(float).eps)  # relative change of the value at which it ends


def direction(n: int) -> Array:
    """Return a column in a random direction, (n, 1), always the same one."""
    return np.random.default_rng(0).standard_normal((n, 1))


def power(
    push: Callable[[Array], Array], pull: Callable[[Array], Array], x: Array, iterations: int
) -> tuple[float, Array]:
    """Return (natural log of the spectral norm, right singular vector), from below.

    Some of another direction is mixed in: x, which was right for a map before, may have lost what is largest now.

    Args:
        push: the map.
        pull: its transpose.
        x: where to start, (n, 1).
        iterations: at most.
    """
    size, other = 0.0, direction(len(x))
    x = x / norm(x) + MIXED * other / norm(other)
    for _ in range(iterations):
        y = push(x / norm(x))
        before, size = size, norm(y)
        if not size:
            return -np.inf, other
        x = pull(y / size)
        if abs(size - before) <= SETTLED * size:
            break
    return float(np.log(size)), x


class Norm:
    """The spectral norm of one matrix after another, each from where the last one ended; a few per cent too small."""

    def __init__(self, n: int) -> None:
        other = direction(n)[:, 0]
        self._other = MIXED * other / np.sqrt(other @ other)
        self._x: Array = self._other

    def of(self, matrix: Array, iterations: int) -> float:
        """Return the natural log; -inf for zero."""
        x, size = self._x + self._other, 0.0
        x = x / np.sqrt(x @ x)
        for _ in range(iterations):
            y = matrix @ x
            with np.errstate(over="ignore"):
                before = float(np.sqrt(y @ y))
            if not 1 / FAR < before < FAR:
                scale = float(np.abs(matrix).max())
                return self.of(matrix / scale, iterations) + float(np.log(scale)) if _far(scale) else -np.inf
            x = matrix.T @ (y / before)
            size = float(np.sqrt(x @ x))
            x = x / size
        self._x = x
        return float(np.log(size))


def _far(scale: float) -> bool:
    return bool(scale) and not 1 / FAR < scale < FAR


def exact(matrix: Array) -> float:
    """Return the natural log of the spectral norm of a matrix (n, n) near one in size, to rounding."""
    n, squared = len(matrix), matrix.T @ matrix
    try:
        square = scipy.linalg.eigvalsh(squared, subset_by_index=[n - 1, n - 1], check_finite=False)[0]
    except scipy.linalg.LinAlgError:  # one of many that are equal to rounding, as an orthogonal matrix has them
        square = scipy.linalg.eigvalsh(squared, driver="ev", check_finite=False)[-1]
    return float(np.log(square) / 2) if square > 0 else -np.inf
