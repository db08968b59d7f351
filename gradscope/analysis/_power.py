"""The largest singular value, by power iteration from a vector that is nearly right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.analysis._scaled import norm
from gradscope.jacobian import Array

__all__ = ["direction", "power"]

MIXED = 0.1  # share of a random direction in the first vector
SETTLED = 8 * float(np.finfo(float).eps)  # relative change of the value at which it ends


def direction(n: int) -> Array:
    """Return a column in a random direction, (n, 1), always the same one."""
    return np.random.default_rng(0).standard_normal((n, 1))


def power(
    push: Callable[[Array], Array], pull: Callable[[Array], Array], x: Array, iterations: int
) -> tuple[float, Array]:
    """Return (natural log of the spectral norm, right singular vector), from below.

    Some of another direction is mixed in: x, which was right for a map before, may have lost what is largest now.

    Args:
        push: the map.
        pull: its transpose.
        x: where to start, (n, 1).
        iterations: at most.
    """
    size, other = 0.0, direction(len(x))
    x = x / norm(x) + MIXED * other / norm(other)
    for _ in range(iterations):
        y = push(x / norm(x))
        before, size = size, norm(y)
        if not size:
            return -np.inf, other
        x = pull(y / size)
        if abs(size - before) <= SETTLED * size:
            break
    return float(np.log(size)), x
