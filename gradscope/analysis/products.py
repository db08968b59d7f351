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

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._arguments import check_finite
from gradscope.analysis._singular import SETTLED_NATS, determined, largest, surviving, vjp_factors
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import REPORT_STEPS, Progress, no_progress
from gradscope.kernels.matrices import DenseJacobians
from gradscope.kernels.units import EIGENVALUE_UNSURE_NATS, UnitProduct, in_order, log_norms
from gradscope.numerics.formats import Array
from gradscope.numerics.graded import GradedProduct
from gradscope.numerics.leading import LeadingProduct
from gradscope.numerics.power import PowerIteration, log_spectral_norm
from gradscope.numerics.radius import log_spectral_radius
from gradscope.numerics.scaled import ScaledProduct

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite",)
TITLE = "products"
SPECTRAL = True

RADIUS_WORK = 2.0e7  # n^3 times the number of lags at which the radius is taken: a tenth of a second on one core
FORMED_SIZE = 320  # state variables up to which the product is formed by default; above, only its largest values
WARM_ITERATIONS, WARM_AFTER = 3, 16  # power iterations up to this lag; from there one will do, warm-started
LARGE_SETTLED_NATS = 1e-3  # by which a value of a large state may still move: a tenth of a per cent
LARGE_PASSES = 4  # of subspace iteration at each lag of a large state
FLAT_RATIO = 1e-6  # smallest over largest of the values asked for, up to which a large product is multiplied out


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
    progress: Progress | None = None,
) -> Products:
    """Return norms and singular values of the product at log-spaced lags, back from the last step and from the first.

    Args:
        chain: the Jacobians.
        lags: at how many lags.
        values: how many singular values; None for all.
        sequences: for how many of the sequences; the first ones are taken.
        progress: takes (name, done, total) now and then.

    Raises:
        InputError: a Jacobian is not finite.
    """
    chain = chain.first(min(sequences, chain.batch))
    check_finite(chain)
    at = log_lags(chain.steps, lags)
    k = min(values or chain.size, chain.size)
    report = progress or no_progress
    if chain.diagonal:
        return _by_unit(chain, at, k, report)
    # few values of a moderate state: the leading ones; most of them: all; a large state: the largest, never formed
    large = values is not None and chain.size > FORMED_SIZE
    measure = _iterated if large else _graded if 2 * k > chain.size else _leading
    return _joined([measure(chain, at, k, b, report) for b in range(chain.batch)])


def _joined(by_sequence: list[Products]) -> Products:
    """Return the products of several sequences side by side; those of one have no axis for them."""
    rows = {f.name: [getattr(p, f.name) for p in by_sequence] for f in fields(Products) if f.name != "lags"}
    stacked = {name: np.stack(x, axis=min(1, np.ndim(x[0]))) for name, x in rows.items()}
    return Products(by_sequence[0].lags, **stacked)


def _leading(chain: JacobianChain, at: Array, k: int, b: int, report: Progress) -> Products:
    """Follow what makes up the k largest values, by `LeadingProduct`; all of the product where that is not enough."""
    n, steps, matrices = chain.size, chain.steps, DenseJacobians(chain, b)
    singular, radius, back = np.full((len(at), n), -np.inf), np.full(len(at), np.nan), np.zeros(steps + 1)
    frobenius, with_radius = np.full(len(at), np.nan), _lags_with_radius(at, n)
    product, row = LeadingProduct(n, k), 0
    for t, J in matrices.backward():
        lag = steps - t
        product.multiply(J.T)
        back[lag] = product.log_norm(WARM_ITERATIONS if lag < WARM_AFTER else 1)
        if lag == at[row] or product.due <= 0:
            values = product.log_singular()
            if values is None or not (values[1][:k] <= SETTLED_NATS).all():
                return _graded(chain, at, k, b, report)
            if lag == at[row]:
                singular[row, : product.rank], frobenius[row] = values[0], np.logaddexp.reduce(2 * values[0]) / 2
                if lag in with_radius:
                    radius[row] = log_spectral_radius(product.Q, product.sizes, product.U, lag)
                row += 1
        if lag % REPORT_STEPS == 0:
            report(TITLE, lag, 2 * steps)
    back[at] = singular[:, 0]
    forward, step = _forward_norms(matrices, steps, n, at, report)
    alive, condition = _count_surviving(singular, whole=True), _log_condition(back, step, forward)
    return Products(at, singular[:, :k], alive, frobenius, radius, forward[at], condition)


