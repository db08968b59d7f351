"""What has rounding done to the sizes of a graded product?

An error in one decomposition moves the sizes at once (`doubt`), and later too: it turns a column towards others, and
where such a direction grows more than the column did, it moves the size of that column in a later step. A random sample
of these turns goes through the same matrices as the columns, and what it moves is counted. Estimates, to first order.
"""

from __future__ import annotations

import numpy as np

from gradscope.numerics.formats import Array

SAMPLE_FACTOR = 3.0  # times one sample of an error, for its size
TURN_LIMIT = 1e6  # nats of error, from where it does not matter how many, and their product must not overflow


class RoundingErrors:
    """Errors of the logs of r sizes.

    Attributes:
        doubt: (r,), what decompositions did at once, nats.
        moved: (r,), by what a sample of turns has moved each log later on, nats.
    """

    def __init__(self, columns: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self.doubt: Array = np.zeros(columns)
        self.moved: Array = np.zeros(columns)
        self._turned: Array = np.zeros((columns, columns))  # [i, j]: by how much column j towards column i

    def propagate(self, A: Array, C: Array, seen: Array, norms: Array, doubt: Array) -> None:
        """Count the errors of one decomposition, and follow what became of earlier ones.

        Args:
            A: (r, b), the b old columns in terms of the r new ones.
            C: (r, r), the new columns in terms of the first r old ones.
            seen: (r,), size of the error along each new column.
            norms: (r,), lengths of the columns of C.
            doubt: (r,), by how much the error moves the log of each size at once, nats.
        """
        rank = len(C)  # less than b where columns were lost
        with np.errstate(over="ignore", invalid="ignore"):
            turned = A @ self._turned[:, :rank] @ C
            # below the diagonal: a turn towards an earlier column is in R, and moves nothing
            turned += np.tril((seen[:, None] * norms) * self._rng.standard_normal(turned.shape), -1)
            turned = np.clip(np.nan_to_num(turned, nan=TURN_LIMIT), -TURN_LIMIT, TURN_LIMIT)
        self.doubt = self.doubt[:rank] + doubt
        self.moved = self.moved[:rank] + np.diag(turned)
        self._turned = np.tril(turned, -1)

    def select(self, columns: Array | slice) -> None:
        """Keep some of the columns, in the order given."""
        self.doubt, self.moved = self.doubt[columns], self.moved[columns]
        self._turned = self._turned[columns][:, columns]

    def rotate(self, q: Array) -> None:
        """Express turns in new columns, which are the old ones times the orthogonal matrix q."""
        self._turned = np.tril(q.T @ self._turned @ q, -1)

    def total(self) -> Array:
        """Return by how much rounding may have moved the log of each size, on the safe side, nats, (r,)."""
        return np.asarray(self.doubt + SAMPLE_FACTOR * np.abs(self.moved))
