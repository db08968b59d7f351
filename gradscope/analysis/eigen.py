"""What are the eigenvalues of the product of all Jacobians, over hundreds of decades?

Of the product multiplied out, eigenvalues below 1e-16 of the largest are rounding. Here a frame is pushed along the
chain, P Q_0 = Q e^l U, and once around it becomes the next Q_0 (orthogonal iteration on a cycle of factors, as in the
periodic QR algorithm: Bojanczyk, Golub & Van Dooren 1992; Kressner 2005). In that frame the product is
Q_0^T Q diag(e^l) U: graded, and nearer to triangular each time around, so that its parts decouple
(`numerics.graded_eigen`).

The run is repeated until two rounds agree; what still moves then, as nearly defective eigenvalues do, is not
determined. The eigenvalues decide what happens if the same inputs are repeated for ever. What one pass gains is the
norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.analysis._singular import SETTLED_NATS, SPARE_COLUMNS, jvp_factors
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import REPORT_STEPS, Progress, no_progress
from gradscope.errors import UsageError
from gradscope.kernels.matrices import DenseJacobians
from gradscope.kernels.units import in_order
from gradscope.numerics.formats import Array
from gradscope.numerics.frames import random_frame
from gradscope.numerics.graded import GRADED_SPREAD_NATS, Factor, GradedProduct
from gradscope.numerics.graded_eigen import graded_eigenvalues

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite",)
TITLE = "eigenvalues of the product"
SPECTRAL = True

MAX_ROUNDS = 12  # times around the chain: what has not settled then is nearly defective
ROUND_FLOPS = 1.0e11  # of one round of all eigenvalues, that are spent by default: a few seconds
FEW_VALUES = 16  # that are taken where all of them would take longer
REPORTED_NATS = 1e-6  # to which eigenvalues of a report are taken
FEW_SPREAD_NATS = 5.5  # of columns in an interval, where a few lead: costs e^5.5 eps, and saves decompositions
UNSETTLED_NATS = 1e-3  # between two rounds, from which an eigenvalue is not determined
EIGEN_FRAME_SEED = 5  # second number of the seed of the frame: other directions than those of exponents


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """Eigenvalues of the product over a whole chain.

    Attributes:
        logs: (k,), or (B, k) for B sequences: natural logs of their moduli, largest first; -inf: exactly zero; nan:
            not determined.
        phases: their angles, radians, of the same shape.
        errors: by how much the last two rounds differ, or rounding may have moved them, nats.
    """

    logs: Array
    phases: Array
    errors: Array


def eigenvalues(
    chain: JacobianChain,
    values: int | None = None,
    *,
    settled: float = SETTLED_NATS,
    rounds: int = MAX_ROUNDS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Eigenvalues:
    """Return natural logs of the moduli of the eigenvalues of the product over the whole chain, and their phases.

    Args:
        chain: the Jacobians.
        values: how many, the largest ones; None for all.
        settled: nats by which two rounds may differ in the end.
        rounds: times around the chain, at most.
        seed: seed of the frame.
        progress: takes (name, done, total) now and then, as if all rounds were needed.

    Raises:
        UsageError: a number out of range, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    check_chain(chain)
    check_count("values", values, 1)
    check_count("rounds", rounds, 1)
    check_count("seed", seed, 0)
    if not settled > 0:
        raise UsageError(f"settled must be above zero, not {settled}")
    if chain.diagonal:
        by_sequence = _by_unit(chain, values)
    else:
        by_sequence = [_by_iteration(chain, b, values, settled, rounds, seed, progress) for b in range(chain.batch)]
    if chain.batch == 1:
        return by_sequence[0]
    return Eigenvalues(*(np.array([getattr(e, name) for e in by_sequence]) for name in ("logs", "phases", "errors")))


