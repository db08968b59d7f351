"""How large is the product in every direction? All of its singular values, over hundreds of decades.

P_k = J_T ... J_(T-k+1) is what the gradient at the last step is multiplied by on its way back k steps, and
J_k ... J_1 is what a perturbation of the first state is multiplied by on its way forward. Their singular values are
not what the diagonal of a QR decomposition says, nor e^(k lambda): they are those of this stretch of this run.

For states of moderate size the product is carried as Q diag(e^l) U (`numerics.graded`), and every value is determined.
For large ones the largest few are computed without ever forming it: a block of columns goes back and forth until the
values stay as they are (subspace iteration on P P^T), starting from the block of the lag before.

A network that has to carry two things needs two directions: `surviving` counts the singular values that are both
above 10^-3.5 and within a decade of the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.units import in_order
from gradscope.maps.linear import Linear
from gradscope.maps.row_scaling import factors
from gradscope.numerics.formats import LN10, Array
from gradscope.numerics.frames import random_frame
from gradscope.numerics.graded import Factor, GradedProduct

SURVIVES_LOG10 = -3.5  # size from which a direction can be told from noise
WITHIN_DECADES = 1.0  # of the largest
SPARE_COLUMNS = 8  # beside those asked for, so that the last one converges too (Halko, Martinsson & Tropp 2011)
MAX_PASSES = 30  # back and forth
SETTLED_NATS = 1e-9  # by which a value may still move from one iteration to the next, here, in `eigen` and `products`
SINGULAR_UNSURE_NATS = 0.01  # that rounding may have moved a value that is reported
SINGULAR_FRAME_SEED = [0, 4]  # of the block that subspace iteration begins with


@dataclass(frozen=True, eq=False)
class SingularValues:
    """Singular values of the product over a whole chain.

    Attributes:
        logs: (k,), or (B, k) for B sequences: natural logs, largest first. -inf: exactly zero; nan: not determined.
        errors: estimates, on the safe side, of what rounding did to each, nats; where only the largest were asked for,
            by how much they moved from one pass to the next, at most.
    """

    logs: Array
    errors: Array


def singular_values(chain: JacobianChain, values: int | None = None) -> SingularValues:
    """Return natural logs of the singular values of the product over the whole chain.

    Args:
        chain: the Jacobians.
        values: how many, the largest ones, computed without forming the product; None for all.

    Raises:
        UsageError: a number out of range, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    check_chain(chain)
    check_count("values", values, 1)
    if chain.diagonal:
        by_sequence = _by_unit(chain, values)
    else:
        by_sequence = [_of_sequence(chain, b, values) for b in range(chain.batch)]
    logs, errors = (np.array(x) for x in zip(*by_sequence, strict=True))
    return SingularValues(logs[0], errors[0]) if chain.batch == 1 else SingularValues(logs, errors)


def _by_unit(chain: JacobianChain, values: int | None) -> list[tuple[Array, Array]]:
    """Return (logs, errors) of every sequence where no unit sees another."""
    product = chain.unit_product
    logs, errors = in_order(product.log_singular(), np.broadcast_to(product.errors, product.log_singular().shape))
    errors = np.where(np.isneginf(logs), 0.0, errors)
    logs = np.where(errors > SINGULAR_UNSURE_NATS, np.nan, logs)
    return list(zip(logs[:values].T, errors[:values].T, strict=True))


def _of_sequence(chain: JacobianChain, b: int, values: int | None) -> tuple[Array, Array]:
    """Return (logs, errors) of one sequence."""
    if values is not None and values + SPARE_COLUMNS < chain.size:
        logs = largest(chain, [chain.steps], values, sequence=b)[0]
        return logs, np.where(np.isnan(logs), np.inf, SETTLED_NATS)
    product = GradedProduct(np.eye(chain.size))
    for _, J in chain.forward():
        product.multiply(jvp_factors(J.column(b)))  # P <- J[t] P
    return determined(product, values)


def determined(product: GradedProduct, values: int | None = None) -> tuple[Array, Array]:
    """Return (natural logs of the singular values, errors); nan where rounding may have moved a value."""
    logs, errors = product.log_singular(), product.errors()
    return np.where(errors > SINGULAR_UNSURE_NATS, np.nan, logs)[:values], errors[:values]


def jvp_factors(J: Linear) -> list[Factor]:
    """Return the maps that make up v -> J v, the first to be applied first."""
    return [(factor.map.jvp, factor.steep) for factor in factors(J)]


def vjp_factors(J: Linear) -> list[Factor]:
    """Return the maps that make up u -> J^T u, the first to be applied first."""
    return [(factor.map.vjp, factor.steep) for factor in reversed(factors(J))]


def surviving(logs: Array) -> int | None:
    """Return the number of directions that survive, given natural logs of singular values; None: too few are known."""
    log10 = logs / LN10
    if np.isnan(log10[0]):
        return None
    bar = max(SURVIVES_LOG10, float(log10[0]) - WITHIN_DECADES)
    below = np.flatnonzero(~(log10 >= bar))
    if not below.size or np.isnan(log10[below[0]]):
        return None  # none is seen to die
    return int(below[0])


def largest(
    chain: JacobianChain,
    lags: list[int],
    values: int,
    *,
    sequence: int = 0,
    settled: float = SETTLED_NATS,
    passes: int = MAX_PASSES,
) -> Array:
    """Return natural logs of the largest singular values of products over the last `lag` steps, (K, values).

    Args:
        chain: the Jacobians.
        lags: in rising order.
        values: how many.
        sequence: of which sequence.
        settled: nats by which a value may still move from one pass to the next; one that moves more is nan.
        passes: back and forth, at most, at each lag.
    """
    k = min(values, chain.size)
    columns = min(chain.size, k + SPARE_COLUMNS)
    frame = random_frame(chain.size, columns, SINGULAR_FRAME_SEED)
    out = np.full((len(lags), k), np.nan)
    for row, lag in enumerate(lags):
        before, moved = np.full(k, np.nan), np.full(k, np.inf)
        for _ in range(passes):
            # subspace iteration on P P^T: its values are the sizes of the block on the way forward
            back = _swept(frame, chain, lag, sequence, back=True)
            there = _swept(back.Q, chain, lag, sequence, back=False)
            logs, known = np.full(k, -np.inf), determined(there, k)[0]
            logs[: known.size] = known
            with np.errstate(invalid="ignore"):
                moved = np.where(logs == before, 0.0, np.abs(logs - before))
            frame, before = there.Q, logs
            if columns == chain.size:  # the whole space: there is nothing to converge
                moved[:] = 0
            if (moved <= settled).all():
                break
        out[row] = np.where(moved <= settled, before, np.nan)
        if frame.shape[1] < columns:  # the product is of lower rank; the next one need not be
            frame = random_frame(chain.size, columns, SINGULAR_FRAME_SEED)
    return out


def _swept(frame: Array, chain: JacobianChain, lag: int, b: int, *, back: bool) -> GradedProduct:
    """Return the product of the last `lag` steps with a frame, or that of their transposes."""
    product, first = GradedProduct(frame), chain.steps - lag
    for t, J in chain.backward() if back else chain.forward(first):
        if t < first:
            break
        product.multiply(vjp_factors(J.column(b)) if back else jvp_factors(J.column(b)))
    product.settle()
    return product
