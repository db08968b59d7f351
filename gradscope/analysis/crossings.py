"""How many times does the gradient cross the recurrent weights on its way?

u . P v, with u = dL/ds_T and v along dL/ds_0, is a sum over paths, and a path takes one of two roads at each step:
J_t = around_t + through_t. Sorted by the number k of steps at which they cross weights, the paths are followed
by a recursion over vectors,

    G_k <- around_t G_k + through_t G_{k-1},    from G_0 = v,

and u . G_k is the contribution of k crossings. The ablated product of `around` alone is u . G_0: exact, and in a
network of many units a negligible part of the whole. The mean number of crossings is the sum over steps of what
`paths` finds through the weights.

Contributions may be negative. Where they are much larger than their sum, they cancel, and rounding is multiplied
by `cancellation`.
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

NEEDS = ("paths",)

WORK = 3.0e10  # of `_work`: about two seconds on one core
TINY = 1e-250  # vectors so far below the largest are dropped: arithmetic with subnormal numbers is slow
WIDE = 1e40  # size of the largest beyond which, or below its inverse, all are scaled
KNOWN = 0.01  # relative error of the shares from which they are not determined


@dataclass(frozen=True, eq=False)
class Crossings:
    """Shares of one sequence's gradient by the number of steps at which its paths cross weights.

    Attributes:
        share: (T + 1,), entry k for k crossings; they add up to one, and single ones may be negative or above one.
        cancellation: sum of the absolute shares: 1 where all have one sign.
        sequence: which sequence.
    """

    share: Array
    cancellation: float
    sequence: int

    @property
    def mean(self) -> float:
        """Mean number of crossings."""
        return float(np.arange(len(self.share)) @ self.share)


def crossings(chain: JacobianChain, last: GradientNorms, *, work: float = WORK) -> Crossings | None:
    """Sort the gradient of a last-step loss by how often it crosses weights, for the first sequence that has one.

    Args:
        chain: the Jacobians.
        last: gradients of a loss that reads the last state only, with their cotangents kept.
        work: leave it out where n (n + 64) T^2 is above this.

    Returns:
        the shares; None where it is too much work, nothing arrives, or what cancels is beyond rounding.
    """
    arrived = np.flatnonzero(np.isfinite(last.state[0]))
    if chain.diagonal:  # there is nothing to cross
        return Crossings(np.eye(1, chain.steps + 1)[0], 1.0, int(arrived[0])) if arrived.size else None
    assert last.cotangents is not None
    if not arrived.size or _work(chain.size, chain.steps) > work:
        return None
    b = int(arrived[0])
    held = np.zeros((chain.size, chain.steps + 1), order="F")  # columns side by side
    held[:, 0] = last.cotangents[0][:, b]
    with np.errstate(over="ignore", invalid="ignore"):
        for t, J in chain.forward():
            one, before, after = J.column(b), held[:, : t + 1], held[:, 1 : t + 2]
            crossed = one.dense(float, skip=False) @ before
            held[:, : t + 1] = one.jvp_skip(before)
            after += crossed
            parts = held[:, : t + 2]
            size = np.abs(parts).max(axis=0)
            if not np.isfinite(size).all() or not size.any():
                return None
            if not 1 / WIDE < size.max() < WIDE:  # one scale for all: shares need no more
                held = np.ldexp(held, -int(np.frexp(size.max())[1]))
                parts = held[:, : t + 2]
            parts[:, size < TINY * size.max()] = 0
        each = last.cotangents[-1][:, b].astype(float) @ held
    whole, absolute = abs(float(each.sum())), float(np.abs(each).sum())
    error = chain.steps * float(np.finfo(chain.dtype).eps) * absolute  # every step rounds by about eps
    return Crossings(each / each.sum(), absolute / whole, b) if error < KNOWN * whole else None


def _work(n: int, steps: int) -> float:
    """Return what a block of up to T vectors through T Jacobians costs; 64: the element-wise part, as measured."""
    return float(n) * (n + 64) * float(steps) ** 2


def applies(run: Run, settings: Settings) -> bool:
    """Return whether paths may, or may not, cross weights."""
    return "paths" in run.answers and run.answers["paths"].has_around


def measure(run: Run, settings: Settings) -> Crossings | None:
    """Sort the gradient of the last step's loss by how often it crosses weights."""
    return crossings(run.chain, run.followed)
