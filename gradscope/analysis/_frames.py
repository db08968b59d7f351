"""Frames: blocks of columns that are pushed along and made orthonormal again."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.analysis._graded import HARD, SMALLEST, sorted_qr
from gradscope.analysis._scaled import LN2
from gradscope.jacobian import Array

__all__ = ["completed", "orthonormal", "random_frame"]

EPS = float(np.finfo(float).eps)
ONCE = 3.0  # nats of spread from which Cholesky is done twice: up to there Q is orthonormal to eps e^6


def random_frame(size: int, columns: int, seed: list[int]) -> Array:
    """Return orthonormal columns in random directions, (size, columns).

    Never the identity: its columns can lie in an invariant subspace, and then they stay there.
    """
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((size, columns)))[0])


def completed(frame: Array, seed: list[int]) -> Array:
    """Return the frame with random directions, orthonormal to the others, in place of columns that are zero."""
    lost = ~frame.any(axis=0)
    if not lost.any():
        return frame
    kept, full = frame[:, ~lost], frame.copy()
    full[:, lost] = random_frame(len(frame), int(lost.sum()), seed)
    for _ in range(2):  # twice is enough (Kahan; Parlett 1980, section 6.9)
        full[:, lost] = np.linalg.qr(full[:, lost] - kept @ (kept.T @ full[:, lost]))[0]
    return full


def orthonormal(block: Array, *, careful: bool) -> tuple[Array, Array, Array] | None:
    """Return (Q, log diag R, doubt) of a QR decomposition of (n, k); None where it takes shorter steps.

    A column that is exactly zero, or has to be since fewer rows than columns are left, stays zero: log -inf.

    Cholesky's R will do: any triangular factor that is divided off leaves the product of all of them exact. Where
    the columns are nearly dependent, Householder's is taken, with rows sorted by size. Cholesky twice is as good as
    Householder (Yamamoto et al. 2015).

    Args:
        block: the columns, finite.
        careful: whether there are no shorter steps.
    """
    live = _independent(block)
    columns = block.shape[1]
    found = _divided(block if live.size == columns else block[:, live], careful=careful)
    if found is None or live.size == columns:
        return found
    Q, logs, doubt = np.zeros_like(block), np.full(columns, -np.inf), np.zeros(columns)
    Q[:, live], logs[live], doubt[live] = found
    return Q, logs, doubt


def _independent(block: Array) -> Array:
    """Return the columns that rows of zeros leave independent: those before one have as many rows that are not zero."""
    if block.any(axis=1).all() and block.any(axis=0).all():
        return np.arange(block.shape[1])
    rows = np.logical_or.accumulate(block != 0, axis=1).sum(axis=0)
    kept: list[int] = []
    for j, count in enumerate(rows.tolist()):
        if count > len(kept) and block[:, j].any():
            kept.append(j)
    return np.array(kept, int)


def _divided(block: Array, *, careful: bool) -> tuple[Array, Array, Array] | None:
    """Do so for columns that zeros leave independent."""
    scale = np.frexp(np.abs(block).max(initial=0.0))[1]
    found = _cholesky(np.ldexp(block, -scale))  # or squares would be zero below 1e-162
    if found is not None and np.ptp(found[1]) > ONCE:  # as far from orthonormal as the condition squared: once more
        again = _cholesky(found[0])
        found = None if again is None else (again[0], found[1] + again[1])
    if found is not None:
        Q, logs = found
        digits = max(EPS, float(np.ldexp(SMALLEST, -scale)))
        return Q, logs + scale * LN2, digits * np.exp(logs.max() - logs)
    if not careful:
        return None
    if not block.shape[1]:
        return block, np.zeros(0), np.zeros(0)
    Q, R, *_, doubt = sorted_qr(block)
    with np.errstate(divide="ignore"):
        return Q, np.log(np.abs(np.diag(R))), doubt


def _cholesky(block: Array) -> tuple[Array, Array] | None:
    """Return (Q, log diag R) by Cholesky decomposition of block^T block; None where the columns are too dependent."""
    if not block.size:
        return None
    factor, failed = lapack.dpotrf(block.T @ block, lower=0)
    d = np.diag(factor)
    if failed or not d.min() > 0 or np.log(d.max() / d.min()) > HARD:
        return None
    return blas.dtrsm(1.0, factor, block, side=1), np.log(d)
