"""How many steps may pass before the columns of a frame are made orthogonal again?

A QR decomposition at every step costs more than the step. Between two of them columns turn towards the one that grows
fastest: with a spread of d nats within an interval, rounding costs the smallest column e^d eps of itself. The interval
adapts to the spread that the last one had; one whose spread was too wide after all is gone through again, step by step.
"""

from __future__ import annotations

import numpy as np

from gradscope.numerics.formats import Array

REDO_ABOVE_NATS = 13.8  # spread of columns, a factor 10^6, from which an interval is repeated one step at a time
MAX_GROWTH_NATS = 100.0  # growth of a block in one interval: far from the 709 nats where float64 overflows
MAX_STEPS = 32  # of an interval: a longer one saves nothing that can be measured


def next_interval(steps: int, logs: Array, spread_nats: float) -> int:
    """Return how many steps the next interval may have.

    Args:
        steps: of the last interval.
        logs: by how much its columns have grown, nats; not finite for columns that are zero.
        spread_nats: spread between the columns that one interval may have, nats.
    """
    finite = logs[np.isfinite(logs)]
    if not finite.size:
        return 1
    spread, growth = float(np.ptp(finite)), float(np.abs(finite).max())
    share_per_step = max(spread / spread_nats, growth / MAX_GROWTH_NATS, 1 / MAX_STEPS / 2) / steps
    # at most doubled: one calm interval says little about what comes next
    return int(np.clip(1 / share_per_step, 1, min(MAX_STEPS, 2 * steps)))
