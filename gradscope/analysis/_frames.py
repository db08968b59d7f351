"""Frames: blocks of columns that are pushed along and made orthonormal again."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.analysis._graded import HARD, sorted_qr
from gradscope.jacobian import Array

__all__ = ["orthonormal", "random_frame"]


def random_frame(size: int, columns: int, seed: list[int]) -> Array:
    """Return orthonormal columns in random directions, (size, columns).

    Never the identity: its columns can lie in an invariant subspace, and then they stay there.
    """
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((size, columns)))[0])


def orthonormal(block: Array, *, careful: bool) -> tuple[Array, Array, Array] | None:
    """Return (Q, log diag R, doubt) of a QR decomposition of (n, k); None where it takes shorter steps.

    Cholesky's R will do: any triangular factor that is divided off leaves the product of all of them exact. Where
    the columns are nearly dependent, Householder's is taken, with rows sorted by size.

    Args:
        block: the columns.
        careful: whether there are no shorter steps.
    """
    if np.isfinite(block).all():
        factor, failed = lapack.dpotrf(block.T @ block, lower=0)
        d = np.diag(factor)
        if not failed and d.min() > 0 and 2 * np.log(d.max() / d.min()) < HARD * 2:
            return blas.dtrsm(1.0, factor, block, side=1), np.log(d), np.zeros(len(d))
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
