"""The spectral radius of a graded product, where rounding leaves it determined."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import EPS, Array

RADIUS_TOLERANCE = 0.01  # relative, by which rounding may move a radius that is reported
INVERSE_ITERATIONS = 3  # for the smallest singular value: within a factor of two, which decides nothing


def log_spectral_radius(Q: Array, sizes: Array, U: Array, factors: int) -> float:
    """Return the natural log of the spectral radius of Q diag(e^sizes) U; nan where it is not determined.

    Args:
        Q: (n, r).
        sizes: (r,), nats.
        U: (r, n).
        factors: how many matrices were multiplied, each with its rounding.
    """
    if not sizes.size:
        return -np.inf
    top = float(sizes.max())
    right = np.exp(sizes - top)[:, None] * U
    matrix = Q @ right
    rounding = (factors + len(matrix)) * np.sqrt(len(matrix)) * EPS * float(np.linalg.norm(matrix))
    # Q R and R Q have the same eigenvalues but for zeros: the smaller one is decomposed
    values = scipy.linalg.eigvals(right @ Q if len(right) < len(matrix) else matrix, check_finite=False)
    dominant = values[np.abs(values).argmax()]
    radius = float(np.abs(dominant))
    # a matrix as near as rounding must not have an eigenvalue one per cent larger: nearly defective ones have
    # (pseudospectra, Trefethen & Embree 2005, section 1)
    determined = radius * RADIUS_TOLERANCE >= rounding and (
        not radius or _distance(matrix, (1 + RADIUS_TOLERANCE) * dominant) >= rounding
    )
    if not determined:
        return float(np.nan)
    return float(np.log(radius)) + top if radius else -np.inf


def _distance(matrix: Array, z: complex) -> float:
    """Return the smallest singular value of z - A, by inverse iteration: how far the nearest matrix is that has z."""
    n = len(matrix)
    shifted = (z if z.imag else z.real) * np.eye(n) - matrix
    getrf, getrs = scipy.linalg.get_lapack_funcs(("getrf", "getrs"), (shifted,))
    factors, pivots, singular = getrf(shifted)
    if singular:
        return 0.0
    x, size = np.random.default_rng(0).standard_normal(n), 1.0
    for _ in range(INVERSE_ITERATIONS):
        x = getrs(factors, pivots, x / np.linalg.norm(x))[0]
        x = getrs(factors, pivots, x, trans=2)[0]  # the adjoint: the shift may be complex
        size = float(np.linalg.norm(x))
    return float(1 / np.sqrt(size))
