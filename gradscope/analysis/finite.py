"""Is everything finite, and if not, where does it begin?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.trajectory import Trajectory
from gradscope.maps.jacobian import Array
from gradscope.numerics.nonfinite import NonFinite, nonfinite_in

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ()

WINDOW = 1000  # steps that are looked at together


def _in_order(path: str, array: Array) -> list[NonFinite]:
    """Return the records of one array, the first to appear first: what overflows is inf before it is nan."""
    return sorted(nonfinite_in(path, array), key=lambda r: r.first)


def nonfinite(trajectory: Trajectory) -> list[NonFinite]:
    """List what is not finite in the weights, in the inputs (step, input, sequence) and in the states."""
    records: list[NonFinite] = []
    for name, weights in trajectory.cell.weights().items():
        records += _in_order(f"model.weights.{name}", weights)
    records += _in_order("inputs", trajectory.inputs)
    return records + _in_states(trajectory)


def _in_states(trajectory: Trajectory) -> list[NonFinite]:
    """List what is not finite in the states, a window at a time where they are computed again."""
    if trajectory.at is None:
        return _in_order("states", trajectory.states)
    if not trajectory.nonfinite:
        return []
    records: dict[str, NonFinite] = {}
    for start, window in trajectory.windows(WINDOW):
        states = window.states[(start > 0) :]
        for r in _in_order("states", states):
            first = (r.first[0] + start + (start > 0), *r.first[1:])
            known = records.get(r.kind, NonFinite(r.path, r.kind, 0, first))
            records[r.kind] = NonFinite(r.path, r.kind, known.count + r.count, known.first)
    return sorted(records.values(), key=lambda r: r.first)


def nonfinite_jacobian(chain: JacobianChain, t: int) -> NonFinite:
    """Record the first Jacobian that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = chain.at(t).jvp(np.ones((chain.size, chain.batch)))
    return NonFinite("jacobians", "nan" if np.isnan(seen).any() else "inf", 1, (t,))


def measure(run: Run, settings: Settings) -> tuple[NonFinite, ...]:
    """List what is not finite in input, weights, states and Jacobians."""
    trajectory = run.chain.trajectory
    met = nonfinite(trajectory) if trajectory else []
    records = [*run.records, *(r for r in met if r.path != "inputs" or not run.records)]
    first = run.longer.first_nonfinite
    if first is not None and not records:
        records.append(nonfinite_jacobian(run.longer, first))
    return tuple(records)