def _by_unit(chain: JacobianChain, values: int | None) -> list[Eigenvalues]:
    """Return the eigenvalues of every unit, in closed form, where no unit sees another."""
    logs, phases, errors = in_order(*chain.unit_product.eigenvalues())
    logs = np.where(errors > UNSETTLED_NATS, np.nan, logs)
    return [Eigenvalues(*(x[:values, b] for x in (logs, phases, errors))) for b in range(chain.batch)]


def _by_iteration(
    chain: JacobianChain,
    b: int,
    values: int | None,
    settled: float,
    rounds: int,
    seed: int,
    progress: Progress,
) -> Eigenvalues:
    """Return the eigenvalues of one sequence by orthogonal iteration around the cycle."""
    n = chain.size
    k = min(values or n, n)
    columns = n if values is None else min(n, k + SPARE_COLUMNS)
    few = 2 * columns <= n
    steps = _Steps(chain, b, few=few)
    frame = random_frame(n, columns, [seed, EIGEN_FRAME_SEED])
    logs, phases = np.full(columns, np.nan), np.zeros(columns)
    moved = rounding = np.full(columns, np.inf)
    for done in range(1, rounds + 1):
        # 1. once around: P Q_0 = Q e^l U
        product = GradedProduct(frame, in_order=True, spread_nats=FEW_SPREAD_NATS if few else GRADED_SPREAD_NATS)
        for t, factors in enumerate(steps):
            if t % REPORT_STEPS == 0:
                progress(TITLE, (done - 1) * chain.steps + t, rounds * chain.steps)
            product.multiply(factors)
        rounding = np.zeros(columns)
        rounding[: product.columns] = product.errors()  # fewer columns than at first where some were lost
        # 2. eigenvalues of Q_0^T Q e^l U, and by how much they have moved since the round before
        new, angles = graded_eigenvalues(frame.T @ product.Q, product.sizes, product.U, done)
        before, logs, phases = logs, np.full(columns, -np.inf), np.zeros(columns)
        logs[: len(new)], phases[: len(new)] = new, angles
        with np.errstate(invalid="ignore"):
            moved = np.where(logs == before, 0.0, np.abs(logs - before))
        moved[: len(new)][np.isneginf(new)] = np.inf  # zero by rounding
        moved[len(new) :] = 0.0  # zero for certain: the column is lost
        # 3. the frame around is the next one to begin with: Q_0 <- Q
        frame = product.Q
        if not frame.shape[1] or (done > 1 and moved[:k].max() <= settled):
            break
    errors = np.nan_to_num(np.maximum(moved, rounding), nan=np.inf, posinf=np.inf)
    logs = np.where(errors > UNSETTLED_NATS, np.nan, logs)
    return Eigenvalues(logs[:k], phases[:k], errors[:k])


class _Steps:
    """The Jacobians of one sequence as factors of a graded product, to go through again and again.

    Args:
        few: whether few columns are pushed: rows of very different size matter to the small columns only, so that J
            need not be taken in factors; and a dense matrix, kept for the next round, is quicker than its jvp.
    """

    def __init__(self, chain: JacobianChain, b: int, *, few: bool) -> None:
        self._chain, self._b, self._few = chain, b, few
        self._matrices = DenseJacobians(chain, b)

    def __iter__(self) -> Iterator[list[Factor]]:
        if self._few and self._matrices.cached:
            for _, matrix in self._matrices.forward():
                yield [(matrix.__matmul__, False)]
            return
        for _, J in self._chain.forward():
            one = J.column(self._b)
            yield [(one.jvp, False)] if self._few else jvp_factors(one)


def measure(run: Run, settings: Settings) -> Eigenvalues:
    """Return eigenvalues of the first sequence: all that are asked for, or a few where that takes long."""
    chain, values = run.chain.first(1), run.values(settings.spectrum)
    flops = 12 * chain.steps * chain.size**3
    few = min(FEW_VALUES, chain.size) if values is None and flops > ROUND_FLOPS else values
    return eigenvalues(chain, few, settled=REPORTED_NATS, progress=run.progress)
