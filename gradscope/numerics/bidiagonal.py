"""The largest singular value to all digits, by bidiagonalisation from a vector that is nearly right.

Golub & Kahan (1965), with the vectors of one side made orthogonal again, which is enough (Simon & Zha 2000). The
iteration ends when a singular value is known to `NORM_TOLERANCE`. Were that the second one, the first would be larger
by `NORM_TOLERANCE` over the share of its vector in the start at most.
"""

from __future__ import annotations

import math

import numpy as np

from gradscope.numerics.formats import EPS, Array

NORM_TOLERANCE = 1e-12  # relative, of a singular value
START_RANDOM_SHARE = 0.3  # of a fixed random direction in the first vector: what has become largest is not missed


class LargestSingularValue:
    """The largest singular value of one matrix (n, n) after another, each from the left vector of the one before.

    How many products the last one took says when it is worth to look at the small matrix B the next time.
    """

    def __init__(self, n: int) -> None:
        other = np.random.default_rng(0).standard_normal(n)
        self._other = other * (START_RANDOM_SHARE / np.linalg.norm(other))
        self._u: Array = np.zeros(n)
        self._look = 1  # products after which the singular values of B are taken

    def of(self, A: Array) -> float:
        """Return the largest singular value of A.

        After j products A^T X = Y B, A Y = X B^T + r e_j^T, with B (j, j) upper bidiagonal. A value of B, with left
        singular vector y, is a singular value of A to |r y_j|.
        """
        n, x = len(A), self._u + self._other
        X, B = np.empty((n, n)), np.zeros((n, n))
        X[0], beta = x / np.linalg.norm(x), 0.0
        size, vector, y = 0.0, X[0], np.zeros(n)
        for j in range(n):
            # 1. one more column of Y and of X, with the entries of B between them
            y = X[j] @ A - beta * y
            B[j, j] = alpha = _length(y)
            y = y / alpha if alpha else y
            r = A @ y
            r -= alpha * X[j]
            r -= (X[: j + 1] @ r) @ X[: j + 1]  # X loses orthogonality as values converge, and would find them twice
            beta = _length(r)
            # 2. the largest singular value of B, and how far it is from one of A
            last = j + 1 == n or beta <= EPS * (alpha + size)
            if last or j >= self._look:
                left, values, rows = np.linalg.svd(B[: j + 1, : j + 1])
                size, vector = float(values[0]), rows[0] @ X[: j + 1]
                if last or beta * abs(float(left[j, 0])) <= NORM_TOLERANCE * size:
                    break
            X[j + 1] = r / beta
            B[j, j + 1] = beta
        self._u, self._look = vector, max(1, j - 1 if j > self._look else 3 * j // 4)
        return size


def _length(x: Array) -> float:
    return math.sqrt(float(x @ x))
