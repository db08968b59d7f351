"""Products of many matrices with every singular value kept: P = Q diag(e^logs) U.

Multiplied out, a product of 200 Jacobians is a matrix of numerical rank one: rounding at 1e-16 of the largest
singular value covers the rest. Here Q has orthonormal columns, U stays well conditioned, and the sizes e^l are
carried as logarithms, so they may span any number of decades. One more factor J costs J Q, a QR decomposition
and a triangular product; columns are put into the order of their size first, and what is above the diagonal of R
is scaled by e^(l_j - l_i) before it joins U. Stewart (1995), "On graded QR decompositions of products of
matrices"; see `graded_svd` for the singular values, and `rounding` for what is known of their errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradscope.numerics.formats import Array
from gradscope.numerics.graded_svd import flip, graded_ratio, log_singular_values
from gradscope.numerics.interval import REDO_ABOVE_NATS, next_interval
from gradscope.numerics.power import POWER_SETTLED_RELATIVE, PowerIteration
from gradscope.numerics.qr import SortedQR, column_norms, sorted_qr
from gradscope.numerics.rounding import RoundingErrors
from gradscope.numerics.scaled import in_range, log_norm, two_sum_error

Map = Callable[[Array], Array]
Factor = tuple[Map, bool]  # a map of a block of columns; whether its rows may be of very different size (steep)

GRADED_SPREAD_NATS = 1.0  # of columns in an interval: costs every value a few eps
RECONDITION_ABOVE = 1e3  # entry of U from which it is made well conditioned again: costs three digits
MAX_ORDERINGS = 6  # orders of the columns that are tried, until U stays well conditioned


class GradedProduct:
    """A product that maps are multiplied onto from the left.

    Attributes:
        Q: (n, r), orthonormal columns.
        logs: (r,), natural logs of the sizes; r is smaller than the number of columns where others are exactly zero.
        U: (r, b), well conditioned.
    """

    def __init__(self, frame: Array, *, in_order: bool = False, spread_nats: float = GRADED_SPREAD_NATS) -> None:
        """Start from orthonormal columns.

        Args:
            frame: (n, b).
            in_order: whether columns keep the order that they have, as orthogonal iteration needs it.
            spread_nats: of columns, after which they are made orthogonal again.
        """
        self.in_order, self.spread_nats = in_order, spread_nats
        self.Q: Array = np.array(frame, float)
        self.columns = self.Q.shape[1]
        self.logs: Array = np.zeros(self.columns)
        self.U: Array = np.eye(self.columns)
        self._errors = RoundingErrors(self.columns, np.random.default_rng(0))
        self._sum_errors: Array = np.zeros(self.columns)  # what adding up `logs` has rounded off
        self._block = self.Q  # Q times the pending maps
        self._pending: list[Map] = []
        self._interval = 1
        self._power = PowerIteration(self.columns)

    def multiply(self, factors: Sequence[Factor]) -> None:
        """Multiply by the maps of one step, the first one first.

        Right after a steep map, whose rows may be of very different size, columns are made orthogonal: a product with
        the next map would round off the small rows. Otherwise that is done when it is due.
        """
        for apply, steep in factors:
            if not self.logs.size:
                return  # zero stays zero
            with np.errstate(over="ignore", invalid="ignore"):  # an interval that overflows is repeated
                self._block = apply(self._block)
            self._pending.append(apply)
            if steep:
                self.settle(rows_separate=True)
        if len(self._pending) >= self._interval and not any(steep for _, steep in factors):
            self.settle()

    def settle(self, *, rows_separate: bool = False) -> None:
        """Decompose the block, and bring Q, logs and U up to date.

        Args:
            rows_separate: whether the last map was steep: its small rows are exact, so that a wide spread of columns
                is no reason to repeat the interval.
        """
        pending, self._pending = self._pending, []
        if pending and not self._decompose(len(pending), rows_separate=rows_separate):
            # the interval was too long for one QR decomposition: once more, one step at a time
            self._block, self._interval = self.Q, 1
            for apply in pending:
                if self.logs.size:
                    self._block = apply(self.Q)
                    self._decompose(1)

    def _decompose(self, steps: int, *, rows_separate: bool = False) -> bool:
        """Turn the block into new Q, logs and U; return False, and change nothing, where the interval was too long."""
        if steps > 1 and not in_range(self._block):
            return False
        # 1. columns in the order of their size, so that R_ij e^(l_j - l_i) stays bounded
        weight = log_norm(self._block, np.zeros(self._block.shape[1])) + self.logs
        order = np.argsort(np.isneginf(weight) if self.in_order else -weight, kind="stable")
        for _ in range(MAX_ORDERINGS):
            # 2. block = Q R, and by how much each column has grown
            qr = sorted_qr(self._block[:, order])
            d = np.abs(np.diag(qr.R))
            live = d > 0
            with np.errstate(divide="ignore"):
                growth = np.log(d)
            if steps > 1 and not rows_separate and _too_wide(growth, live):
                return False
            # 3. R with its rows divided by the new sizes: the factor that joins U
            X = _scaled_factor(qr.R, d, live, self.logs[order])
            if self.in_order or np.abs(X).max(initial=0.0) <= RECONDITION_ABOVE:
                break
            order = order[_by_what_is_left(qr.R, self.logs[order])]
        with np.errstate(over="ignore", invalid="ignore"):
            self.U = X @ self.U[order]
        self._count_errors(order, live, qr)
        # 4. add up the logs; the rounding of this sum is carried along
        before, growth = self.logs[order][: len(d)], growth[live]
        logs = before[live] + growth
        self._sum_errors = self._sum_errors[order][: len(d)][live] + two_sum_error(before[live], growth, logs)
        self.Q, self.logs = qr.Q[:, live], logs
        self._block = self.Q
        self._interval = next_interval(steps, growth, self.spread_nats)
        if not self.in_order and self.U.size and np.abs(self.U).max() > RECONDITION_ABOVE:
            self._recondition()
        return True

    def _count_errors(self, order: Array, live: Array, qr: SortedQR) -> None:
        """Count what rounding did in one decomposition."""
        self._errors.select(order)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = column_norms(qr.inverse) / qr.size
            self._errors.propagate(qr.R, qr.inverse / qr.size, qr.seen, norms, qr.doubt)
        self._errors.select(live)

    def _recondition(self) -> None:
        """Make U orthogonal up to a triangular factor close to one: P = Q D U stays as it is."""
        order = np.argsort(-self.logs, kind="stable")
        sizes = self.logs[order]
        lower, right = flip(sizes, self.U[order])
        q, R = np.linalg.qr(lower)
        d = np.abs(np.diag(R))
        X = np.triu(R / d[:, None] * graded_ratio(sizes, sizes))
        self.Q, self.logs, self.U = self.Q[:, order] @ q, sizes + np.log(d), X @ right
        self._sum_errors = self._sum_errors[order]
        self._errors.select(order)
        self._errors.rotate(q)
        self._block = self.Q

    @property
    def sizes(self) -> Array:
        """`logs`, with what adding them up has rounded off, (r,), nats."""
        return self.logs + self._sum_errors

    def log_norm(self, iterations: int = 3) -> float:
        """Return the natural log of the spectral norm, by power iteration from where the last call ended.

        From below, and to a few per cent or better; `log_singular` is exact.
        """
        if not self.logs.size:
            return -np.inf
        top = float(self.logs.max())
        scale = float(np.abs(self._block).max())  # maps that are still pending may have made it large, or zero
        if not scale:
            return -np.inf
        block, U = self._block / scale * np.exp(self.logs - top), self.U
        size = self._power.log_norm(
            lambda v: block @ (U @ v), lambda u: U.T @ (block.T @ u), iterations, POWER_SETTLED_RELATIVE
        )
        return size + float(np.log(scale)) + top

    def log_singular(self) -> Array:
        """Return natural logs of all singular values, (b,), largest first; -inf: exactly zero."""
        self.settle()
        out = np.full(self.columns, -np.inf)
        out[: self.logs.size] = log_singular_values(self.sizes, self.U)
        return out

    def errors(self) -> Array:
        """Return by how much rounding may have moved each of `log_singular`, matched by order of size, nats, (b,)."""
        self.settle()
        out = np.zeros(self.columns)
        out[: self.logs.size] = self._errors.total()[np.argsort(-self.logs, kind="stable")]
        return out


def _too_wide(growth: Array, live: Array) -> bool:
    """Return whether columns have spread so far within an interval that the smallest has lost its digits."""
    return not (live.size and live.all()) or bool(np.ptp(growth[live]) > REDO_ABOVE_NATS)


def _scaled_factor(R: Array, d: Array, live: Array, sizes: Array) -> Array:
    """Return R_ij e^(l_j) / (d_i e^(l_i)) in the rows that are live, (r, b)."""
    with np.errstate(over="ignore", invalid="ignore"):
        X = np.triu(R)[live] / d[live, None] * graded_ratio(sizes[: len(d)][live], sizes)
    return np.where(R[live] != 0, X, 0)  # 0 e^700 / 0 is nan


def _by_what_is_left(R: Array, sizes: Array) -> Array:
    """Return an order of columns by what is left of each beside those before it: dependent ones come later."""
    columns = np.arange(R.shape[1])
    with np.errstate(divide="ignore"):
        left = np.log(np.abs(R[np.minimum(columns, len(R) - 1), columns]))
    return np.argsort(-(left + sizes), kind="stable")
