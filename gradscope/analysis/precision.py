"""What do the number formats of training hold? Where states and gradients overflow in float16, bfloat16 or float32.

A gradient overflows where its norm exceeds the largest finite number of the format; single entries may be smaller by a
factor of up to the square root of their number. A state overflows where one of its entries does. Where a gradient
rounds to zero is a matter of `reach`.

IEEE 754-2019; Micikevicius et al. (2018) on mixed precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.trajectory import Trajectory
from gradscope.maps.jacobian import Array
from gradscope.numerics.formats import LARGEST_FINITE

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "gradients")

WINDOW = 256  # steps whose states are looked at together


@dataclass(frozen=True, eq=False)
class Overflow:
    """Where number formats are left at their upper end.

    Attributes:
        lags: {format: first lag at which the median gradient norm, with the loss gradient as it is, exceeds its
            largest finite number}; None where that does not happen within T.
        largest_state: largest absolute value of a state variable; None without states.
        steps: {format: first step after which a state variable exceeds its largest finite number}; None for none.
    """

    lags: dict[str, int | None]
    largest_state: float | None
    steps: dict[str, int | None]


def overflow_lags(log_norms: Array) -> dict[str, int | None]:
    """Return {format: first lag at which the median norm exceeds its largest finite number, or None}.

    Args:
        log_norms: (T + 1, B), natural logs of |dL/ds_t|.
    """
    with np.errstate(invalid="ignore"):
        by_lag = np.median(log_norms, axis=1)[::-1]
    return {name: _first(by_lag > np.log(largest)) for name, largest in LARGEST_FINITE.items()}


def largest_states(trajectory: Trajectory) -> Array:
    """Return the largest absolute value of a state variable at each step, over sequences, (T + 1,)."""
    largest = np.zeros(trajectory.steps + 1)
    for first, window in trajectory.windows(WINDOW):
        top, bottom = (f(axis=(1, 2)) for f in (window.states.max, window.states.min))
        largest[first : first + len(top)] = np.maximum(top, -bottom)  # without a copy of the states
    return largest


def _first(where: Array) -> int | None:
    indices = np.flatnonzero(where)
    return int(indices[0]) if indices.size else None


def applies(run: Run, settings: Settings) -> bool:
    """Return whether everything is finite in the format of the run."""
    return run.is_finite


def measure(run: Run, settings: Settings) -> Overflow:
    """Measure where gradients and states exceed the formats of training."""
    lags = overflow_lags(run.answers["gradients"].followed.state)
    if run.chain.trajectory is None:
        return Overflow(lags, None, dict.fromkeys(LARGEST_FINITE))
    states = largest_states(run.chain.trajectory)
    steps = {name: _first(states > largest) for name, largest in LARGEST_FINITE.items()}
    return Overflow(lags, float(states.max()), steps)
