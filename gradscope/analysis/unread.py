"""Which direction does the product of all Jacobians keep, and the loss not read?

The gradient of a loss is P^T u with u = dL/ds_T. Where its norm is far below the spectral norm of P, a direction of the
final state depends on the first state, and u hardly lies along it: another loss would receive its gradient. That
direction is the left singular vector of P to the largest singular value. It is computed by power iteration on P P^T,
one sweep back and one forward a round, for the first sequence, only where the two norms are far from one another.

A readout of random direction has an overlap of about 1 / sqrt(H) with any direction of its H outputs: that is expected,
and subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.maps.jacobian import Array
from gradscope.numerics.formats import LN10
from gradscope.numerics.frames import random_frame

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("gradients", "products")
SPECTRAL = True

UNREAD_DECADES = 2.0  # between the norms, beside those of a random readout, from which the loss misses a direction
ROUNDS = 20  # of power iteration, at most
SETTLED_COSINE = 1e-6  # distance of the cosine between two rounds from 1 at which the direction has settled
UNREAD_FRAME_SEED = [0, 7]  # of the direction that power iteration begins with


@dataclass(frozen=True, eq=False)
class Unread:
    """A direction of the final state that the product keeps, and that the loss hardly reads.

    Attributes:
        log_norm: natural log of the spectral norm of the product, that is, of the gain along this direction.
        log_gain: natural log of |dL/ds_0| / |dL/ds_T| of the loss, same sequence.
        parts: {part: share of the squared length of the direction that lies in the part}; shares add up to 1.
    """

    log_norm: float
    log_gain: float
    parts: Mapping[str, float]

    @property
    def decades(self) -> float:
        """Decades between the two."""
        return (self.log_norm - self.log_gain) / LN10


def leading_direction(chain: JacobianChain) -> Array:
    """Return the left singular vector to the largest singular value of the product of the first sequence, (n,)."""
    u = random_frame(chain.size, 1, UNREAD_FRAME_SEED)
    for _ in range(ROUNDS):
        before, v = u, u
        for _, J in chain.backward():
            v = _unit(J.column(0).vjp(v))
        for _, J in chain.forward():
            v = _unit(J.column(0).jvp(v))
        u = v
        if abs(float((u * before).sum())) > 1 - SETTLED_COSINE:
            break
    return np.asarray(u[:, 0])


def _unit(v: Array) -> Array:
    v = np.asarray(v, float)
    v = v / max(float(np.abs(v).max()), np.finfo(float).tiny)  # squares of what is small underflow
    return np.asarray(v / max(float(np.linalg.norm(v)), np.finfo(float).tiny))


def _log_norm_and_gain(run: Run) -> tuple[float, float] | None:
    """Return natural logs of the norm of the product and of the loss's gain, first sequence; None: not determined."""
    gradients = run.answers["gradients"]
    logs = gradients.followed.state
    if "products" not in run.answers or not gradients.sequences[0]:
        return None
    with np.errstate(invalid="ignore"):  # zero at both ends
        norm, gain = float(run.answers["products"].log_norm[-1, 0]), float(logs[0, 0] - logs[-1, 0])
    return (norm, gain) if np.isfinite(norm) and np.isfinite(gain) else None


def applies(run: Run, settings: Settings) -> bool:
    """Return whether the product keeps more than `threshold` of a direction, and the loss receives far less of it."""
    logs = _log_norm_and_gain(run)
    if logs is None or logs[0] < np.log(settings.threshold):
        return False
    expected = np.log(run.chain.output_size) / 2  # of the overlap 1 / sqrt(H)
    return bool(logs[0] - logs[1] - expected > UNREAD_DECADES * LN10)


def measure(run: Run, settings: Settings) -> Unread | None:
    """Return the direction that the product keeps and the loss does not read."""
    logs = _log_norm_and_gain(run)
    if logs is None:
        return None
    squares = np.square(leading_direction(run.chain.first(1)))
    return Unread(*logs, {name: float(squares[rows].sum()) for name, rows in run.chain.parts.items()})
