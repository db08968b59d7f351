"""Products of many matrices with every singular value kept: P = Q diag(e^logs) U.

Multiplied out, a product of 200 Jacobians is a matrix of numerical rank one: rounding at 1e-16 of the largest
singular value covers the rest. Here Q has orthonormal columns, U stays well conditioned, and the sizes e^l are
carried as logarithms, so they may span any number of decades. One more factor J costs J Q, a QR decomposition
and a triangular product; columns are put into the order of their size first, and what is above the diagonal of R
is scaled by e^(l_j - l_i) before it joins U. Stewart (1995), "On graded QR decompositions of products of
matrices"; the singular values come from one-sided Jacobi, LAPACK's gejsv (Drmac & Veselic 2008).

Rows of very different size, as saturated units make them, are sorted before the QR, which keeps the small ones
(Cox & Higham 1998). What rounding may have done to each size is added up on the way: at once, as `doubt`, and
later, where a small error in a direction grows faster than the column that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from gradscope.maps.jacobian import Array, Linear
from gradscope.maps.linear import largest
from gradscope.numerics.power import direction, power
from gradscope.numerics.scaled import log_norm

__all__ = ["HARD", "SMALLEST", "Graded", "in_range", "next_interval", "sorted_qr", "windows"]

Map = Callable[[Array], Array]
EPS = float(np.finfo(float).eps)
EACH = 32.0  # in eps, what a row may be wrong by: it is a sum over gates, which may cancel (seen: up to 22)
SMALLEST = 5e-324  # what a number of float64 may be wrong by in any case
EASY = 1.0  # nats of spread after which columns are made orthogonal again: costs a few eps
HARD = 13.8  # nats of spread, a factor 10^6, from which an interval is gone through again step by step
LARGE = 100.0  # nats by which a block may grow or shrink in between
FAR = 1e100  # size of a block beyond which, or below its inverse, its steps are gone through one by one
LONGEST = 32  # steps in between, at most
STEEP = 1e3  # an entry of U from which it is made well conditioned again
BEYOND = 1e6  # nats of error, from where it does not matter how many
SAMPLED = 3.0  # times one sample of an error, for its size
ORDERINGS = 6  # of the columns that are tried, until U stays well conditioned
RANGE = 500.0  # nats of singular values that one call of gejsv gets: all of it is in the range of float64
APART = 45.0  # nats from which two singular values do not touch one another: e^-45 is 1e-4 of eps


def next_interval(steps: int, logs: Array, easy: float) -> int:
    """Return how many steps the next interval may have, from the log growths of the last one and its length.

    Args:
        steps: how many it had.
        logs: what its columns grew by, nats.
        easy: nats of spread between the columns that one interval may have.
    """
    known = logs[np.isfinite(logs)]
    if not known.size:
        return 1
    spread, size = float(np.ptp(known)), float(np.abs(known).max())
    per_step = max(spread / easy, size / LARGE, 1 / LONGEST / 2) / steps
    return int(np.clip(1 / per_step, 1, min(LONGEST, 2 * steps)))


def in_range(block: Array) -> bool:
    """Tell whether a block of several steps is far from where numbers overflow, or become zero."""
    return 1 / FAR < largest(block) < FAR


class Decomposed(NamedTuple):
    """C = Q R, with rows sorted on the way.

    Attributes:
        Q: (n, r), orthonormal columns; r is less than b where C has fewer rows that are not zero.
        R: (r, b), upper triangular.
        size: (r,), of the diagonal of R; one where that is exactly zero.
        inverse: (r, r), of the square part of R with its rows divided by `size`.
        seen: (r,), an error of eps in every row of C, seen along the columns of Q.
        doubt: (r,), by how much, relatively, that may have moved each diagonal entry of R; inf where only rounding
            keeps it from zero.
    """

    Q: Array
    R: Array
    size: Array
    inverse: Array
    seen: Array
    doubt: Array


def sorted_qr(C: Array) -> Decomposed:
    """Decompose C (n, b) with rows sorted by size first; rows of zeros are left out."""
    size = np.abs(C).max(axis=1, initial=0.0)
    order = np.argsort(-size, kind="stable")
    order = order[: int(np.count_nonzero(size))]
    if not order.size:
        none = np.zeros(0)
        return Decomposed(np.zeros((len(C), 0)), np.zeros((0, C.shape[1])), none, np.zeros((0, 0)), none, none)
    q, R = scipy.linalg.qr(C[order], mode="economic", check_finite=False)
    Q = np.zeros((len(C), q.shape[1]))
    Q[order] = q
    d = np.abs(np.diag(R))
    met = np.flatnonzero((d == 0) & R.any(axis=0)[: len(d)])  # zero by rounding: as good as any number of this size
    R[met, met] = np.maximum(EPS * np.abs(R[:, met]).max(axis=0, initial=0.0), SMALLEST)
    seen = np.maximum(EACH * EPS * np.sqrt(len(C)) * _column_norms(size[order, None] * q), SMALLEST)
    d = np.abs(np.diag(R))
    d = np.where(d > 0, d, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.triu(R[:, : len(d)] / d[:, None], 1) + np.diag(np.where(np.diag(R) < 0, -1.0, 1.0))
        inverse = lapack.dtrtri(unit)[0]
        # log r_jj moves by the j-th diagonal entry of Q^T (error of C) R^-1
        doubt = np.nan_to_num(seen / d * _column_norms(inverse), nan=np.inf, posinf=np.inf)
    doubt[met] = np.inf
    return Decomposed(Q, R, d, inverse, seen, doubt)


def _column_norms(matrix: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_norm(matrix, np.zeros(matrix.shape[1]))))


class Graded:
    """A product that maps are multiplied onto from the left.

    Attributes:
        Q: (n, r), orthonormal columns.
        logs: (r,), natural logs of the sizes; r is smaller than the number of columns where others are exactly zero.
        U: (r, b), well conditioned.
        doubt: (r,), by how much rounding may have moved each of `logs` as they were found, to first order.
    """

    def __init__(self, frame: Array, *, in_order: bool = False, easy: float = EASY) -> None:
        """Start from orthonormal columns; `in_order` keeps the order that they have; `easy`: see `next_interval`."""
        self.in_order, self.easy = in_order, easy
        self.Q: Array = np.array(frame, float)
        self.columns = self.Q.shape[1]
        self.logs: Array = np.zeros(self.columns)
        self.U: Array = np.eye(self.columns)
        self.doubt: Array = np.zeros(self.columns)
        self._moved: Array = np.zeros(self.columns)  # by what a sample of errors has moved `logs` later on
        self._turned: Array = np.zeros((self.columns, self.columns))  # [i, j]: by how much column j towards column i
        self._rng = np.random.default_rng(0)
        self._lost: Array = np.zeros(self.columns)  # what adding up `logs` has rounded off
        self._block = self.Q
        self._pending: list[Map] = []
        self._interval = 1
        self._probe = direction(self.columns)

    def push(self, maps: Sequence[tuple[Map, bool]]) -> None:
        """Multiply by the maps of one step, (map, steep), the first one first.

        A map is steep where its rows may be of very different size: columns are made orthogonal right after it.
        Otherwise that is done when it is time to.
        """
        for apply, steep in maps:
            if not self.logs.size:
                return  # zero stays zero
            with np.errstate(over="ignore", invalid="ignore"):  # it is gone through again
                self._block = apply(self._block)
            self._pending.append(apply)
            if steep:
                self.settle(careful=True)
        if len(self._pending) >= self._interval and not any(steep for _, steep in maps):
            self.settle()

    def settle(self, *, careful: bool = False) -> None:
        """Bring Q, logs and U up to date; `careful` says that the last map's rows were kept apart."""
        pending, self._pending = self._pending, []
        if pending and not self._factor(len(pending), careful=careful):
            for apply in pending:  # too much for one QR: once more, one at a time
                if self.logs.size:
                    self._block = apply(self.Q)
                    self._factor(1)

    def _factor(self, steps: int, *, careful: bool = False) -> bool:
        """Turn the block into new Q, logs and U; return False, and change nothing, where the interval was too long."""
        if steps > 1 and not in_range(self._block):
            return self._again()
        weight = log_norm(self._block, np.zeros(self._block.shape[1])) + self.logs
        order = np.argsort(np.isneginf(weight) if self.in_order else -weight, kind="stable")
        for _ in range(ORDERINGS):
            found = sorted_qr(self._block[:, order])
            R, d = found.R, np.abs(np.diag(found.R))
            live, rank = d > 0, len(d)
            with np.errstate(divide="ignore"):
                grown = np.log(d)
            known = grown[live]
            if steps > 1 and not careful and (not (rank and live.all()) or np.ptp(known) > HARD):
                return self._again()
            sizes = self.logs[order]
            new, older = (sizes[:rank] + grown)[live], sizes[:rank][live]
            with np.errstate(over="ignore", invalid="ignore"):
                # R_ij e^(l_j) / (d_i e^(l_i)), l the logs: bounded, as long as columns are in the order of their size
                X = np.triu(R)[live] / d[live, None] * np.exp(np.minimum(sizes[None, :] - older[:, None], 700))
            X = np.where(R[live] != 0, X, 0)
            if self.in_order or np.abs(X).max(initial=0.0) <= STEEP:
                break
            # columns that depend on those before them have to come later: sort by what is left of them
            with np.errstate(divide="ignore"):
                left = np.log(np.abs(R[np.minimum(np.arange(order.size), rank - 1), np.arange(order.size)]))
            order = order[np.argsort(-(left + sizes), kind="stable")]
        with np.errstate(over="ignore", invalid="ignore"):
            self.U = X @ self.U[order]
        self._doubt_more(order, live, found)
        self._lost = self._lost[order][:rank][live] + _rounded_off(older, known, new)
        self.Q, self.logs = found.Q[:, live], new
        self._block = self.Q
        self._interval = next_interval(steps, known, self.easy)
        if not self.in_order and self.U.size and np.abs(self.U).max() > STEEP:
            self._recondition()
        return True

    def _doubt_more(self, order: Array, live: Array, found: Decomposed) -> None:
        """Add what rounding did in one decomposition, and what became of what it did before.

        An error turns columns of Q towards others that are to come: `_turned` is a sample of it, pushed along, and
        where such a direction grows more than the column did, it moves the size of the column.
        """
        rank = len(live)
        with np.errstate(over="ignore", invalid="ignore"):
            turned = found.R @ self._turned[np.ix_(order, order[:rank])] @ found.inverse / found.size
            size = found.seen[:, None] * (_column_norms(found.inverse) / found.size)
            fresh = np.tril(size * self._rng.standard_normal(size.shape), -1)
            turned = np.clip(np.nan_to_num(turned + fresh, nan=BEYOND), -BEYOND, BEYOND)
        self.doubt = (self.doubt[order][:rank] + found.doubt)[live]
        self._moved = (self._moved[order][:rank] + np.diag(turned))[live]
        self._turned = np.tril(turned, -1)[np.ix_(live, live)]

    def _again(self) -> bool:
        self._block, self._interval = self.Q, 1
        return False

    def _recondition(self) -> None:
        """Make U orthogonal up to a triangular factor close to one: P = Q D U stays as it is."""
        order = np.argsort(-self.logs, kind="stable")
        lower, right = flip(self.logs[order], self.U[order])
        q, R = np.linalg.qr(lower)
        d = np.abs(np.diag(R))
        sizes = self.logs[order]
        X = np.triu(R / d[:, None] * np.exp(np.minimum(sizes[None, :] - sizes[:, None], 700)))
        self.Q, self.logs, self.U = self.Q[:, order] @ q, sizes + np.log(d), X @ right
        self.doubt, self._lost, self._moved = self.doubt[order], self._lost[order], self._moved[order]
        self._turned = np.tril(q.T @ self._turned[np.ix_(order, order)] @ q, -1)
        self._block = self.Q

    def pull(self, J: Linear) -> None:
        """Multiply by the transpose of J."""
        self.push([(f.map.vjp, f.steep) for f in reversed(J.factors())])

    def advance(self, J: Linear) -> None:
        """Multiply by J."""
        self.push([(f.map.jvp, f.steep) for f in J.factors()])

    @property
    def sizes(self) -> Array:
        """`logs`, with what adding them up has rounded off."""
        return self.logs + self._lost

    def log_norm(self, iterations: int = 3) -> float:
        """Return the natural log of the spectral norm, by power iteration from where the last call ended.

        From below, and to a few per cent or better; `log_singular` is exact.
        """
        if not self.logs.size:
            return -np.inf
        top = float(self.logs.max())
        scale = float(np.abs(self._block).max())  # of maps that are still to be settled
        if not scale:
            return -np.inf
        block, U = self._block / scale * np.exp(self.logs - top), self.U
        size, self._probe = power(lambda v: block @ (U @ v), lambda u: U.T @ (block.T @ u), self._probe, iterations)
        return size + float(np.log(scale)) + top

    def log_singular(self) -> Array:
        """Return natural logs of all singular values, (b,), largest first; -inf: exactly zero."""
        self.settle()
        out = np.full(self.columns, -np.inf)
        out[: self.logs.size] = log_singular(self.sizes, self.U)
        return out

    def doubts(self) -> Array:
        """Return by how much rounding may have moved each of `log_singular`, matched by order of size, (b,)."""
        self.settle()
        out = np.zeros(self.columns)
        out[: self.logs.size] = (self.doubt + SAMPLED * np.abs(self._moved))[np.argsort(-self.logs, kind="stable")]
        return out


