"""QR decompositions of frames: quick by Cholesky, careful by Householder with rows sorted by size.

Any triangular factor that is divided off leaves the product of all of them exact, so Cholesky's R will do for exponents
(Cholesky QR). Its Q is as far from orthonormal as eps times the condition squared. That counts once, where the
product ends: see `log_lengths`. Where columns are nearly dependent, Householder's reflections are taken. Rows of very
different size, as saturated units make them, are sorted before, which keeps the small ones (Cox & Higham 1998).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from gradscope.numerics.formats import EPS, LN2, SMALLEST_SUBNORMAL, Array
from gradscope.numerics.interval import REDO_ABOVE_NATS
from gradscope.numerics.scaled import log_norm

ROW_ERROR_EPS = 32.0  # error of a row of a block, in eps: a sum over gates, which may cancel (up to 22 were seen)
NONLINEAR_ABOVE = 1e-7  # deviation of a length from one, whose square (1e-14) is no longer rounding
GRAM_RANGE = 1e200  # squared lengths, and their inverses, up to which the Gram matrix needs no scaling


class SortedQR(NamedTuple):
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


def sorted_qr(C: Array) -> SortedQR:
    """Decompose C (n, b) by Householder's reflections with rows sorted by size; rows of zeros are left out."""
    size = np.abs(C).max(axis=1, initial=0.0)
    order = np.argsort(-size, kind="stable")
    order = order[: int(np.count_nonzero(size))]
    if not order.size:
        none = np.zeros(0)
        return SortedQR(np.zeros((len(C), 0)), np.zeros((0, C.shape[1])), none, np.zeros((0, 0)), none, none)
    q, R = scipy.linalg.qr(C[order], mode="economic", check_finite=False)
    Q = np.zeros((len(C), q.shape[1]))
    Q[order] = q
    # a diagonal entry that cancelled to exactly 0 is as good as any number of the size of rounding: left at 0, the
    # column would count as lost for certain, log -inf, by chance
    d = np.abs(np.diag(R))
    cancelled = np.flatnonzero((d == 0) & R.any(axis=0)[: len(d)])
    R[cancelled, cancelled] = np.maximum(EPS * np.abs(R[:, cancelled]).max(axis=0, initial=0.0), SMALLEST_SUBNORMAL)
    seen = np.maximum(ROW_ERROR_EPS * EPS * np.sqrt(len(C)) * column_norms(size[order, None] * q), SMALLEST_SUBNORMAL)
    d = np.abs(np.diag(R))
    d = np.where(d > 0, d, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.triu(R[:, : len(d)] / d[:, None], 1) + np.diag(np.where(np.diag(R) < 0, -1.0, 1.0))
        inverse = lapack.dtrtri(unit)[0]
        # to first order log r_jj moves by the j-th diagonal entry of Q^T (error of C) R^-1
        doubt = np.nan_to_num(seen / d * column_norms(inverse), nan=np.inf, posinf=np.inf)
    doubt[cancelled] = np.inf
    return SortedQR(Q, R, d, inverse, seen, doubt)


def column_norms(matrix: Array) -> Array:
    """Return the 2-norms of columns whose squares may overflow or underflow."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_norm(matrix, np.zeros(matrix.shape[1]))))


def orthonormalise(block: Array, *, last_resort: bool) -> tuple[Array, Array, Array] | None:
    """Return (Q, log diag R, doubt) of a QR decomposition of a block of columns.

    Args:
        block: (n, k), finite; stored column by column, and overwritten where that is quick.
        last_resort: whether columns that Cholesky cannot separate are decomposed by Householder's reflections; else
            None is returned for them, and the caller takes shorter steps.

    Returns:
        Q (n, k); natural logs (k,), nats; by how much rounding may have moved these, (k,), nats. A column that is
        exactly zero, or has to be since fewer rows than columns are left, stays zero, with log -inf.
    """
    result = _cholesky_qr(block)
    if result is not None:
        return result
    live = _independent_columns(block)
    if live.size == block.shape[1]:
        return _householder_qr(block) if last_resort else None
    # columns of zeros made the Cholesky decomposition fail: once more, without them
    result = _cholesky_qr(np.asfortranarray(block[:, live]))
    if result is None and last_resort:
        result = _householder_qr(block[:, live])
    if result is None:
        return None
    Q, logs, doubt = np.zeros_like(block), np.full(block.shape[1], -np.inf), np.zeros(block.shape[1])
    Q[:, live], logs[live], doubt[live] = result
    return Q, logs, doubt


def log_lengths(frames: Array) -> Array:
    """Return log diag R of frames that are nearly orthonormal, (S, k); zero for columns of zeros.

    To first order that is the length of the columns; where the square of the deviation counts, frames are decomposed.

    Args:
        frames: (S, k, n), row j of a frame is its column j.
    """
    squares = np.einsum("skn,skn->sk", frames, frames)
    live = squares > 0
    logs: Array = np.log1p(squares - 1, where=live, out=np.zeros_like(squares)) / 2
    for b in np.flatnonzero(np.abs(logs).max(axis=1) > NONLINEAR_ABOVE):
        columns = frames[b, live[b]].T
        factor, failed = lapack.dpotrf(blas.dsyrk(1.0, columns, trans=1, lower=1), lower=1, clean=0, overwrite_a=1)
        if not failed:
            logs[b, live[b]] = np.log(factor.diagonal())
    return logs


def _independent_columns(block: Array) -> Array:
    """Return the columns that rows of zeros leave independent: column j needs more nonzero rows than columns before."""
    if block.any(axis=1).all() and block.any(axis=0).all():
        return np.arange(block.shape[1])
    rows = np.logical_or.accumulate(block != 0, axis=1).sum(axis=0)
    independent: list[int] = []
    for j, count in enumerate(rows.tolist()):
        if count > len(independent) and block[:, j].any():
            independent.append(j)
    return np.array(independent, int)


def _cholesky_qr(block: Array) -> tuple[Array, Array, Array] | None:
    """Decompose by Cholesky's factor of block^T block, in place; None where columns are too dependent for it."""
    if not block.size:
        return None
    gram = blas.dsyrk(1.0, block, trans=1, lower=1)
    squares = gram.diagonal()
    exponent = 0
    # squares are zero below 1e-162: such a block is scaled by a power of two, exactly
    if not (squares.min() > 1 / GRAM_RANGE and squares.max() < GRAM_RANGE):
        exponent = int(np.frexp(np.abs(block).max(initial=0.0))[1])
        block = np.asfortranarray(np.ldexp(block, -exponent))
        gram = blas.dsyrk(1.0, block, trans=1, lower=1)
    factor, failed = lapack.dpotrf(gram, lower=1, clean=0, overwrite_a=1)
    d = factor.diagonal()
    least, most = float(d.min()), float(d.max())
    # the factor of a Gram matrix has half of the digits: beyond this spread its small entries are rounding
    if failed or not least > 0 or most > least * np.exp(REDO_ABOVE_NATS):
        return None
    logs = np.log(d)
    digits = max(EPS, float(np.ldexp(SMALLEST_SUBNORMAL, -exponent)))  # a block of subnormal numbers has fewer
    Q = blas.dtrsm(1.0, factor, block, side=1, lower=1, trans_a=1, overwrite_b=1)
    return Q, logs + exponent * LN2, digits * (most / d)


def _householder_qr(block: Array) -> tuple[Array, Array, Array]:
    """Decompose by Householder's reflections, with rows sorted by size."""
    if not block.shape[1]:
        return block, np.zeros(0), np.zeros(0)
    qr = sorted_qr(block)
    with np.errstate(divide="ignore"):
        return qr.Q, np.log(np.abs(np.diag(qr.R))), qr.doubt
