"""Frames: orthonormal columns in random directions."""

from __future__ import annotations

import numpy as np

from gradscope.numerics.formats import Array


def random_frame(size: int, columns: int, seed: list[int], first: Array | None = None) -> Array:
    """Return orthonormal columns in random directions, (size, columns).

    Never the identity: its columns can lie in an invariant subspace of every Jacobian, and then they stay there.

    Args:
        size: n.
        columns: k.
        seed: of numpy's generator.
        first: (n, j), columns that come before the random ones.
    """
    block = np.random.default_rng(seed).standard_normal((size, columns))
    block = block if first is None else np.hstack([first, block])[:, :columns]
    return np.asarray(np.linalg.qr(block)[0])


def complete_frame(frame: Array, seed: list[int]) -> Array:
    """Return the frame (n, k) with random directions, orthonormal to the others, in place of columns of zeros."""
    zero = ~frame.any(axis=0)
    if not zero.any():
        return frame
    others, full = frame[:, ~zero], frame.copy()
    full[:, zero] = random_frame(len(frame), int(zero.sum()), seed)
    for _ in range(2):  # twice is enough (Kahan; Parlett 1980, section 6.9): once leaves eps over what cancels
        full[:, zero] = np.linalg.qr(full[:, zero] - others @ (others.T @ full[:, zero]))[0]
    return full
