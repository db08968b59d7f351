"""Decompositions of dense matrices that always give an answer."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import Array


def singular_values(matrix: Array) -> Array:
    """Return all singular values of a matrix, largest first."""
    try:
        return np.asarray(scipy.linalg.svdvals(matrix, check_finite=False))
    except scipy.linalg.LinAlgError:  # divide and conquer (gesdd) fails for some matrices that gesvd decomposes
        return np.asarray(scipy.linalg.svd(matrix, compute_uv=False, lapack_driver="gesvd", check_finite=False))
