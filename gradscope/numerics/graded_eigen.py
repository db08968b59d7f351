"""Eigenvalues of a graded matrix S diag(e^l) U, over any number of decades.

Parts of the spectrum that lie far apart decouple in a frame that orthogonal iteration has turned towards triangular:
each part is solved for with its neighbours, in a window that fits into the range of float64.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import Array
from gradscope.numerics.graded_svd import windows

EIGEN_DECOUPLED_NATS = 36.0  # distance from which two eigenvalues do not touch: e^-36 is about eps
EIGEN_WINDOW_NATS = 4.0  # of eigenvalues that a window is made for


def graded_eigenvalues(S: Array, sizes: Array, U: Array, rounds: int) -> tuple[Array, Array]:
    """Return (natural logs of the moduli, phases) of the eigenvalues of S diag(e^sizes) U, (r,) each, largest first.

    Args:
        S: (b, r).
        sizes: (r,), nats.
        U: (r, b), b = r unless columns were lost.
        rounds: of orthogonal iteration, which have made the matrix nearer to triangular: what is below the diagonal
            falls by the ratio of two eigenvalues in each.
    """
    order = np.argsort(-sizes, kind="stable")
    if not np.isfinite(U).all():
        return np.full(sizes.size, np.nan), np.full(sizes.size, np.nan)
    # diag(e^l) U S has the same eigenvalues, other than zeros
    sizes, core = sizes[order], (U @ S)[np.ix_(order, order)]
    logs, phases = np.zeros(sizes.size), np.zeros(sizes.size)
    for low, start, stop, high in windows(sizes, EIGEN_WINDOW_NATS, EIGEN_DECOUPLED_NATS / rounds):
        block = np.exp(sizes[low:high] - sizes[start])[:, None] * core[low:high, low:high]
        values = scipy.linalg.eigvals(block, check_finite=False)
        values = values[np.argsort(-np.abs(values), kind="stable")][start - low : stop - low]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs[start:stop] = np.log(np.abs(values)) + sizes[start]
        phases[start:stop] = np.angle(values)
    return logs, phases
