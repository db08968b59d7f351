"""How long does each unit remember by itself? Time constants, where no unit sees another.

Over T steps a unit keeps the norm of its own product of Jacobians, e^(rate T), and -1 / rate is its time constant in
steps; of a cell whose factor does not depend on the input, as a diagonal state space, that is 1 / (dt |Re A|).
What matters beside it is how near to 1 the factors of single steps come, |det|^(1/p) of a unit of p state variables:
below 1, numbers lie 0.004 apart in bfloat16, so that 0.999 is 1 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.units import near_one
from gradscope.maps.jacobian import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite",)
TITLE = "time constants"

NEAR_ONE = 1e-3  # distance from 1: less than half of what separates 1 from the next number below it in bfloat16


@dataclass(frozen=True, eq=False)
class TimeScales:
    """Time constants of H units along S sequences.

    Attributes:
        steps: (H, S), time constants in steps; inf: a unit that does not forget; 0: one that lets nothing through.
        near_one: share of the factors of all steps, units and sequences that lie within `NEAR_ONE` of 1.
    """

    steps: Array
    near_one: float


def time_scales(chain: JacobianChain) -> TimeScales | None:
    """Measure how long units remember; None for a chain whose units see one another."""
    if not chain.diagonal:
        return None
    near = sum(int(near_one(matrices, NEAR_ONE).sum()) for _, _, matrices in chain.units())
    rate = chain.unit_product.log_singular().max(axis=0) / chain.steps
    with np.errstate(divide="ignore"):
        constants = np.where(rate < 0, -1 / rate, np.inf)
    return TimeScales(constants, near / (chain.steps * rate.size))


def applies(run: Run, settings: Settings) -> bool:
    """Return whether no unit sees another."""
    return run.chain.diagonal and run.is_finite


def measure(run: Run, settings: Settings) -> TimeScales | None:
    """Measure how long units remember by themselves."""
    return time_scales(run.chain)
