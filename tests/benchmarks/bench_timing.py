"""How much faster is one than another? Paired timings in one process, and what is read off them.

Everything that is compared runs in turn, many rounds over, and each round gives one ratio: what slows the machine
down for a while slows both. The median over rounds is reported, with its quartiles.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SHORTEST = 0.02  # seconds: what takes less is called several times over in each round
LEAST, MOST = 5, 41  # rounds


@dataclass(frozen=True)
class Line:
    """One line of the table: how long ours takes, how long the other takes, and what was asked for.

    Attributes:
        group: what is compared with whom; lines of a group may have a geometric mean together.
        case: cell and sizes.
        ours, other: medians, in `unit`; None where one was not measured.
        ratio: median of other / ours over rounds; larger is better.
        low, high: its quartiles.
        rounds: how many.
        target: the ratio that is asked of this line; None: of the group only.
        error, allowed: how far the two results are apart, relative, and how far they may be.
        note: in a word, why something is missing, or what the number stands for.
    """

    group: str
    case: str
    ours: float | None = None
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    target: float | None = None
    error: float | None = None
    allowed: float | None = None
    note: str = ""
    unit: str = "s"

    @property
    def verdict(self) -> str:
        """In one word: "ok", "below", "differs", "failed", "missing", or "" where nothing was asked."""
        if self.note.startswith(("failed", "not installed")):
            return "missing" if self.note.startswith("not") else "failed"
        if self.error is not None and self.allowed is not None and not self.error <= self.allowed:
            return "differs"
        if self.ratio is None or self.target is None:
            return ""
        return "ok" if self.ratio >= self.target else "below"

    def as_dict(self) -> dict[str, Any]:
        """Return what is written to the record."""
        return dataclasses.asdict(self) | {"verdict": self.verdict}


def line(record: Mapping[str, Any]) -> Line:
    """Read a line of the record."""
    return Line(**{f.name: record[f.name] for f in dataclasses.fields(Line)})


def rounds_of(functions: Mapping[str, Callable[[], Any]], seconds: float, least: int = LEAST) -> dict[str, list[float]]:
    """Time functions in turn, for about so many seconds and `least` rounds.

    Returns:
        seconds of one call of each, round by round.

    They take turns at being first, so that none always finds the caches as the same other one left them.
    """
    calls = {}
    for name, function in functions.items():
        first = _seconds(function, 1)  # with what is done only once
        calls[name] = 1 if first > 10 * SHORTEST else max(1, math.ceil(SHORTEST / _seconds(function, 1)))
    found: dict[str, list[float]] = {name: [] for name in functions}
    order, began = list(functions), time.perf_counter()
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()  # as timeit does
    try:
        for done in range(MOST):
            if done >= least and time.perf_counter() - began > seconds:
                break
            for name in order:
                found[name].append(_seconds(functions[name], calls[name]))
            order.append(order.pop(0))
    finally:
        if enabled:
            gc.enable()
    return found


def _seconds(function: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return max(time.perf_counter() - began, 1e-9) / calls


class Paired(NamedTuple):
    """What `Line` says of two lists of timings."""

    ours: float
    other: float
    ratio: float
    low: float
    high: float
    rounds: int


def paired(ours: Sequence[float], other: Sequence[float], *, ours_times: float = 1, other_times: float = 1) -> Paired:
    """Return medians, and the median and quartiles of other / ours, round by round.

    Args:
        ours: seconds of each round.
        other: the same of the other.
        ours_times: by how much `ours` is multiplied, where a part of the work was timed.
        other_times: the same for `other`.
    """
    a, b = ([x * times for x in xs] for xs, times in ((ours, ours_times), (other, other_times)))
    ratios = [y / x for x, y in zip(a, b, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Paired(statistics.median(a), statistics.median(b), statistics.median(ratios), low, high, len(ratios))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(v) for v in values))


class Fit(NamedTuple):
    """y = factor * x^slope, by least squares of the logarithms."""

    slope: float
    error: float  # standard error of the slope; nan from two points
    factor: float


def power_law(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fit a straight line through log y over log x."""
    u, v = [math.log(a) for a in x], [math.log(b) for b in y]
    middle, height = statistics.fmean(u), statistics.fmean(v)
    width = sum((a - middle) ** 2 for a in u)
    slope = sum((a - middle) * (b - height) for a, b in zip(u, v, strict=True)) / width
    left = sum((b - height - slope * (a - middle)) ** 2 for a, b in zip(u, v, strict=True))
    error = math.sqrt(left / (len(u) - 2) / width) if len(u) > 2 else math.nan
    return Fit(slope, error, math.exp(height - slope * middle))
