"""Which road did the gradient take: around the recurrent weights or through them?

J_t = around_t + through_t U. With u_t = dL/ds_t for a loss at the last step, and v_t the perturbation that
starts along dL/ds_0 and is pushed forward, the share of step t is

    u_t . around_t v_{t-1}  /  u_t . J_t v_{t-1}

The denominator is the same number at every t: |dL/ds_0| itself. So the two shares of a step add up to one
exactly, and the share is d log|dL/ds_0| / d log|around_t|: by how many per cent the gradient would grow if the
road around the weights were one per cent wider at step t. Where the two roads cancel, a share lies below 0 or
above 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.analysis.gradients import GradientNorms
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array

__all__ = ["Paths", "paths"]


@dataclass(frozen=True, eq=False)
class Paths:
    """Shares of the gradient that went around the recurrent weights.

    Attributes:
        around_share: (T, B), entry t - 1 for the step from s_{t-1} to s_t; nan where no gradient arrived.
    """

    around_share: Array

    @property
    def mean(self) -> float:
        """Mean share over steps and sequences; nan where nothing is determined."""
        known = self.around_share[np.isfinite(self.around_share)]
        return float(known.mean()) if known.size else np.nan


def paths(chain: JacobianChain, last: GradientNorms) -> Paths:
    """Share out the gradient of a last-step loss, step by step.

    Args:
        chain: the Jacobians.
        last: gradients of a loss that reads the last state only, with their cotangents kept.
    """
    assert last.cotangents is not None
    share = np.full((chain.steps, chain.batch), np.nan)
    v = last.cotangents[0].copy()
    arrived = np.isfinite(last.state[0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for t, J in chain.forward():
            u = last.cotangents[t + 1]
            pushed = J.push(v)
            whole = (u * pushed).sum(axis=0)
            around = (u * J.push_around(v)).sum(axis=0)
            share[t] = np.where(arrived & (whole != 0), around / whole, np.nan)
            v = pushed / np.maximum(np.abs(pushed).max(axis=0), np.finfo(chain.dtype).tiny)
    return Paths(share)
