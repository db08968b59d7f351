"""Singular values of diag(e^l) U, each to high relative accuracy, for sizes l over any number of decades.

One or two QR decompositions make the matrix lower triangular with entries that fall off as e^(l_i - l_j), so that parts
of the spectrum that lie far apart decouple. Each part fits into the range of float64 and goes to one-sided Jacobi,
LAPACK's gejsv, which keeps small singular values (Drmac & Veselic 2008).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import lapack

from gradscope.numerics.formats import Array

EXP_LIMIT_NATS = 700.0  # e^709.8 is the largest float64
SINGULAR_WINDOW_NATS = 500.0  # of values for one call of gejsv: with margins they fit into the range of float64
SINGULAR_DECOUPLED_NATS = 45.0  # distance from which two singular values do not touch one another: e^-45 is 1e-4 of eps


def graded_ratio(rows: Array, columns: Array) -> Array:
    """Return e^(columns_j - rows_i), (r, b), for logs of sizes in falling order.

    Above the diagonal that is at most one. Below it the ratio may overflow; entries there are zero, or are not looked
    at, and are limited so that no inf times zero comes up.
    """
    return np.asarray(np.exp(np.minimum(columns[None, :] - rows[:, None], EXP_LIMIT_NATS)))


def flip(sizes: Array, U: Array) -> tuple[Array, Array]:
    """Return (lower, right) with diag(e^l) U = lower diag(e^l) right.

    Args:
        sizes: (r,), l in falling order, nats.
        U: (r, b), of full row rank.

    Returns:
        (r, r), lower triangular with entries that fall off as e^(l_i - l_j); (r, b), orthonormal rows.
    """
    q, R = np.linalg.qr(U.T)
    return np.tril(R.T * graded_ratio(sizes, sizes).T), q.T


def log_singular_values(sizes: Array, U: Array) -> Array:
    """Return natural logs of the singular values of diag(e^l) U, (r,), largest first.

    Args:
        sizes: (r,), l, nats.
        U: (r, b), well conditioned, of full row rank.

    Raises:
        ArithmeticError: the Jacobi iteration did not converge.
    """
    if not sizes.size:
        return np.zeros(0)
    order = np.argsort(-sizes, kind="stable")
    sizes, U = sizes[order], U[order]
    lower, _ = flip(sizes, U)
    # a wide spectrum takes two flips: after one, far parts still touch through the condition of U
    if np.ptp(sizes) > SINGULAR_WINDOW_NATS:
        q, R = np.linalg.qr(lower)
        d = np.abs(np.diag(R))
        X = np.triu(R / d[:, None] * graded_ratio(sizes, sizes))
        sizes = sizes + np.log(d)
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        lower, _ = flip(sizes, X[order])
    logs = []
    for low, start, stop, high in windows(sizes, SINGULAR_WINDOW_NATS, SINGULAR_DECOUPLED_NATS):
        centre = (sizes[low] + sizes[high - 1]) / 2
        block = lower[low:high, low:high] * np.exp(sizes[low:high] - centre)
        logs.append(_jacobi(block)[start - low : stop - low] + centre)
    return np.concatenate(logs)


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
    # no vectors; jobt and jobp off: a transposition or a perturbation would spoil the small values
    sva, _, _, work, _, info = lapack.dgejsv(np.asfortranarray(matrix), joba=0, jobu=3, jobv=3, jobr=0, jobt=0, jobp=0)
    if info != 0:
        raise ArithmeticError(f"gejsv did not converge (info {info})")
    with np.errstate(divide="ignore"):
        return np.sort(np.log(sva * (work[0] / work[1])))[::-1]
