"""The largest singular value by power iteration, from a vector that is nearly right (Golub & Van Loan, section 8.2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import EPS, Array
from gradscope.numerics.scaled import SAFE_SIZE, max_abs, norm

RANDOM_SHARE = 0.1  # of a fixed random direction in every first vector
POWER_SETTLED_RELATIVE = 8 * EPS  # relative change of the value from which on iterations change nothing but rounding


class PowerIteration:
    """Largest singular values of one map after another, each iteration warm-started where the last one ended.

    Values are from below, and to a few per cent after one iteration once a few singular values stand out.
    """

    def __init__(self, n: int, direction: Array | None = None) -> None:
        """Start from a random direction, (n,); `direction`, of length one or about that, if it is given."""
        if direction is None:
            direction = np.random.default_rng(0).standard_normal(n)
            direction /= norm(direction)
        self._other: Array = RANDOM_SHARE * direction
        self._x: Array = self._other

    def log_norm(
        self, jvp: Callable[[Array], Array], vjp: Callable[[Array], Array], iterations: int, tolerance: float = 0.0
    ) -> float:
        """Return the natural log of the spectral norm of a map; -inf for zero.

        Args:
            jvp: v -> A v, (n,) -> (m,).
            vjp: u -> A^T u, (m,) -> (n,).
            iterations: at most.
            tolerance: relative change of the value at which the iteration ends.
        """
        # a bit of another direction is mixed in: the vector that was right for the map before may be orthogonal to
        # what has become the largest now, and would never get there
        x, size = self._x / _length(self._x) + self._other, 0.0
        length = _length(x)
        for _ in range(iterations):
            y = jvp(x / length)
            image = _length(y)
            if not image:
                return -np.inf
            x = vjp(y / image)
            before, size = size, _length(x)
            if not size:
                return -np.inf
            length = size
            if abs(size - before) <= tolerance * size:
                break
        if math.isfinite(size):  # else every later iteration would begin with nan
            self._x = x
        return float(np.log(size))

    def log_norm_of(self, matrix: Array, iterations: int) -> float:
        """Return the natural log of the spectral norm of a matrix (m, n); -inf for zero, nan if it is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            size = self.log_norm(matrix.__matmul__, matrix.T.__matmul__, iterations)
        scale = max_abs(matrix) if math.isnan(size) else 1.0
        if math.isnan(size) and math.isfinite(scale):  # entries near the largest float64: a product overflowed
            return self.log_norm_of(matrix / scale, iterations) + float(np.log(scale))
        return size

    def project(self, rows: Array) -> None:
        """Express the vectors in other coordinates, x -> rows @ x, (r, n)."""
        self._x, self._other = rows @ self._x, rows @ self._other


def _length(x: Array) -> float:
    """Return the 2-norm of a vector; the quick way where its square is in range."""
    square = float(x.dot(x))  # unlike x @ x, dot does not warn of an overflow
    return math.sqrt(square) if 1 / SAFE_SIZE < square < SAFE_SIZE else norm(x)


def log_spectral_norm(matrix: Array) -> float:
    """Return the natural log of the spectral norm of a matrix (n, n) near one in size, to rounding; -inf for zero."""
    n, gram = len(matrix), matrix.T @ matrix
    try:
        square = scipy.linalg.eigvalsh(gram, subset_by_index=[n - 1, n - 1], check_finite=False)[0]
    except scipy.linalg.LinAlgError:  # LAPACK gives up on many equal eigenvalues, as an orthogonal matrix has them
        square = scipy.linalg.eigvalsh(gram, driver="ev", check_finite=False)[-1]
    return float(np.log(square) / 2) if square > 0 else -np.inf
