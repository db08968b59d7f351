"""Where do the values of the gates lie along a trajectory? Counted chunk by chunk, for every analysis that asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gradscope.dynamics.trajectory import Trajectory
from gradscope.maps.jacobian import Array

BINS = 40
EDGE = 0.05  # within this fraction of the range a gate counts as closed or open
CHUNK_BYTES = 32 << 20  # of gate values at once


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
    """Count where each gate's values lie. Gates whose range has no lower end are left out."""
    ranges = {g: r for g, r in trajectory.cell.gate_ranges.items() if np.isfinite(r[0])}
    tops = _tops(trajectory, ranges)
    counters = {g: _Counter(low, tops[g], open_end=not np.isfinite(high)) for g, (low, high) in ranges.items()}
    for values in _chunks(trajectory):
        for g, counter in counters.items():
            counter.add(values[g])
    return {g: counter.result() for g, counter in counters.items()}


def _tops(trajectory: Trajectory, ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return the upper end of each gate's range: of an open one, by a pass of its own, the largest finite value."""
    tops = {g: high if np.isfinite(high) else float(np.finfo(float).tiny) for g, (_, high) in ranges.items()}
    lows = {g: low for g, (low, high) in ranges.items() if not np.isfinite(high)}
    for values in _chunks(trajectory) if lows else ():
        for g, low in lows.items():
            tops[g] = max(tops[g], float(values[g].max(initial=low, where=np.isfinite(values[g]))))
    return tops


def _chunks(trajectory: Trajectory) -> Iterator[dict[str, Array]]:
    row = trajectory.cell.jacobian_numbers * trajectory.batch * trajectory.states.itemsize
    chunk = max(1, CHUNK_BYTES // row)
    for _, (x, states, _) in trajectory.windows(chunk):
        with np.errstate(over="ignore", invalid="ignore"):
            yield trajectory.cell.gate_values(x, states[:-1])


class _Counter:
    """Sums of one gate's values, taken chunk by chunk."""

    def __init__(self, low: float, high: float, *, open_end: bool) -> None:
        self.low, self.high, self.open_end = low, high, open_end
        self.edges = np.linspace(low, high, BINS + 1)
        self.counts = np.zeros(BINS, np.int64)
        self.sum, self.total, self.lowest, self.highest = 0.0, 0, 0, 0
        self.silent: Array | None = None

    def add(self, y: Array) -> None:
        """Count values of shape (steps, units, sequences)."""
        finite = y[np.isfinite(y)]
        margin = EDGE * (self.high - self.low)
        self.counts += np.histogram(finite, BINS, (self.low, self.high))[0]  # quicker than by the same edges
        self.sum += float(finite.sum(dtype=float))
        self.total += finite.size
        self.lowest += int((finite == self.low if self.open_end else finite <= self.low + margin).sum())
        self.highest += 0 if self.open_end else int((finite >= self.high - margin).sum())
        if self.open_end:
            silent = (y == self.low).all(axis=(0, 2))
            self.silent = silent if self.silent is None else self.silent & silent

    def result(self) -> GateStatistics:
        """Return the statistics of everything that was counted."""
        total = max(self.total, 1)
        return GateStatistics(
            mean=self.sum / total if self.total else np.nan,
            low_share=self.lowest / total,
            high_share=self.highest / total,
            histogram=self.counts / total,
            edges=self.edges,
            never_active=None if self.silent is None else float(self.silent.mean()),
        )
