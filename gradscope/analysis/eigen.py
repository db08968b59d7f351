"""What are the eigenvalues of the product of all Jacobians, over hundreds of decades?

Of the product multiplied out, eigenvalues below 1e-16 of the largest are rounding. Here a frame is pushed along the
chain, P Q_0 = Q e^l U, and once around it becomes the next Q_0 (orthogonal iteration on a cycle of factors, as in the
periodic QR algorithm: Bojanczyk, Golub & Van Dooren 1992; Kressner 2005). In that frame the product is
Q_0^T Q diag(e^l) U: graded, and nearer to triangular each time around, so that parts of the spectrum that are far
apart come apart and are solved for in windows.

The run is repeated until two rounds agree; what still moves then, as nearly defective eigenvalues do, is not
determined. The eigenvalues decide what happens if the same inputs are repeated for ever. What one pass gains is the
norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.analysis.singular import SPARE, jvp_factors
from gradscope.dynamics.chain import JacobianChain
from gradscope.errors import UsageError
from gradscope.kernels.matrices import DenseJacobians
from gradscope.kernels.units import in_order
from gradscope.maps.jacobian import Array
from gradscope.numerics.frames import random_frame
from gradscope.numerics.graded import GradedProduct
from gradscope.numerics.graded_svd import windows

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

__all__ = ["applies", "eigenvalues", "Eigenvalues", "measure"]

NEEDS = ("finite",)
TITLE = "eigenvalues of the product"

ROUNDS = 12
WORK = 1.0e11  # operations of one round of all eigenvalues that are spent unasked: a few seconds
FEW = 16  # eigenvalues that are taken where all of them would take longer
DRAWN = 1e-6  # nats to which they are taken for a report
EASY = 5.5  # nats by which columns may come apart before they are made orthogonal, where a few lead: costs e^5.5 eps
DECOUPLED = 36.0  # nats: e^-36 is about eps
CORE = 4.0  # nats of eigenvalues that a window is made for
SETTLED = 1e-9  # nats by which two rounds may differ
UNSURE = 1e-3  # nats between two rounds from which an eigenvalue is not determined


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
    chain: JacobianChain, values: int | None = None, *, settled: float = SETTLED, rounds: int = ROUNDS, seed: int = 0
) -> Eigenvalues:
    """Return natural logs of the moduli of the eigenvalues of the product over the whole chain, and their phases.

    Args:
        chain: the Jacobians.
        values: how many, the largest ones; None for all.
        settled: nats by which two rounds may differ in the end.
        rounds: times around the chain, at most.
        seed: seed of the frame.

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
    by_one = (_of_sequence(chain, b, values, settled, rounds, seed) for b in range(chain.batch))
    found = _of_units(chain, values) if chain.diagonal else list(by_one)
    if chain.batch == 1:
        return found[0]
    return Eigenvalues(*(np.array([getattr(f, x) for f in found]) for x in ("logs", "phases", "errors")))


def _of_units(chain: JacobianChain, values: int | None) -> list[Eigenvalues]:
    """Take those of every unit: in closed form."""
    logs, phases, errors = in_order(*chain.unit_product.eigenvalues())
    logs = np.where(errors > UNSURE, np.nan, logs)
    return [Eigenvalues(*(x[:values, b] for x in (logs, phases, errors))) for b in range(chain.batch)]


def _of_sequence(
    chain: JacobianChain, b: int, values: int | None, settled: float, rounds: int, seed: int
) -> Eigenvalues:
    n = chain.size
    k = min(values or n, n)
    columns = n if values is None else min(n, k + SPARE)
    frame = random_frame(n, columns, [seed, 5])
    logs, phases = np.full(columns, np.nan), np.zeros(columns)
    moved = doubts = np.full(columns, np.inf)
    few, matrices = 2 * columns <= n, DenseJacobians(chain, b)
    for done in range(1, rounds + 1):
        product = GradedProduct(frame, in_order=True, spread_nats=EASY if few else 1.0)
        if few and matrices.cached:
            for _, matrix in matrices.forward():
                product.multiply([(matrix.__matmul__, False)])
        else:
            for _, J in chain.forward():
                one = J.column(b)
                if few:  # small rows matter to the small columns only
                    product.multiply([(one.jvp, False)])
                else:
                    product.multiply(jvp_factors(one))
        doubts = np.zeros(columns)
        doubts[: product.columns] = product.errors()
        found = _solve(frame.T @ product.Q, product.sizes, product.U, done)
        new, phase = np.full(columns, -np.inf), np.zeros(columns)
        with np.errstate(divide="ignore", invalid="ignore"):
            new[: len(found)] = np.log(np.abs(found.scaled)) + found.shift
            phase[: len(found)] = np.angle(found.scaled)
            moved = np.where(new == logs, 0.0, np.abs(new - logs))
        moved[: len(found)][np.isneginf(new[: len(found)])] = np.inf  # zero by rounding
        moved[len(found) :] = 0.0  # zero for certain
        logs, phases = new, phase
        frame = product.Q
        if not frame.shape[1] or (done > 1 and moved[:k].max() <= settled):
            break
    errors = np.nan_to_num(np.maximum(moved, doubts), nan=np.inf, posinf=np.inf)
    logs = np.where(errors > UNSURE, np.nan, logs)
    return Eigenvalues(logs[:k], phases[:k], errors[:k])


@dataclass(frozen=True)
class _Found:
    scaled: Array
    shift: Array

    def __len__(self) -> int:
        return len(self.scaled)


def _solve(S: Array, sizes: Array, U: Array, done: int) -> _Found:
    """Return the eigenvalues of S diag(e^l) U, each as a number near one and a logarithm, largest first."""
    order = np.argsort(-sizes, kind="stable")
    if not np.isfinite(U).all():
        return _Found(np.full(sizes.size, np.nan, complex), sizes[order])
    sizes, turned = sizes[order], (U @ S)[np.ix_(order, order)]  # diag(e^l) U S has the same ones, other than zeros
    scaled, shift = np.zeros(sizes.size, complex), np.zeros(sizes.size)
    for low, start, stop, high in windows(sizes, CORE, DECOUPLED / done):
        centre = sizes[start]
        block = np.exp(sizes[low:high] - centre)[:, None] * turned[low:high, low:high]
        found = scipy.linalg.eigvals(block, check_finite=False)
        found = found[np.argsort(-np.abs(found), kind="stable")][start - low : stop - low]
        scaled[start:stop], shift[start:stop] = found, centre
    return _Found(scaled, shift)


def applies(run: Run, settings: Settings) -> bool:
    """Return whether products and spectra are asked for, and the Jacobians are finite."""
    return settings.lags > 0 and run.is_finite


def measure(run: Run, settings: Settings) -> Eigenvalues:
    """Take eigenvalues of the first sequence: all that are asked for, or a few where that takes long."""
    chain, values = run.chain.first(1), run.values(settings.spectrum)
    whole_round = 12 * chain.steps * chain.size**3
    few = min(FEW, chain.size) if values is None and whole_round > WORK else values
    return eigenvalues(chain, few, settled=DRAWN)
