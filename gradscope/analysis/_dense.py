"""Dense decompositions that always give an answer."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from gradscope.jacobian import Array

__all__ = ["singular_values"]


def singular_values(matrix: Array) -> Array:
    """Return all singular values; LAPACK's other driver is asked where the fast one does not converge."""
    try:
        return np.asarray(scipy.linalg.svdvals(matrix, check_finite=False))
    except scipy.linalg.LinAlgError:
        return np.asarray(scipy.linalg.svd(matrix, compute_uv=False, lapack_driver="gesvd", check_finite=False))
