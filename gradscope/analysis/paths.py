"""Which path did the gradient take: the skip path, or through the recurrent weights of which gate?

J_t = around_t + the sum over gates g of through_tg U_g. With u_t = dL/ds_t for a loss at the last step, and v_t the
perturbation that starts along dL/ds_0 and is pushed forward, the shares of step t are

    u_t . around_t v_{t-1}  /  u_t . J_t v_{t-1}    and    u_t . through_tg U_g v_{t-1}  /  u_t . J_t v_{t-1}

The denominator is the same number at every t: |dL/ds_0| itself. So the shares of a step add up to one
exactly, and the share around is d log|dL/ds_0| / d log|around_t|: by how many per cent the gradient would grow if
the coefficients of the skip path were one per cent larger at step t. Likewise for a gate whose weights are read at the
beginning of a step. Where shares cancel, a share lies below 0 or above 1.

In a step of several maps a path may cross several weights. It counts for those that it crosses first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._cotangents import GradientNorms
from gradscope.dynamics.chain import JacobianChain
from gradscope.maps.jacobian import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite",)
TITLE = "gradient paths"


@dataclass(frozen=True, eq=False)
class Paths:
    """Shares of the gradient by path.

    Attributes:
        around_share: (T, B), around the recurrent weights; entry t - 1 for the step from s_{t-1} to s_t; nan where
            no gradient arrived.
        gate_share: {gate: (T, B)}, through the recurrent weights of each gate ("l0.f" in a network of layers), and
            "l0 to l1" through the input weights of the layer above, "readout" through that of a closed loop. With
            `around_share` they add up to one.
    """

    around_share: Array
    gate_share: dict[str, Array]

    @property
    def mean(self) -> float:
        """Mean share around, over steps and sequences; nan where nothing is determined."""
        return _mean(self.around_share)

    @property
    def gate_mean(self) -> dict[str, float]:
        """Mean share through each gate's weights; with `mean` they add up to one."""
        return {name: _mean(share) for name, share in self.gate_share.items()}

    @property
    def has_around(self) -> bool:
        """Whether any of the gradient goes around the weights, for all that is known: not in plain RNNs."""
        known = self.around_share[np.isfinite(self.around_share)]
        return bool(known.any()) or not known.size


def _mean(share: Array) -> float:
    known = share[np.isfinite(share)]
    return float(known.mean(dtype=float)) if known.size else np.nan


def paths(chain: JacobianChain, last: GradientNorms) -> Paths:
    """Share out the gradient of a last-step loss, step by step: O(H^2) for a step of a sequence.

    Args:
        chain: the Jacobians.
        last: gradients of a loss that reads the last state only, with their cotangents kept.
    """
    empty = np.full((chain.steps, chain.batch), np.nan)
    if chain.diagonal:  # there is no other path
        return Paths(np.where(np.isfinite(last.state[0]), 1.0, empty), {})
    assert last.cotangents is not None
    share, gates = empty.copy(), dict[str, Array]()
    v = last.cotangents[0].copy()
    arrived = np.isfinite(last.state[0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for t, J in chain.passing():
            u = last.cotangents[t + 1]
            shares = J.path_shares(u, v)
            whole = (u * shares.jvp).sum(axis=0)
            known = arrived & (whole != 0) & np.isfinite(whole)
            share[t] = np.where(known, shares.around / whole, np.nan)
            for name, part in shares.through.items():
                gates.setdefault(name, empty.copy())[t] = np.where(known, part / whole, np.nan)
            v = shares.jvp / np.maximum(np.abs(shares.jvp).max(axis=0), np.finfo(chain.dtype).tiny)
    return Paths(share, gates)


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there is more than one path."""
    return run.is_finite and run.has_paths


def measure(run: Run, settings: Settings) -> Paths:
    """Share out the gradient of the last step's loss."""
    return paths(run.chain, run.followed)
