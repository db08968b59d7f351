"""How large is the Jacobian product at every lag?

P_k = J_T J_{T-1} ... J_{T-k+1} is what any gradient at the last step is multiplied by on its way back k
steps. It is built from the last step back, P <- P J_t, with its scale carried apart; at log-spaced lags its
singular values, its Frobenius norm and its spectral radius are taken with scipy.linalg.

The norm decides what a gradient can gain. The spectral radius of the product, the product of the radii of
the steps, and the product of their norms (an upper bound) are four different numbers.
The mean square of P^T u over isotropic unit u is |P|_F^2 / n, exactly.

Singular values far below the largest are lost to rounding here: those under `floor` times the largest are
reported as not determined (nan), and so is a radius that rounding can move by more than one per cent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from gradscope.analysis._dense import singular_values
from gradscope.analysis._scaled import LN2, rescale
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array

__all__ = ["Products", "log_lags", "products"]

RADIUS_WORK = 2.0e8  # n^3 times the number of lags at which the radius is taken: about a second on one core


@dataclass(frozen=True, eq=False)
class Products:
    """The product from the last step back, for S sequences.

    Attributes:
        lags: (K,), numbers of steps.
        log_singular: (K, S, k), natural logs of the k largest singular values; nan: not determined.
        log_frobenius: (K, S), natural log of the Frobenius norm.
        log_radius: (K, S), natural log of the spectral radius; nan: not determined, or not taken at this lag.
        floor: ratio to the largest singular value below which a value is not determined.
    """

    lags: Array
    log_singular: Array
    log_frobenius: Array
    log_radius: Array
    floor: float

    @property
    def log_norm(self) -> Array:
        """Natural log of the spectral norm, (K, S)."""
        return np.asarray(self.log_singular[:, :, 0])


def log_lags(steps: int, count: int) -> Array:
    """Return up to `count` whole lags from 1 to `steps`, evenly spaced in log, both ends included."""
    return np.unique(np.round(np.geomspace(1, steps, max(count, 2))).astype(int))


def products(
    chain: JacobianChain,
    *,
    lags: int = 32,
    values: int = 16,
    sequences: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Products:
    """Build the product back from the last step and measure it at log-spaced lags.

    Args:
        chain: the Jacobians.
        lags: at how many lags.
        values: how many singular values are kept.
        sequences: for how many of the sequences; the first ones are taken.
        progress: called with a word now and then.
    """
    at = log_lags(chain.steps, lags)
    n, count = chain.size, min(sequences, chain.batch)
    k = min(values, n)
    # Each multiplication rounds by about eps; after T of them a value this far down is right to one per cent.
    floor = 100 * chain.steps * np.sqrt(n) * float(np.finfo(chain.dtype).eps)
    singular = np.full((len(at), count, k), np.nan)
    frobenius, radius = np.full((len(at), count), np.nan), np.full((len(at), count), np.nan)
    transposed = [np.eye(n, dtype=chain.dtype) for _ in range(count)]  # P^T, so that J^T is applied to columns
    exponents = [np.zeros(1, np.int64) for _ in range(count)]
    # Eigenvalues cost ten times what singular values do: on large states the radius is taken at fewer lags.
    some = max(2, int(RADIUS_WORK / (count * n**3)))
    with_radius = set(at[np.unique(np.linspace(0, len(at) - 1, min(some, len(at))).round().astype(int))].tolist())
    row = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for t, J in chain.backward():
            lag = chain.steps - t
            for b in range(count):
                flat = J.column(b).pull(transposed[b]).reshape(-1, 1)
                flat, exponents[b] = rescale(flat, exponents[b])
                transposed[b] = flat.reshape(n, n)
            if progress and lag % 16 == 0:
                progress(f"products: {lag} of {chain.steps} steps")
            if lag == at[row]:
                for b in range(count):
                    found = _measure(transposed[b], floor, radius=lag in with_radius)
                    shift = float(exponents[b][0]) * LN2
                    singular[row, b] = found[0][:k] + shift
                    frobenius[row, b], radius[row, b] = found[1] + shift, found[2] + shift
                row += 1
    return Products(at, singular, frobenius, radius, floor)


def _measure(matrix: Array, floor: float, *, radius: bool) -> tuple[Array, float, float]:
    """Return logs of (singular values, Frobenius norm, spectral radius) of a matrix scaled to about one."""
    if not np.isfinite(matrix).all():
        return np.full(len(matrix), np.nan), np.nan, np.nan
    sigma = singular_values(matrix)
    with np.errstate(divide="ignore"):
        logs = np.where(sigma >= floor * sigma[0], np.log(sigma), np.nan)
        frobenius = float(np.log(np.linalg.norm(sigma)))
    return logs, frobenius, _log_radius(matrix, floor * float(sigma[0])) if radius else np.nan


def _log_radius(matrix: Array, floor: float) -> float:
    """Return the natural log of the spectral radius; nan where rounding of size `floor` / 100 could move it by 1 %."""
    values = scipy.linalg.eigvals(matrix, check_finite=False)
    top = values[np.abs(values).argmax()]
    rho = float(np.abs(top))
    # a matrix as near as rounding must not have an eigenvalue one per cent larger: defective ones have (pseudospectra,
    # Trefethen & Embree 2005, section 1)
    known = rho >= floor and (not rho or _distance(matrix, 1.01 * top) >= floor / 100)
    with np.errstate(divide="ignore"):
        return float(np.log(rho)) if known else np.nan


def _distance(matrix: Array, z: complex) -> float:
    """Return the smallest singular value of z - A, by inverse iteration: how far the nearest matrix is that has z."""
    n = len(matrix)
    factors = scipy.linalg.lu_factor((z if z.imag else z.real) * np.eye(n) - matrix, check_finite=False)
    x, size = np.random.default_rng(0).standard_normal(n), 1.0
    for _ in range(3):
        x = scipy.linalg.lu_solve(factors, x / np.linalg.norm(x), check_finite=False)
        x = scipy.linalg.lu_solve(factors, x, trans=2, check_finite=False)
        size = float(np.linalg.norm(x))
    return float(1 / np.sqrt(size))
