"""Frames: blocks of columns that are pushed along and made orthonormal again."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.maps.jacobian import Array
from gradscope.numerics.graded import HARD, SMALLEST, sorted_qr
from gradscope.numerics.scaled import LN2

__all__ = ["completed", "lengths", "orthonormal", "random_frame"]

EPS = float(np.finfo(float).eps)
LACKS = 1e-7  # of the length of a column: up to there that is what Q lacks of being orthonormal, but for its square
NORMAL = 1e200  # squares of columns, and their inverses, up to which nothing has to be scaled


def random_frame(size: int, columns: int, seed: list[int], first: Array | None = None) -> Array:
    """Return orthonormal columns in random directions, (size, columns), after the `first` ones where there are some.

    Never the identity: its columns can lie in an invariant subspace, and then they stay there.
    """
    made = np.random.default_rng(seed).standard_normal((size, columns))
    made = made if first is None else np.hstack([first, made])[:, :columns]
    return np.asarray(np.linalg.qr(made)[0])


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

    Cholesky's R will do: any triangular factor that is divided off leaves the product of all of them exact. Q is as
    far from orthonormal then as the condition squared, which counts once, where the product ends: see `lengths`.
    Where the columns are nearly dependent, Householder's is taken, with rows sorted by size.

    Args:
        block: the columns, finite; one after the other in memory, and overwritten where that is quick.
        careful: whether there are no shorter steps.
    """
    found = _divided(block)
    if found is not None:
        return found
    live = _independent(block)
    if live.size == block.shape[1]:
        return _slowly(block) if careful else None
    found = _divided(np.asfortranarray(block[:, live])) or (_slowly(block[:, live]) if careful else None)
    if found is None:
        return None
    Q, logs, doubt = np.zeros_like(block), np.full(block.shape[1], -np.inf), np.zeros(block.shape[1])
    Q[:, live], logs[live], doubt[live] = found
    return Q, logs, doubt


def lengths(frames: Array) -> Array:
    """Return log diag R, (S, k), of frames (S, k, n) that are nearly orthonormal, by columns; zero for lost ones.

    To first order that is the length of the columns; where the square of what they lack counts, it is decomposed.
    """
    squares = np.einsum("skn,skn->sk", frames, frames)
    known = squares > 0
    logs: Array = np.log1p(squares - 1, where=known, out=np.zeros_like(squares)) / 2
    for b in np.flatnonzero(np.abs(logs).max(axis=1) > LACKS):
        live = frames[b, known[b]].T
        factor, failed = lapack.dpotrf(blas.dsyrk(1.0, live, trans=1, lower=1), lower=1, clean=0, overwrite_a=1)
        if not failed:
            logs[b, known[b]] = np.log(factor.diagonal())
    return logs


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


def _divided(block: Array) -> tuple[Array, Array, Array] | None:
    """Do so by Cholesky decomposition of block^T block, in place; None where the columns are too dependent."""
    if not block.size:
        return None
    gram = blas.dsyrk(1.0, block, trans=1, lower=1)
    squares = gram.diagonal()
    scale = 0
    if not (squares.min() > 1 / NORMAL and squares.max() < NORMAL):  # or squares would be zero below 1e-162
        scale = int(np.frexp(np.abs(block).max(initial=0.0))[1])
        block = np.asfortranarray(np.ldexp(block, -scale))
        gram = blas.dsyrk(1.0, block, trans=1, lower=1)
    factor, failed = lapack.dpotrf(gram, lower=1, clean=0, overwrite_a=1)
    d = factor.diagonal()
    least, most = float(d.min()), float(d.max())
    if failed or not least > 0 or most > least * np.exp(HARD):
        return None
    logs = np.log(d)
    digits = max(EPS, float(np.ldexp(SMALLEST, -scale)))
    Q = blas.dtrsm(1.0, factor, block, side=1, lower=1, trans_a=1, overwrite_b=1)
    return Q, logs + scale * LN2, digits * (most / d)


def _slowly(block: Array) -> tuple[Array, Array, Array]:
    """Do so by Householder's reflections, with rows sorted by size."""
    if not block.shape[1]:
        return block, np.zeros(0), np.zeros(0)
    Q, R, *_, doubt = sorted_qr(block)
    with np.errstate(divide="ignore"):
        return Q, np.log(np.abs(np.diag(R))), doubt
