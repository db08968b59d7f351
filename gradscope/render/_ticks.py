"""Where the ticks are and what is written at them."""

from __future__ import annotations

import math
from typing import NamedTuple

DECADE_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)  # from one tick to the next, in decades
SLACK = 1e-9  # of a step: an end that is a tick up to rounding gets it


class Ticks(NamedTuple):
    """Positions on the axis, and their labels; a label with a $ is mathtext."""

    at: list[float]
    labels: list[str]


def linear(low: float, high: float, most: int = 6, *, whole: bool = False) -> Ticks:
    """Return round numbers between two ends, at most `most` of them; `whole` for what is counted."""
    rough = (high - low) / max(most - 1, 1)
    power = max(math.floor(math.log10(rough)), 0 if whole else -400)
    for nice in (1, 2, 5, 10, 20) if whole and not power else (1, 2, 2.5, 5, 10, 20):
        step = nice * 10.0**power
        first, last = math.ceil(low / step - SLACK), math.floor(high / step + SLACK)
        if last - first < most:
            break
    at = [k * step for k in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + SLACK) + (nice == 2.5))
    return Ticks(at, [_number(x, digits) for x in at])


def _number(x: float, digits: int) -> str:
    if x == 0 and digits > 5:
        return "0"
    if x != 0 and (abs(x) >= 1e6 or digits > 5):
        power = math.floor(math.log10(abs(x)) + SLACK)
        return f"${x / 10.0**power:.3g}\\times 10^{{{power}}}$"
    return f"{x + 0.0:,.{digits}f}".replace("-", "\u2212").replace(",", "\u2009")


def decades(low: float, high: float, most: int = 7) -> Ticks:
    """Return ticks for an axis whose values are log10 of the quantity."""
    span = high - low
    if span >= 2:
        return _whole_decades(low, high, most)
    if span >= 0.6:
        return _digits_of_decades(low, high, (1, 2, 5) if span >= 1.2 else (1, 2, 3, 5, 7))
    # Less than a factor of 4: round numbers of the quantity itself, over a power of ten.
    base = math.floor((low + high) / 2 + SLACK)
    ticks = linear(10 ** (low - base), 10 ** (high - base), most)
    digits = max((len(label.partition(".")[2]) for label in ticks.labels), default=0)
    at = [x for x in ticks.at if x > 0]
    return Ticks([math.log10(x) + base for x in at], [_value(x, base, digits) for x in at])


def _whole_decades(low: float, high: float, most: int) -> Ticks:
    span = high - low
    step = next((s for s in DECADE_STEPS if span / s <= most), math.ceil(span / most))
    first, last = math.ceil(low / step - SLACK), math.floor(high / step + SLACK)
    at = [float(k * step) for k in range(first, last + 1)]
    return Ticks(at, [_power(round(x)) for x in at])


def _digits_of_decades(low: float, high: float, digits: tuple[int, ...]) -> Ticks:
    """Return ticks at some digits times every power of ten."""
    pairs = [(m, k) for k in range(math.floor(low), math.ceil(high) + 1) for m in digits]
    pairs = [(m, k) for m, k in pairs if low <= math.log10(m) + k <= high]
    return Ticks([math.log10(m) + k for m, k in pairs], [_value(float(m), k, 0) for m, k in pairs])


def logarithmic(low: float, high: float) -> Ticks:
    """Return ticks for a logarithmic axis, in the quantity itself."""
    ticks = decades(math.log10(low), math.log10(high), 6)
    return Ticks([10.0**x for x in ticks.at], ticks.labels)


def _power(k: int) -> str:
    return {0: "1", 1: "10", 2: "100"}.get(k, f"$10^{{{k}}}$")


def _value(m: float, k: int, digits: int) -> str:
    if -3 <= k <= 3:
        return f"{m * 10.0**k:.{max(0, digits - k)}f}"
    return f"$10^{{{k}}}$" if m == 1 and digits == 0 else f"${m:.{digits}f}\\times 10^{{{k}}}$"
