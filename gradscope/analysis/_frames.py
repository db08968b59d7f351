"""Frames: blocks of columns that are pushed along and made orthonormal again."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.analysis._graded import HARD, sorted_qr
from gradscope.jacobian import Array

__all__ = ["orthonormal", "random_frame"]

ONCE = 3.0  # nats of spread from which Cholesky is done twice: up to there Q is orthonormal to eps e^6


def random_frame(size: int, columns: int, seed: list[int]) -> Array:
    """Return orthonormal columns in random directions, (size, columns).

    Never the identity: its columns can lie in an invariant subspace, and then they stay there.
    """
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((size, columns)))[0])


def orthonormal(block: Array, *, careful: bool) -> tuple[Array, Array, Array] | None:
    """Return (Q, log diag R, doubt) of a QR decomposition of (n, k); None where it takes shorter steps.

    Cholesky's R will do: any triangular factor that is divided off leaves the product of all of them exact. Where
    the columns are nearly dependent, Householder's is taken, with rows sorted by size. Cholesky twice is as good as
    Householder (Yamamoto et al. 2015).

    Args:
        block: the columns.
        careful: whether there are no shorter steps.
    """
    found = _cholesky(block)
    if found is not None and np.ptp(found[1]) > ONCE:  # as far from orthonormal as the condition squared: once more
        again = _cholesky(found[0])
        found = None if again is None else (again[0], found[1] + again[1])
    if found is not None:
        return *found, np.zeros(block.shape[1])
    if not careful:
        return None
    Q, R, doubt, rank = sorted_qr(block)
    k = block.shape[1]
    logs, doubts = np.full(k, -np.inf), np.zeros(k)
    with np.errstate(divide="ignore"):
        logs[:rank] = np.log(np.abs(np.diag(R)))
    doubts[:rank] = doubt
    if rank < k:  # exact zeros: any directions will do, they stay at zero
        Q = np.linalg.qr(np.hstack([Q, random_frame(len(Q), k - rank, [0])]))[0]
    return Q, logs, np.where(np.isneginf(logs), 0, doubts)


def _cholesky(block: Array) -> tuple[Array, Array] | None:
    """Return (Q, log diag R) by Cholesky decomposition of block^T block; None where the columns are too dependent."""
    if not np.isfinite(block).all():
        return None
    factor, failed = lapack.dpotrf(block.T @ block, lower=0)
    d = np.diag(factor)
    if failed or not d.min() > 0 or np.log(d.max() / d.min()) > HARD:
        return None
    return blas.dtrsm(1.0, factor, block, side=1), np.log(d)
