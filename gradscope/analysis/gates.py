"""Which units have stopped passing gradient: what the gates do along the run.

A gate that sits at an end of its range has a derivative near zero: nothing is learned through it. That is
not bad in itself: a forget gate that stays open is what keeps an LSTM's cell alive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.dynamics.trajectory import Trajectory
from gradscope.jacobian import Array

__all__ = ["GateStatistics", "gate_statistics"]

BINS = 40
EDGE = 0.05  # within this fraction of the range a gate counts as closed or open
CHUNK = 64


@dataclass(frozen=True, eq=False)
class GateStatistics:
    """Values of one gate over units, steps and sequences.

    Attributes:
        mean: mean value.
        low_share: share of values in the lowest twentieth of the range; for relu, exactly zero.
        high_share: share of values in the highest twentieth; 0 where the range has no upper end.
        histogram: (40,), shares of the values over `edges`; values that are not finite are left out.
        edges: (41,).
        never_active: share of units that are zero at every step of every sequence; relu only, else None.
    """

    mean: float
    low_share: float
    high_share: float
    histogram: Array
    edges: Array
    never_active: float | None = None


def gate_statistics(trajectory: Trajectory) -> dict[str, GateStatistics]:
    """Count where each gate's values lie. Gates without a bounded side are left out."""
    cell = trajectory.cell
    ranges = {g: r for g, r in cell.gate_ranges.items() if np.isfinite(r[0])}
    values: dict[str, list[Array]] = {g: [] for g in ranges}
    for start in range(0, trajectory.steps, CHUNK):
        rows = slice(start, min(start + CHUNK, trajectory.steps))
        with np.errstate(over="ignore", invalid="ignore"):
            found = cell.gate_values(trajectory.inputs[rows], trajectory.states[rows])
        for gate in ranges:
            values[gate].append(found[gate])
    return {gate: _count(np.concatenate(values[gate]), *ranges[gate]) for gate in ranges}


def _count(y: Array, low: float, high: float) -> GateStatistics:
    finite = y[np.isfinite(y)]
    one_sided = not np.isfinite(high)
    top = high if not one_sided else max(float(finite.max(initial=0.0)), np.finfo(y.dtype).tiny)
    edges = np.linspace(low, top, BINS + 1)
    total = max(finite.size, 1)
    histogram = np.histogram(finite, edges)[0] / total
    margin = EDGE * (top - low)
    lowest = (finite == low) if one_sided else (finite <= low + margin)
    return GateStatistics(
        mean=float(finite.mean()) if finite.size else np.nan,
        low_share=float(lowest.sum()) / total,
        high_share=0.0 if one_sided else float((finite >= high - margin).sum()) / total,
        histogram=histogram,
        edges=edges,
        never_active=float((y == low).all(axis=(0, 2)).mean()) if one_sided else None,
    )