def _graded(chain: JacobianChain, at: Array, k: int, b: int, report: Progress) -> Products:
    """Carry the whole product with separate sizes, by `GradedProduct`: all of its singular values are known."""
    n, steps = chain.size, chain.steps
    singular, radius, back = np.full((len(at), n), np.nan), np.full(len(at), np.nan), np.zeros(steps + 1)
    with_radius = _lags_with_radius(at, n)
    product, row = GradedProduct(np.eye(n)), 0
    for t, J in chain.backward():
        lag = steps - t
        product.multiply(vjp_factors(J.column(b)))
        if lag == at[row]:
            singular[row], _ = determined(product)
            if lag in with_radius:
                radius[row] = log_spectral_radius(product.Q, product.sizes, product.U, lag)
            row += 1
        back[lag] = product.log_norm()
        if lag % REPORT_STEPS == 0:
            report(TITLE, lag, 2 * steps)
    squares = np.where(np.isnan(singular), -np.inf, 2 * singular)  # what is not determined is far below the rest
    frobenius = np.logaddexp.reduce(squares, axis=1) / 2
    back[at] = singular[:, 0]
    forward, step = _forward_norms(DenseJacobians(chain, b), steps, n, at, report)
    alive, condition = _count_surviving(singular, whole=True), _log_condition(back, step, forward)
    return Products(at, singular[:, :k], alive, frobenius, radius, forward[at], condition)


def _iterated(chain: JacobianChain, at: Array, k: int, b: int, report: Progress) -> Products:
    """Compute the largest values only, by subspace iteration; norms at lags between those in `at` are interpolated."""
    singular = np.full((len(at), k), np.nan)
    row = _while_flat(chain, at, singular, b, report)
    report(f"{TITLE}, largest singular values at long lags", 0, 0)
    lags = at[row:].tolist()
    singular[row:] = largest(chain, lags, k, sequence=b, settled=LARGE_SETTLED_NATS, passes=LARGE_PASSES)
    forward, step = _forward_norms(DenseJacobians(chain, b), chain.steps, chain.size, at, report)
    back = np.interp(np.arange(chain.steps + 1), [0, *at], [0.0, *singular[:, 0]])
    unknown = np.full(len(at), np.nan)
    alive, condition = _count_surviving(singular, whole=False), _log_condition(back, step, forward)
    return Products(at, singular, alive, unknown, unknown, forward[at], condition)


def _while_flat(chain: JacobianChain, at: Array, singular: Array, b: int, report: Progress) -> int:
    """Fill in the values at lags where they lie close together, from the product multiplied out; return the next row.

    There, iteration on a block of columns is slow to separate them; where they lie far apart, it takes a few passes.
    """
    from scipy.sparse.linalg import svds  # takes a tenth of a second to import, and only large states need it

    k, row, product = singular.shape[1], 0, ScaledProduct(chain.size)
    for t, J in chain.backward():
        product.multiply(J.column(b).vjp)
        if chain.steps - t < at[row]:
            continue
        report(TITLE, chain.steps - t, 2 * chain.steps)
        values = np.sort(svds(product.matrix, k=k, v0=np.ones(chain.size), return_singular_vectors=False))[::-1]
        if not values[-1] > FLAT_RATIO * values[0]:
            break
        singular[row] = np.log(values) + product.log_scale
        row += 1
        if row == len(at):
            break
    return row


