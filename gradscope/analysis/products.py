"""How large is the Jacobian product at every lag, in both directions, and can it be trusted?

P_k = J_T J_{T-1} ... J_{T-k+1} is what any gradient at the last step is multiplied by on its way back k
steps: what learning uses. J_k ... J_1 is what a perturbation of the first state is multiplied by on its way
forward: what memory is. Over the whole run they are the same matrix; at shorter lags they are not.

The norm decides what a gradient can gain. The spectral radius of the product, the product of the radii of
the steps, and the product of their norms (an upper bound) are four different numbers.
The mean square of P^T u over isotropic unit u is |P|_F^2 / n, exactly.

`log_condition` says whether the data determine the product at all: how many times larger than rounding itself its
effect on P can be, max_t |J_T ... J_(t+1)| |J_t| |J_(t-1) ... J_1| / |P|. Where nothing cancels it is near one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from gradscope.analysis.finite import check_finite
from gradscope.analysis.singular import determined, largest, surviving, vjp_factors
from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.matrices import DenseJacobians
from gradscope.kernels.units import EIGENVALUE_UNSURE_NATS, UnitProduct, in_order, log_norms
from gradscope.maps.jacobian import Array
from gradscope.numerics.graded import GradedProduct
from gradscope.numerics.leading import LeadingProduct
from gradscope.numerics.power import PowerIteration, log_spectral_norm
from gradscope.numerics.scaled import LN2, rescale

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

__all__ = ["applies", "log_lags", "measure", "Products", "products"]

NEEDS = ("finite",)
TITLE = "products"

RADIUS_WORK = 2.0e7  # n^3 times the number of lags at which the radius is taken: a tenth of a second on one core
FORMED = 320  # state variables up to which the product is formed unasked; above, only its largest values are found
SHORT, ROUGH = 16, 3  # steps from which one power iteration will do, from where the last ended; before: so many
AGREED = 1e-9  # nats of error, to which the largest values have to be known where not all are followed
DRAWN = 1e-3  # nats by which a value of a large state may still move: a tenth of a per cent
FLAT = 1e-6  # smallest of the largest values, relative to the largest, up to which a product is multiplied out
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Products:
    """The product over the last k steps and over the first k, for S sequences.

    Attributes:
        lags: (K,), numbers of steps.
        log_singular: (K, S, k), natural logs of the k largest singular values of the product from the last step
            back; nan: not determined; -inf: exactly zero.
        surviving: (K, S), how many directions survive; nan: not determined.
        log_frobenius: (K, S), natural log of the Frobenius norm; nan: not all of the product was looked at.
        log_radius: (K, S), natural log of the spectral radius; nan: not determined, or not taken at this lag.
        log_from_start: (K, S), natural log of the spectral norm of the product over the first k steps.
        log_condition: (S,), natural log of how much more than itself rounding can do to the whole product.
    """

    lags: Array
    log_singular: Array
    surviving: Array
    log_frobenius: Array
    log_radius: Array
    log_from_start: Array
    log_condition: Array

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
    values: int | None = 16,
    sequences: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Products:
    """Measure the product at log-spaced lags, back from the last step and forward from the first.

    Args:
        chain: the Jacobians.
        lags: at how many lags.
        values: how many singular values are kept; None for all.
        sequences: for how many of the sequences; the first ones are taken.
        progress: called with a word now and then.

    Raises:
        InputError: a Jacobian is not finite.
    """
    chain = chain.first(min(sequences, chain.batch))
    check_finite(chain)
    at = log_lags(chain.steps, lags)
    k = min(values or chain.size, chain.size)
    tell = progress or (lambda _: None)
    if chain.diagonal:
        return Products(at, *_by_unit(chain, at, k, tell))
    measure = _sampled if values is not None and chain.size > FORMED else _formed if 2 * k > chain.size else _led
    found = [measure(chain, at, k, b, tell) for b in range(chain.batch)]
    return Products(at, *(np.stack(rows, axis=min(1, np.ndim(rows[0]))) for rows in zip(*found, strict=True)))


Rows = tuple[Array, Array, Array, Array, Array, Array]  # what `Products` holds, of one sequence


def _led(chain: JacobianChain, at: Array, k: int, b: int, tell: Callable[[str], None]) -> Rows:
    """Follow what makes up the largest values; all of the product where that is not enough."""
    n, steps, matrices = chain.size, chain.steps, DenseJacobians(chain, b)
    singular, radius, back = np.full((len(at), n), -np.inf), np.full(len(at), np.nan), np.zeros(steps + 1)
    frobenius, with_radius = np.full(len(at), np.nan), _with_radius(at, n)
    product, row = LeadingProduct(n, k), 0
    for t, J in matrices.backward():
        lag = steps - t
        product.multiply(J.T)
        back[lag] = product.log_norm(ROUGH if lag < SHORT else 1)
        if lag == at[row] or product.due <= 0:
            found = product.log_singular()
            if found is None or not (found[1][:k] <= AGREED).all():
                return _formed(chain, at, k, b, tell)
            if lag == at[row]:
                singular[row, : product.rank], frobenius[row] = found[0], np.logaddexp.reduce(2 * found[0]) / 2
                radius[row] = _log_radius(product, lag) if lag in with_radius else np.nan
                row += 1
        if lag % 16 == 0:
            tell(f"products: {lag} of {steps} steps back")
    back[at] = singular[:, 0]
    forward, step = _forward_norms(matrices, steps, n, at, tell)
    condition = _condition(back, step, forward)
    return singular[:, :k], _alive(singular, whole=True), frobenius, radius, forward[at], condition


def _by_unit(chain: JacobianChain, at: Array, k: int, tell: Callable[[str], None]) -> Rows:
    """Multiply unit by unit, of all sequences: all is known at every lag, and norms in between are interpolated."""
    n, steps, sequences, p = chain.size, chain.steps, chain.batch, len(chain.parts)
    singular, radius = np.zeros((len(at), sequences, n)), np.zeros((len(at), sequences))
    product, lags = UnitProduct(p, n // p, sequences), at.tolist()
    for start, stop, matrices in chain.units([steps - lag for lag in lags], backward=True):
        product.multiply(matrices, right=True)
        if steps - start in lags:
            row = lags.index(steps - start)
            singular[row] = in_order(product.log_singular())[0].T
            moduli, _, errors = product.eigenvalues()
            radius[row] = np.where(errors > EIGENVALUE_UNSURE_NATS, np.nan, moduli).max(axis=(0, 1))
        tell(f"products: {steps - stop} of {steps} steps back")
    from_start, step = np.zeros((len(at), sequences)), np.zeros((steps, sequences))
    product = UnitProduct(p, n // p, sequences)
    for start, stop, matrices in chain.units(lags):
        product.multiply(matrices)
        step[start:stop] = log_norms(matrices)
        if stop in lags:
            from_start[lags.index(stop)] = product.log_singular().max(axis=(0, 1))
    frobenius = np.logaddexp.reduce(2 * singular, axis=2) / 2
    alive = np.array([_alive(each, whole=True) for each in singular])
    every, known = np.arange(steps + 1), [0, *lags]
    condition = []
    for b in range(sequences):
        back, forward = (np.interp(every, known, [0.0, *x[:, b]]) for x in (singular[:, :, 0], from_start))
        condition.append(_condition(back, step[:, b], forward))
    return singular[:, :, :k], alive, frobenius, radius, from_start, np.array(condition)


def _with_radius(at: Array, n: int) -> set[int]:
    """Return the lags at which the radius is taken: eigenvalues cost ten times what singular values do."""
    some = min(max(2, int(RADIUS_WORK / n**3)), len(at))
    return set(at[np.unique(np.linspace(0, len(at) - 1, some).round().astype(int))].tolist())


def _formed(chain: JacobianChain, at: Array, k: int, b: int, tell: Callable[[str], None]) -> Rows:
    """Carry the product with its scales apart, so that all of its singular values are seen."""
    n, steps = chain.size, chain.steps
    singular, radius, back = np.full((len(at), n), np.nan), np.full(len(at), np.nan), np.zeros(steps + 1)
    with_radius = _with_radius(at, n)
    product, row = GradedProduct(np.eye(n)), 0
    for t, J in chain.backward():
        lag = steps - t
        product.multiply(vjp_factors(J.column(b)))
        if lag == at[row]:
            singular[row], _ = determined(product)
            radius[row] = _log_radius(product, lag) if lag in with_radius else np.nan
            row += 1
        back[lag] = product.log_norm()
        if lag % 16 == 0:
            tell(f"products: {lag} of {steps} steps back")
    # What is not determined is far below the rest.
    squares = np.where(np.isnan(singular), -np.inf, 2 * singular)
    frobenius = np.logaddexp.reduce(squares, axis=1) / 2
    back[at] = singular[:, 0]
    forward, step = _forward_norms(DenseJacobians(chain, b), steps, n, at, tell)
    condition = _condition(back, step, forward)
    return singular[:, :k], _alive(singular, whole=True), frobenius, radius, forward[at], condition


def _sampled(chain: JacobianChain, at: Array, k: int, b: int, tell: Callable[[str], None]) -> Rows:
    """Find the largest values only; norms at lags between those that are looked at are interpolated."""
    singular = np.full((len(at), k), np.nan)
    row = _while_flat(chain, at, singular, b, tell)
    tell("products: largest singular values at long lags")
    singular[row:] = largest(chain, at[row:].tolist(), k, sequence=b, settled=DRAWN, passes=4)
    forward, step = _forward_norms(DenseJacobians(chain, b), chain.steps, chain.size, at, tell)
    back = np.interp(np.arange(chain.steps + 1), [0, *at], [0.0, *singular[:, 0]])
    unknown = np.full(len(at), np.nan)
    condition = _condition(back, step, forward)
    return singular, _alive(singular, whole=False), unknown, unknown, forward[at], condition


def _while_flat(chain: JacobianChain, at: Array, singular: Array, b: int, tell: Callable[[str], None]) -> int:
    """Multiply the product out while its largest values lie close together, and say at which row they no longer do.

    Where they do, iteration on a block of columns is slow to tell them apart; where they do not, it takes a few passes.
    """
    from scipy.sparse.linalg import svds  # a tenth of a second, for large states only

    k, row, scaled = singular.shape[1], 0, _Scaled(chain.size)
    for t, J in chain.backward():
        scaled.multiply(J.column(b).vjp)
        if chain.steps - t < at[row]:
            continue
        tell(f"products: {chain.steps - t} of {chain.steps} steps back")
        values = np.sort(svds(scaled.matrix, k=k, v0=np.ones(chain.size), return_singular_vectors=False))[::-1]
        if not values[-1] > FLAT * values[0]:
            break
        singular[row] = np.log(values) + scaled.log_scale
        row += 1
        if row == len(at):
            break
    return row


def _alive(singular: Array, *, whole: bool) -> Array:
    """Count the directions that survive at each lag; nan where values are missing that would have to be looked at."""
    counts = [surviving(np.append(row, -np.inf) if whole else row) for row in singular]
    return np.array([np.nan if c is None else c for c in counts])


def _condition(back: Array, step: Array, forward: Array) -> Array:
    """Return the natural log of max_t |J_T ... J_(t+1)| |J_t| |J_(t-1) ... J_1| / |P|; nan for a product of zero."""
    if np.isneginf(back[-1]):
        return np.asarray(np.nan)
    with np.errstate(invalid="ignore"):
        found = np.max(back[-2::-1] + step + forward[:-1]) - back[-1]
    return np.asarray(np.maximum(found, 0.0))  # at least one by its definition: norms were found from below


def _forward_norms(
    matrices: DenseJacobians, steps: int, n: int, at: Array, tell: Callable[[str], None]
) -> tuple[Array, Array]:
    """Return natural logs of |J_t ... J_1| for t = 0 ... T, exact at the lags `at`, and of |J_t| for t = 1 ... T.

    What is not exact is so to a few per cent.
    """
    norms, step, precise = np.zeros(steps + 1), np.zeros(steps), set(at.tolist())
    scaled, whole, one = _Scaled(n), PowerIteration(n), PowerIteration(n)
    for t, J in matrices.forward():
        scaled.multiply(J.__matmul__)
        size = whole.log_norm_of(scaled.matrix, ROUGH if t < SHORT else 1)
        norms[t + 1] = (log_spectral_norm(scaled.matrix) if t + 1 in precise else size) + scaled.log_scale
        step[t] = one.log_norm_of(J, ROUGH)
        if t % 16 == 0:
            tell(f"products: {t} of {steps} steps forward")
    return norms, step


class _Scaled:
    """A product that is multiplied out: a matrix near one, and the logarithm of its scale."""

    def __init__(self, n: int) -> None:
        self.matrix: Array = np.eye(n)
        self._exponent = np.zeros(1, np.int64)

    def multiply(self, apply: Callable[[Array], Array]) -> None:
        """Multiply by a map from the left."""
        flat, self._exponent = rescale(apply(self.matrix).reshape(-1, 1), self._exponent)
        self.matrix = flat.reshape(self.matrix.shape)

    @property
    def log_scale(self) -> float:
        """Natural log of the factor that is kept apart."""
        return float(self._exponent[0]) * LN2


def _log_radius(product: GradedProduct | LeadingProduct, lag: int) -> float:
    """Return the natural log of the spectral radius; nan where rounding could move it by one per cent."""
    if not product.logs.size:
        return -np.inf
    top = float(product.sizes.max())
    right = np.exp(product.sizes - top)[:, None] * product.U
    matrix = product.Q @ right
    rounding = (lag + len(matrix)) * np.sqrt(len(matrix)) * EPS * float(np.linalg.norm(matrix))
    # of Q R and R Q, the same ones but for zeros
    values = scipy.linalg.eigvals(right @ product.Q if len(right) < len(matrix) else matrix, check_finite=False)
    largest_one = values[np.abs(values).argmax()]
    rho = float(np.abs(largest_one))
    # a matrix as near as rounding must not have an eigenvalue one per cent larger: defective ones have (pseudospectra,
    # Trefethen & Embree 2005, section 1)
    known = rho >= 100 * rounding and (not rho or _distance(matrix, 1.01 * largest_one) >= rounding)
    return float(np.log(rho)) + top if known and rho else -np.inf if known else np.nan


def _distance(matrix: Array, z: complex) -> float:
    """Return the smallest singular value of z - A, by inverse iteration: how far the nearest matrix is that has z."""
    n = len(matrix)
    shifted = (z if z.imag else z.real) * np.eye(n) - matrix
    getrf, getrs = scipy.linalg.get_lapack_funcs(("getrf", "getrs"), (shifted,))
    factors, pivots, singular = getrf(shifted)
    if singular:
        return 0.0
    x, size = np.random.default_rng(0).standard_normal(n), 1.0
    for _ in range(3):
        x = getrs(factors, pivots, x / np.linalg.norm(x))[0]
        x = getrs(factors, pivots, x, trans=2)[0]
        size = float(np.linalg.norm(x))
    return float(1 / np.sqrt(size))


def applies(run: Run, settings: Settings) -> bool:
    """Return whether products and spectra are asked for, and the Jacobians are finite."""
    return settings.lags > 0 and run.is_finite


def measure(run: Run, settings: Settings) -> Products:
    """Measure the product of the first sequence."""
    values = run.values(settings.spectrum)
    return products(run.chain, lags=settings.lags, values=values, progress=run.progress)
