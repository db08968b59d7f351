"""The largest singular values of a product of many matrices, without all the others.

The product is multiplied out as long as the values that are asked for stay in the digits that it has. Before they are
lost, its singular value decomposition is taken, P = Y diag(e^l) U, and from there on columns of Y are multiplied, each
of its own size e^l: Y stays well conditioned for a while, and then it is done again. Nothing else of U is needed: its
rows stay orthonormal. What is far below the smallest value that is asked for, is left out at such a moment. It is
orthogonal to what is kept on the right, whatever comes from the left, so it moves a value by half the square of their
ratio.

Nothing of this is taken on trust. Beside the product go a few random samples of what rounding did to it, and of what
was left out, through the same matrices; `errors` is made of them. Errors of one stretch are followed through the next
ones as in `_graded`: they turn columns towards others, and where these grow more, that moves a size.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from gradscope.maps.jacobian import Array
from gradscope.numerics.graded import EACH
from gradscope.numerics.power import MIXED
from gradscope.numerics.scaled import LN2

__all__ = ["Leading"]

EPS = float(np.finfo(float).eps)
SAMPLES = 4  # of errors, and of what is left out
SAMPLED = 3.0  # times the root mean square of samples, for a size
FAR = 20.0  # nats below the smallest value asked for, from where the rest is left out: e^-40 is below eps
EASY = 8.0  # nats that values asked for may come apart in one stretch: costs e^8 eps = 7e-13
FINE = 1e-12  # nats of error from which a stretch is ended
WIDE = 1e30  # size of a block beyond which, or below its inverse, it is scaled


class Leading:
    """A product that matrices are multiplied onto from the left.

    Attributes:
        logs: (r,), natural logs of the sizes of the columns, relative to the largest.
        U: (r, n), orthonormal rows; before anything is left out, the product is `Q` e^logs U.
        due: steps until the values have to be looked at, at the latest.
    """

    def __init__(self, n: int, keep: int) -> None:
        """Start from the identity; `keep` values are asked for."""
        self.keep = keep
        self.logs: Array = np.zeros(n)
        self.U: Array = np.eye(n)
        self.due = 1
        self._block: Array = np.hstack([np.eye(n), np.zeros((n, 2 * SAMPLES))])  # columns, errors, what is left out
        self._size = 1.0  # of the largest column
        self._base, self._lost = 0.0, 0.0  # natural log of the largest, and what adding it up has rounded off
        self._exponent = 0
        self._plain = True  # no decomposition was taken yet
        self._left = -np.inf  # natural log of the scale of what is left out
        self._steps, self._total = 0, 0  # of this stretch, and of all
        self._apart = 0.0  # nats between the values asked for, when it began
        self._doubt: Array = np.zeros(n)
        self._moved: Array = np.zeros(n)
        self._turned: Array = np.zeros((n, n))
        self._rng = np.random.default_rng(0)
        self._other: Array = self._rng.standard_normal(n) * (MIXED / np.sqrt(n))
        self._probe: Array = self._other

    @property
    def rank(self) -> int:
        """Number of columns that are left."""
        return len(self.logs)

    @property
    def Q(self) -> Array:  # noqa: N802  as in `_graded`
        """The columns, without their sizes, (n, r)."""
        return self._block[:, : self.rank]

    @property
    def sizes(self) -> Array:
        """Natural logs of the sizes of the columns."""
        return self.logs + self._scale

    @property
    def _scale(self) -> float:
        return self._base + (self._exponent * LN2 + self._lost)

    def multiply(self, matrix: Array) -> None:
        """Multiply by a matrix (n, n)."""
        r, rows = self.rank, np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        block = matrix @ self._block
        fresh = EACH * EPS * self._size * rows[:, None]
        block[:, r : r + SAMPLES] += fresh * self._rng.standard_normal((len(rows), SAMPLES))
        size = float(np.sqrt(np.einsum("ij,ij->j", block[:, :r], block[:, :r]).max(initial=0.0)))
        if size and not 1 / WIDE < size < WIDE:
            shift = int(np.frexp(size)[1])
            block, size = np.ldexp(block, -shift), float(np.ldexp(size, -shift))
            self._exponent += shift
        self._block, self._size = block, size
        self._steps, self._total, self.due = self._steps + 1, self._total + 1, self.due - 1

    def log_norm(self, iterations: int = 1) -> float:
        """Return the natural log of the spectral norm, by power iteration from where the last call ended, from below.

        One iteration is enough once a few values stand out: it goes on with every step.
        """
        weights, Y, size = np.exp(self.logs), self.Q, 0.0
        x = self._probe / np.sqrt(self._probe @ self._probe) + self._other
        for _ in range(iterations):
            y = Y @ (weights * (x / np.sqrt(x @ x)))
            there = float(np.sqrt(y @ y))
            if not there:
                return -np.inf
            x = weights * (Y.T @ (y / there))
            size = float(np.sqrt(x @ x))
        self._probe = x
        return float(np.log(size)) + self._scale

    def look(self) -> tuple[Array, Array] | None:
        """Return (natural logs of the singular values, errors), (r,) each, largest first; None where they are lost.

        Those beyond `keep` may be wrong: they are small, and nothing depends on their digits.
        """
        if self._plain:
            values = scipy.linalg.svdvals(self.Q, check_finite=False)
            noise = SAMPLED * self._noise() + EPS * values[0] * np.sqrt(len(values))
            if noise <= FINE * values[self.keep - 1]:
                logs = np.log(np.maximum(values, np.finfo(float).tiny))
                self._plan(logs)
                return logs + self._scale, noise / np.maximum(values, noise)
        return self._again()

    def _noise(self) -> float:
        """Return the size of what rounding did in this stretch to a column: the root mean square over samples."""
        errors = self._block[:, self.rank : self.rank + SAMPLES]
        return float(np.sqrt((errors**2).sum() / SAMPLES))

    def _plan(self, logs: Array) -> None:
        """Say when to look again, from how quickly the values came apart."""
        apart = float(logs[0] - logs[self.keep - 1])
        rate = max(apart - self._apart, 0.0) / max(self._steps, 1)
        left = EASY - (apart - self._apart) if self._plain else EASY
        self.due = int(np.clip(left / max(rate, 1e-6), 1, max(1, self._total)))

    def _again(self) -> tuple[Array, Array] | None:
        """Take the decomposition, leave out what is far below, and begin a new stretch."""
        Y, weights = self.Q, np.exp(self.logs)
        found = _decomposed(Y * weights, graded=not self._plain)
        if found is None or not found[1][self.keep - 1] > 0:
            return None
        u, s, vt = found
        A, C = u.T @ Y, weights[:, None] * vt.T / np.maximum(s, np.finfo(float).tiny)  # Y = u A, and u = Y C
        errors = self._block[:, self.rank : self.rank + SAMPLES]
        isotropic = self._noise() / np.sqrt(len(Y))
        seen = np.maximum(np.sqrt(((u.T @ errors) ** 2).mean(axis=1)), isotropic)
        top = np.maximum(
            np.abs(C).max(axis=0), np.finfo(float).tiny
        )  # beyond what can be squared, for what is far below
        size = top * np.sqrt(((C / top) ** 2).sum(axis=0))
        turned = A @ self._turned @ C
        turned += np.tril(seen[:, None] * size * self._rng.standard_normal(turned.shape), -1)
        digits = EPS * (np.sqrt(len(Y)) / np.maximum(s / s[0], EPS) if self._plain else 2 * len(Y))
        doubt, moved = self._doubt + seen * size + digits, self._moved + np.diag(turned)
        logs = np.log(np.maximum(s, np.finfo(float).tiny) / s[0])
        r = int(np.count_nonzero(logs >= logs[self.keep - 1] - FAR))
        self._grow(float(np.log(s[0])))
        rest = self._rest(u[:, r:], logs[r:])
        along = u[:, :r].T @ rest
        rest -= u[:, :r] @ along  # what lies along those that are kept, has become part of them
        doubt[:r] += SAMPLED**2 / 2 * (along**2).mean(axis=1) * np.exp(2 * np.minimum(self._left - logs[:r], 300))
        self._plan(logs)
        self._plain = False
        self._steps, self._apart = 0, float(logs[0] - logs[self.keep - 1])
        self.U, self.logs, self._probe = vt[:r] @ self.U, logs[:r], vt[:r] @ self._probe
        self._other = vt[:r] @ self._other
        self._doubt, self._moved, self._turned = doubt[:r], moved[:r], np.tril(turned, -1)[:r, :r]
        self._block = np.hstack([u[:, :r], np.zeros((len(u), SAMPLES)), rest])
        self._size = 1.0
        return self.sizes, self._doubt + SAMPLED * np.abs(self._moved)

    def _grow(self, by: float) -> None:
        """Count what the largest column has grown by, and what adding it rounds off (Knuth's two-sum)."""
        total = self._base + by
        of_by = total - self._base
        self._lost += (self._base - (total - of_by)) + (by - of_by)
        self._base = total
        self._left -= by  # all sizes are relative to the largest

    def _rest(self, dropped: Array, logs: Array) -> Array:
        """Return samples of all that was left out, (n, SAMPLES), in a new scale."""
        old, before = self._block[:, self.rank + SAMPLES :], self._left
        now = float(logs[0]) if logs.size else -np.inf
        self._left = max(before, now)
        if np.isneginf(self._left):
            return np.zeros_like(old)
        new = dropped @ (np.exp(logs - self._left)[:, None] * self._rng.standard_normal((logs.size, SAMPLES)))
        return np.asarray(new + old * np.exp(before - self._left))


def _decomposed(X: Array, *, graded: bool) -> tuple[Array, Array, Array] | None:
    """Return the singular value decomposition of X; None where it is not found; graded: columns differ in size."""
    if not graded:
        try:
            u, s, vt = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return u, s, vt
    # one-sided Jacobi: columns of different size are no obstacle (Drmac & Veselic 2008)
    s, u, v, work, _, info = lapack.dgejsv(np.asfortranarray(X), joba=0, jobu=0, jobv=0, jobr=0, jobt=0, jobp=0)
    if info != 0 or not np.isfinite(s).all():
        return None
    return u[:, : len(s)], s * (work[0] / work[1]), v.T
