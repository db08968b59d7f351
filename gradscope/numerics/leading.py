"""The largest singular values of a product of many matrices, without all the others.

The product is multiplied out as long as the values that are asked for stay in the digits that it has. Before they are
lost, its singular value decomposition is taken, P = Y diag(e^l) U, and from there on columns of Y are multiplied, each
with a separate size e^l: Y stays well conditioned for a while, and then it is done again. Nothing else of U is needed:
its rows stay orthonormal. What is far below the smallest value that is asked for, is left out at such a moment. It is
orthogonal to what stays on the right, whatever comes from the left, so it moves a value by half the square of their
ratio.

Nothing of this is taken on trust. Beside the product go a few random samples of what rounding did to it, and of what
was left out, through the same matrices; `errors` is made of them. Errors of one stretch are followed through the next
ones as `rounding` says.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from gradscope.numerics.formats import EPS, LN2, SMALLEST_NORMAL, Array
from gradscope.numerics.power import PowerIteration
from gradscope.numerics.qr import ROW_ERROR_EPS
from gradscope.numerics.rounding import SAMPLE_FACTOR, RoundingErrors
from gradscope.numerics.scaled import two_sum_error

SAMPLES = 4  # columns of random errors, and of what is left out
DROP_BELOW_NATS = 20.0  # below the smallest value asked for, from where the rest is left out: e^-40 is below eps
LEADING_SPREAD_NATS = 8.0  # by which values asked for may come apart in one stretch: costs e^8 eps = 7e-13
NOISE_ALLOWED = 1e-12  # relative error of the smallest value asked for, from which a stretch is ended
RESCALE_ABOVE = 1e30  # length of a column, or of its inverse, from which the block is scaled by a power of two
SMALLEST_RATE_NATS = 1e-6  # a step, at which values come apart: to look again after a million steps will do
SQUARE_EXP_LIMIT_NATS = 300.0  # e^(2 * 300) is still a float64


class LeadingProduct:
    """A product that matrices are multiplied onto from the left.

    Attributes:
        logs: (r,), natural logs of the sizes of the columns, relative to the largest.
        U: (r, n), orthonormal rows; before anything is left out, the product is `Q` e^logs U.
        due: steps until the values have to be looked at, at the latest.
    """

    def __init__(self, n: int, values: int) -> None:
        """Start from the identity of size n; the `values` largest singular values are asked for."""
        self.values = values
        self.logs: Array = np.zeros(n)
        self.U: Array = np.eye(n)
        self.due = 1
        # columns of the product, samples of rounding errors, samples of what is left out
        self._block: Array = np.hstack([np.eye(n), np.zeros((n, 2 * SAMPLES))])
        self._size = 1.0  # of the largest column
        self._log_largest, self._sum_error = 0.0, 0.0  # natural log, and what adding it up has rounded off
        self._exponent = 0  # powers of two that the block was divided by
        self._multiplied_out = True  # no decomposition was taken yet
        self._log_dropped = -np.inf  # natural log of the scale of what is left out
        self._steps, self._steps_in_all = 0, 0  # of this stretch, and of all
        self._spread = 0.0  # nats between the values asked for, when the stretch began
        self._rng = np.random.default_rng(0)
        self._power = PowerIteration(n, self._rng.standard_normal(n) / np.sqrt(n))
        self._errors = RoundingErrors(n, self._rng)

    @property
    def rank(self) -> int:
        """Number of columns that are left."""
        return len(self.logs)

    @property
    def Q(self) -> Array:  # noqa: N802  as in GradedProduct
        """The columns, without their sizes, (n, r)."""
        return self._block[:, : self.rank]

    @property
    def sizes(self) -> Array:
        """Natural logs of the sizes of the columns, (r,)."""
        return self.logs + self._log_scale

    @property
    def _log_scale(self) -> float:
        return self._log_largest + (self._exponent * LN2 + self._sum_error)

    def multiply(self, matrix: Array) -> None:
        """Multiply by a matrix (n, n)."""
        r, rows = self.rank, np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        block = matrix @ self._block
        rounding = ROW_ERROR_EPS * EPS * self._size * rows[:, None]
        block[:, r : r + SAMPLES] += rounding * self._rng.standard_normal((len(rows), SAMPLES))
        size = float(np.sqrt(np.einsum("ij,ij->j", block[:, :r], block[:, :r]).max(initial=0.0)))
        if size and not 1 / RESCALE_ABOVE < size < RESCALE_ABOVE:
            shift = int(np.frexp(size)[1])
            block, size = np.ldexp(block, -shift), float(np.ldexp(size, -shift))
            self._exponent += shift
        self._block, self._size = block, size
        self._steps, self._steps_in_all, self.due = self._steps + 1, self._steps_in_all + 1, self.due - 1

    def log_norm(self, iterations: int = 1) -> float:
        """Return the natural log of the spectral norm, by power iteration from where the last call ended, from below.

        One iteration is enough once a few values stand out: it goes on with every step.
        """
        weights, Y = np.exp(self.logs), self.Q
        size = self._power.log_norm(lambda x: Y @ (weights * x), lambda y: weights * (Y.T @ y), iterations)
        return size + self._log_scale

    def log_singular(self) -> tuple[Array, Array] | None:
        """Return (natural logs of the singular values, errors in nats), (r,) each, largest first; None: not determined.

        Values beyond those asked for may be wrong: they are small, and nothing depends on their digits.
        """
        if self._multiplied_out:
            values = scipy.linalg.svdvals(self.Q, check_finite=False)
            noise = SAMPLE_FACTOR * self._noise() + EPS * values[0] * np.sqrt(len(values))
            if noise <= NOISE_ALLOWED * values[self.values - 1]:
                logs = np.log(np.maximum(values, SMALLEST_NORMAL))
                self._plan(logs)
                return logs + self._log_scale, noise / np.maximum(values, noise)
        return self._decompose()

    def _noise(self) -> float:
        """Return the size of what rounding did in this stretch to a column: the root mean square over samples."""
        errors = self._block[:, self.rank : self.rank + SAMPLES]
        return float(np.sqrt((errors**2).sum() / SAMPLES))

    def _plan(self, logs: Array) -> None:
        """Set when the values have to be looked at again, from how quickly they came apart."""
        spread = float(logs[0] - logs[self.values - 1])
        rate = max(spread - self._spread, 0.0) / max(self._steps, 1)
        left = LEADING_SPREAD_NATS - (spread - self._spread) if self._multiplied_out else LEADING_SPREAD_NATS
        self.due = int(np.clip(left / max(rate, SMALLEST_RATE_NATS), 1, max(1, self._steps_in_all)))

    def _decompose(self) -> tuple[Array, Array] | None:
        """Take the singular value decomposition, leave out what is far below, and begin a new stretch."""
        # 1. Y diag(e^l) = u diag(s) v^T
        Y, weights = self.Q, np.exp(self.logs)
        svd = _svd(Y * weights, graded=not self._multiplied_out)
        if svd is None or not svd[1][self.values - 1] > 0:
            return None
        u, s, vt = svd
        # 2. errors of this stretch, and what became of those before
        self._count_errors(Y, u, s, weights[:, None] * vt.T / np.maximum(s, SMALLEST_NORMAL))
        # 3. what is far below the last value asked for goes to the samples of what is left out
        logs = np.log(np.maximum(s, SMALLEST_NORMAL) / s[0])
        r = int(np.count_nonzero(logs >= logs[self.values - 1] - DROP_BELOW_NATS))
        self._grow(float(np.log(s[0])))
        rest = self._left_out(u[:, r:], logs[r:])
        along = u[:, :r].T @ rest
        rest -= u[:, :r] @ along  # what lies along columns that stay, has become part of them
        self._errors.select(slice(0, r))
        ratio = np.exp(2 * np.minimum(self._log_dropped - logs[:r], SQUARE_EXP_LIMIT_NATS))
        self._errors.doubt = self._errors.doubt + SAMPLE_FACTOR**2 / 2 * (along**2).mean(axis=1) * ratio
        # 4. a new stretch from the columns that stay
        self._plan(logs)
        self._multiplied_out = False
        self._steps, self._spread = 0, float(logs[0] - logs[self.values - 1])
        self.U, self.logs = vt[:r] @ self.U, logs[:r]
        self._power.project(vt[:r])
        self._block = np.hstack([u[:, :r], np.zeros((len(u), SAMPLES)), rest])
        self._size = 1.0
        return self.sizes, self._errors.total()

    def _count_errors(self, Y: Array, u: Array, s: Array, C: Array) -> None:
        """Count what rounding did since the last decomposition: Y = u A and u = Y C are the change of columns."""
        errors = self._block[:, self.rank : self.rank + SAMPLES]
        isotropic = self._noise() / np.sqrt(len(Y))
        seen = np.maximum(np.sqrt(((u.T @ errors) ** 2).mean(axis=1)), isotropic)
        # columns of C that belong to what is far below are beyond what can be squared
        top = np.maximum(np.abs(C).max(axis=0), SMALLEST_NORMAL)
        norms = top * np.sqrt(((C / top) ** 2).sum(axis=0))
        # of the decomposition itself: relative to the largest value for a plain one, to each value for Jacobi's
        plain = np.sqrt(len(Y)) / np.maximum(s / s[0], EPS)
        digits = EPS * (plain if self._multiplied_out else 2 * len(Y))
        self._errors.propagate(u.T @ Y, C, seen, norms, seen * norms + digits)

    def _grow(self, by: float) -> None:
        """Add to the log of the largest column, nats; what the sum rounds off is carried along."""
        total = self._log_largest + by
        self._sum_error += two_sum_error(self._log_largest, by, total)
        self._log_largest = total
        self._log_dropped -= by  # all sizes are relative to the largest

    def _left_out(self, columns: Array, logs: Array) -> Array:
        """Return samples of all that was left out, (n, SAMPLES), in a new scale."""
        old, before = self._block[:, self.rank + SAMPLES :], self._log_dropped
        self._log_dropped = max(before, float(logs[0]) if logs.size else -np.inf)
        if np.isneginf(self._log_dropped):
            return np.zeros_like(old)
        weights = np.exp(logs - self._log_dropped)[:, None]
        new = columns @ (weights * self._rng.standard_normal((logs.size, SAMPLES)))
        return np.asarray(new + old * np.exp(before - self._log_dropped))


def _svd(X: Array, *, graded: bool) -> tuple[Array, Array, Array] | None:
    """Return the singular value decomposition of X; None where LAPACK does not converge.

    Args:
        X: (n, r).
        graded: whether columns are of very different size. One-sided Jacobi keeps the small ones (Drmac & Veselic
            2008), where the plain decomposition is wrong by eps of the largest.
    """
    if not graded:
        try:
            u, s, vt = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return u, s, vt
    s, u, v, work, _, info = lapack.dgejsv(np.asfortranarray(X), joba=0, jobu=0, jobv=0, jobr=0, jobt=0, jobp=0)
    if info != 0 or not np.isfinite(s).all():
        return None
    return u[:, : len(s)], s * (work[0] / work[1]), v.T