def _by_unit(chain: JacobianChain, at: Array, k: int, report: Progress) -> Products:
    """Multiply unit by unit, of all sequences: all is known at every lag, and norms in between are interpolated."""
    n, steps, sequences, p = chain.size, chain.steps, chain.batch, len(chain.parts)
    # 1. back from the last step
    singular, radius = np.zeros((len(at), sequences, n)), np.zeros((len(at), sequences))
    product, lags = UnitProduct(p, n // p, sequences), at.tolist()
    for start, stop, matrices in chain.units([steps - lag for lag in lags], backward=True):
        product.multiply(matrices, right=True)
        if steps - start in lags:
            row = lags.index(steps - start)
            singular[row] = in_order(product.log_singular())[0].T
            moduli, _, errors = product.eigenvalues()
            radius[row] = np.where(errors > EIGENVALUE_UNSURE_NATS, np.nan, moduli).max(axis=(0, 1))
        report(TITLE, steps - stop, 2 * steps)
    # 2. forward from the first
    from_start, step = np.zeros((len(at), sequences)), np.zeros((steps, sequences))
    product = UnitProduct(p, n // p, sequences)
    for start, stop, matrices in chain.units(lags):
        report(TITLE, steps + start, 2 * steps)
        product.multiply(matrices)
        step[start:stop] = log_norms(matrices)
        if stop in lags:
            from_start[lags.index(stop)] = product.log_singular().max(axis=(0, 1))
    # 3. what follows from both
    frobenius = np.logaddexp.reduce(2 * singular, axis=2) / 2
    alive = np.array([_count_surviving(each, whole=True) for each in singular])
    every, known = np.arange(steps + 1), [0, *lags]
    condition = []
    for b in range(sequences):
        back, forward = (np.interp(every, known, [0.0, *x[:, b]]) for x in (singular[:, :, 0], from_start))
        condition.append(_log_condition(back, step[:, b], forward))
    return Products(at, singular[:, :, :k], alive, frobenius, radius, from_start, np.array(condition))


def _forward_norms(matrices: DenseJacobians, steps: int, n: int, at: Array, report: Progress) -> tuple[Array, Array]:
    """Return natural logs of |J_t ... J_1| for t = 0 ... T, exact at the lags `at`, and of |J_t| for t = 1 ... T.

    Norms that are not exact come from power iteration: a few per cent too small.
    """
    norms, step, exact = np.zeros(steps + 1), np.zeros(steps), set(at.tolist())
    product, of_product, of_step = ScaledProduct(n), PowerIteration(n), PowerIteration(n)
    for t, J in matrices.forward():
        product.multiply(J.__matmul__)
        log_norm = of_product.log_norm_of(product.matrix, WARM_ITERATIONS if t < WARM_AFTER else 1)
        norms[t + 1] = (log_spectral_norm(product.matrix) if t + 1 in exact else log_norm) + product.log_scale
        step[t] = of_step.log_norm_of(J, WARM_ITERATIONS)
        if t % REPORT_STEPS == 0:
            report(TITLE, steps + t, 2 * steps)
    return norms, step


def _lags_with_radius(at: Array, n: int) -> set[int]:
    """Return the lags at which the radius is taken: eigenvalues cost ten times what singular values do."""
    some = min(max(2, int(RADIUS_WORK / n**3)), len(at))
    return set(at[np.unique(np.linspace(0, len(at) - 1, some).round().astype(int))].tolist())


def _count_surviving(singular: Array, *, whole: bool) -> Array:
    """Return how many directions survive at each lag; nan where values are missing that decide on it."""
    counts = [surviving(np.append(row, -np.inf) if whole else row) for row in singular]
    return np.array([np.nan if count is None else count for count in counts])


def _log_condition(back: Array, step: Array, forward: Array) -> Array:
    """Return the natural log of max_t |J_T ... J_(t+1)| |J_t| |J_(t-1) ... J_1| / |P|; nan for a product of zero."""
    if np.isneginf(back[-1]):
        return np.asarray(np.nan)
    with np.errstate(invalid="ignore"):
        log = np.max(back[-2::-1] + step + forward[:-1]) - back[-1]
    return np.asarray(np.maximum(log, 0.0))  # at least one by its definition: norms from power iteration are too small


def measure(run: Run, settings: Settings) -> Products:
    """Return norms and singular values of the product of the first sequence."""
    values = run.values(settings.spectrum)
    return products(run.chain, lags=settings.lags, values=values, progress=run.progress)
