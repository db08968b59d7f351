"""Which sequences run along one and the same orbit?

A network that is left to itself, or driven alike in every sequence, may forget where it began: then all sequences
end on one orbit, and a spread over them is no error bar. Two sequences count as one where their states agree to half
of the digits, in the middle of the run and at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.trajectory import Trajectory
from gradscope.maps.jacobian import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ()


def orbits(trajectory: Trajectory) -> Array:
    """Return a number for each sequence, (B,): the first sequence that it runs together with, itself if none."""
    states = np.stack([trajectory.state(trajectory.steps // 2), trajectory.state(trajectory.steps)])  # (2, n, B)
    label = np.arange(trajectory.batch)
    tolerance = np.sqrt(np.finfo(states.dtype).eps) * np.abs(states).max(axis=1, initial=0.0)  # (2, B)
    with np.errstate(invalid="ignore"):  # what is not finite agrees with nothing
        for b in range(1, trajectory.batch):
            gaps = np.abs(states[..., :b] - states[..., b : b + 1]).max(axis=1, initial=0.0)
            same = np.flatnonzero((gaps <= np.minimum(tolerance[:, :b], tolerance[:, b : b + 1])).all(axis=0))
            if same.size:
                label[b] = label[same[0]]
    return label


def joined(one: Array, other: Array) -> Array:
    """Return a number for each sequence, equal for those that run together in either of two runs."""
    label = one.copy()
    for group in np.unique(other):
        met = label[other == group]
        label[np.isin(label, met)] = met.min()
    return label


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are states."""
    return run.chain.trajectory is not None


def measure(run: Run, settings: Settings) -> Array:
    """Return the orbit of each sequence."""
    assert run.chain.trajectory is not None
    return orbits(run.chain.trajectory)
