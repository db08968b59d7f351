"""Covariance matrices from fewer samples than variables: shrunk towards a multiple of the identity, never formed.

The sample covariance of N samples has rank N - 1 at most: in all other directions it claims that there is no noise.
Ledoit & Wolf (2004) mix it with the identity, (1 - w) S + w mu I, and estimate from the samples alone the w that is
closest to the truth in expected Frobenius norm. The result is a I + F F^T with a column of F for each sample, and is
inverted in the span of F (QR): n x n matrices are formed only where there are more samples than variables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from gradscope.numerics.formats import EPS, Array


@dataclass(frozen=True, eq=False)
class Covariance:
    """The matrix a I + F F^T of n variables.

    Attributes:
        isotropic: a.
        factor: F, (n, N).
    """

    isotropic: float
    factor: Array

    def __add__(self, other: Covariance) -> Covariance:
        return Covariance(self.isotropic + other.isotropic, np.concatenate([self.factor, other.factor], axis=1))

    def scaled(self, exponent: int) -> Covariance:
        """Return the covariance of the variables times 2^exponent."""
        return Covariance(float(np.ldexp(self.isotropic, 2 * exponent)), np.ldexp(self.factor, exponent))

    def dense(self) -> Array:
        """Return the matrix, (n, n)."""
        return np.asarray(self.isotropic * np.eye(len(self.factor)) + self.factor @ self.factor.T)

    def whiten(self, vectors: Array, eps: float = EPS) -> Array:
        """Return Z with Z^T Z = vectors^T C^-1 vectors, (p, k) for vectors (n, k): C is the identity for its columns.

        Args:
            vectors: the vectors.
            eps: relative rounding error of the factor: what it leaves without noise has noise of that size.
        """
        # 1. An orthonormal basis of all columns: outside of it, C is a I, and the vectors have no part there.
        count = self.factor.shape[1]
        reduced = np.asarray(np.linalg.qr(np.concatenate([self.factor, vectors], axis=1), mode="r"))
        factor, vectors = reduced[:, :count], reduced[:, count:]
        # 2. C = R^T R, by QR of the root of C: multiplying F F^T out would square its condition number.
        least = eps * len(reduced) * float(np.abs(factor).max(initial=0.0))
        root = max(float(np.sqrt(self.isotropic)), least)
        R = np.linalg.qr(np.concatenate([factor.T, root * np.eye(len(reduced))]), mode="r")
        return np.asarray(scipy.linalg.solve_triangular(R, vectors, trans="T", check_finite=False))


def ledoit_wolf(samples: Array, *, freedom: int | None = None) -> tuple[Covariance, float]:
    """Return the shrunk covariance of samples with mean zero, and the weight of the identity in it.

    Args:
        samples: (n, N), deviations from the mean, one sample a column.
        freedom: degrees of freedom that the sample covariance is divided by; N unless given. The weight is that of the
            paper, for N samples.
    """
    n, count = samples.shape
    # Ledoit & Wolf (2004), section 3.3, with |A|^2 = tr(A A^T) / n. Of X X^T and X^T X, the smaller has the same norm.
    gram = samples.T @ samples if count < n else samples @ samples.T
    mean = float(np.square(samples).sum()) / (n * count)  # m: mean variance
    square = float(np.square(gram).sum()) / (n * count**2)  # |S|^2
    distance = square - mean**2  # d^2 = |S - m I|^2
    fourth = float((np.square(samples).sum(axis=0) ** 2).sum()) / n  # sum over samples of |x x^T|^2
    error = min(max((fourth / count - square) / count, 0.0), max(distance, 0.0))  # b^2
    weight = error / distance if distance > EPS * square else 1.0
    scale = count / (freedom or count)
    factor = samples * np.sqrt((1 - weight) * scale / count)
    return Covariance(weight * mean * scale, factor), weight