def _rounded_off(a: Array, b: Array, total: Array) -> Array:
    """Return a + b - total exactly, for total = a + b rounded (Knuth's two-sum)."""
    of_b = total - a
    return np.asarray((a - (total - of_b)) + (b - of_b))


def flip(sizes: Array, U: Array) -> tuple[Array, Array]:
    """Return (lower, right) with diag(e^l) U = lower diag(e^l) right, for sizes in falling order.

    `lower` is lower triangular with entries that fall off as e^(l_i - l_j), `right` has orthonormal rows.
    """
    q, R = np.linalg.qr(U.T)
    return np.tril(R.T * np.exp(np.minimum(sizes[:, None] - sizes[None, :], 700))), q.T


def log_singular(sizes: Array, U: Array) -> Array:
    """Return natural logs of the singular values of diag(e^l) U, largest first; U has full row rank."""
    if not sizes.size:
        return np.zeros(0)
    order = np.argsort(-sizes, kind="stable")
    sizes, U = sizes[order], U[order]
    lower, _ = flip(sizes, U)
    if np.ptp(sizes) > RANGE:  # twice more, so that far parts of the spectrum come apart
        q, R = np.linalg.qr(lower)
        d = np.abs(np.diag(R))
        X = np.triu(R / d[:, None] * np.exp(np.minimum(sizes[None, :] - sizes[:, None], 700)))
        sizes = sizes + np.log(d)
        again = np.argsort(-sizes, kind="stable")
        sizes = sizes[again]
        lower, _ = flip(sizes, X[again])
    found = []
    for low, start, stop, high in windows(sizes, RANGE, APART):
        centre = (sizes[low] + sizes[high - 1]) / 2
        block = lower[low:high, low:high] * np.exp(sizes[low:high] - centre)
        found.append(_jacobi(block)[start - low : stop - low] + centre)
    return np.concatenate(found)


def windows(sizes: Array, width: float, margin: float) -> Iterator[tuple[int, int, int, int]]:
    """Cut sizes, in falling order, into pieces at most `width` nats wide, with a margin of neighbours on both sides.

    Yields:
        (low, start, stop, high): the piece is sizes[start:stop], with its neighbours sizes[low:high].
    """
    start = 0
    while start < sizes.size:
        stop = int(np.searchsorted(-sizes, width - sizes[start], side="right"))
        low = int(np.searchsorted(-sizes, -(sizes[start] + margin)))
        yield low, start, stop, int(np.searchsorted(-sizes, margin - sizes[stop - 1], side="right"))
        start = stop


def _jacobi(matrix: Array) -> Array:
    """Return natural logs of the singular values of B D, B well conditioned, each to high relative accuracy."""
    # no vectors, and no transposition or perturbation that would spoil the small ones
    sva, _, _, work, _, info = lapack.dgejsv(np.asfortranarray(matrix), joba=0, jobu=3, jobv=3, jobr=0, jobt=0, jobp=0)
    if info != 0:
        raise ArithmeticError(f"gejsv did not converge (info {info})")
    with np.errstate(divide="ignore"):
        return np.sort(np.log(sva * (work[0] / work[1])))[::-1]
