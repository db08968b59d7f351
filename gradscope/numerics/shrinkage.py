"""Covariance matrices of fewer samples than variables, shrunk towards a multiple of the identity.

The sample covariance S of B samples has rank B - 1 at most, and no inverse. Ledoit & Wolf (2004) mix it with the
identity, M = (1 - rho) S + rho mu I, with mu the mean eigenvalue of S, and give the rho that minimises the expected
|M - truth|_F^2 in closed form. M is a multiple of the identity plus a matrix of low rank: nothing n x n is formed, or
inverted, where the samples are fewer than the variables (Woodbury).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import Array

# Smallest intensity: M keeps an inverse where the samples determine S completely, and half of its digits.
LEAST_INTENSITY = 1e-8


@dataclass(frozen=True, eq=False)
class ShrunkCovariance:
    """M = floor I + factor^T factor.

    Attributes:
        factor: (r, n).
        floor: smallest eigenvalue of M.
        intensity: rho, from 0 (the sample covariance) to 1 (a multiple of the identity).
    """

    factor: Array
    floor: float
    intensity: float

    def solve(self, X: Array) -> Array:
        """Return X M^-1 for the rows of X, (p, n)."""
        r, n = self.factor.shape
        if r < n:  # Woodbury: M^-1 = (I - F^T (floor I + F F^T)^-1 F) / floor
            root = scipy.linalg.cho_factor(self.floor * np.eye(r) + self.factor @ self.factor.T)
            return np.asarray((X - scipy.linalg.cho_solve(root, self.factor @ X.T).T @ self.factor) / self.floor)
        root = scipy.linalg.cho_factor(self.floor * np.eye(n) + self.factor.T @ self.factor)
        return np.asarray(scipy.linalg.cho_solve(root, X.T).T)


def shrunk_covariance(deviations: Array) -> ShrunkCovariance | None:
    """Return the shrunk covariance of samples that each contribute the sum of several squares.

    Sample b contributes sum_c d_bc d_bc^T, so that S = sum_bc d_bc d_bc^T / (B - 1). With one deviation a sample this
    is the estimator of Ledoit & Wolf (2004, section 3.3). With several, the contributions of one sample, which depend
    on one another, still count as one sample.

    Args:
        deviations: (B, c, n), deviations from means over the B samples.

    Returns:
        None where all deviations are zero: there is no covariance to invert.
    """
    samples, each, n = deviations.shape
    rows = deviations.reshape(-1, n)
    if not rows.any():
        return None
    total = _square(rows) / (samples - 1) ** 2  # |S|_F^2
    mean = float(np.einsum("bcn,bcn->", deviations, deviations)) / (samples - 1) / n
    spread = total - n * mean**2  # |S - mean I|_F^2
    error = sum(_square(d) for d in deviations) / (samples - 1) ** 2 - total / samples  # of S, expected, squared
    # where S is a multiple of the identity already, both mixtures are the same matrix
    intensity = 1.0 if spread <= np.finfo(float).eps * total else float(np.clip(error / spread, LEAST_INTENSITY, 1.0))
    return ShrunkCovariance(rows * np.sqrt((1 - intensity) / (samples - 1)), intensity * mean, intensity)


def _square(rows: Array) -> float:
    """Return |rows^T rows|_F^2 from the smaller of its two Gram matrices."""
    gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    return float(np.einsum("ij,ij->", gram, gram))
