"""Where the ticks are and what is written at them."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Ticks", "decades", "linear", "logarithmic"]

STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)


class Ticks(NamedTuple):
    """Positions on the axis, and their labels; labels with a $ are ours and are mathtext."""

    at: list[float]
    labels: list[str]


def linear(low: float, high: float, most: int = 6, *, whole: bool = False) -> Ticks:
    """Return round numbers between two ends, at most `most` of them; `whole` for what is counted."""
    rough = (high - low) / max(most - 1, 1)
    power = max(math.floor(math.log10(rough)), 0 if whole else -400)
    for nice in (1, 2, 5, 10, 20) if whole and not power else (1, 2, 2.5, 5, 10, 20):
        step = nice * 10.0**power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    at = [k * step for k in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (nice == 2.5))
    return Ticks(at, [_number(x, digits) for x in at])


def _number(x: float, digits: int) -> str:
    if x == 0 and digits > 5:
        return "0"
    if x != 0 and (abs(x) >= 1e6 or digits > 5):
        power = math.floor(math.log10(abs(x)) + 1e-9)
        return f"${x / 10.0**power:.3g}\\times 10^{{{power}}}$"
    return f"{x + 0.0:,.{digits}f}".replace("-", "\u2212").replace(",", "\u2009")


def decades(low: float, high: float, most: int = 7) -> Ticks:
    """Return ticks for an axis whose values are log10 of the quantity."""
    span = high - low
    if span >= 2:
        whole = next((s for s in STEPS if span / s <= most), math.ceil(span / most))
        at = [float(k * whole) for k in range(math.ceil(low / whole - 1e-9), math.floor(high / whole + 1e-9) + 1)]
        return Ticks(at, [_power(round(x)) for x in at])
    if span >= 0.6:
        round_ones = (1, 2, 5) if span >= 1.2 else (1, 2, 3, 5, 7)
        pairs = [(m, k) for k in range(math.floor(low), math.ceil(high) + 1) for m in round_ones]
        pairs = [(m, k) for m, k in pairs if low <= math.log10(m) + k <= high]
        return Ticks([math.log10(m) + k for m, k in pairs], [_value(float(m), k, 0) for m, k in pairs])
    # Less than a factor of 4: round numbers of the quantity itself, its power carried apart.
    base = math.floor((low + high) / 2 + 1e-9)
    found = linear(10 ** (low - base), 10 ** (high - base), most)
    digits = max((len(label.partition(".")[2]) for label in found.labels), default=0)
    at = [x for x in found.at if x > 0]
    return Ticks([math.log10(x) + base for x in at], [_value(x, base, digits) for x in at])


def logarithmic(low: float, high: float) -> Ticks:
    """Return ticks for a logarithmic axis, in the quantity itself."""
    found = decades(math.log10(low), math.log10(high), 6)
    return Ticks([10.0**x for x in found.at], found.labels)


def _power(k: int) -> str:
    return {0: "1", 1: "10", 2: "100"}.get(k, f"$10^{{{k}}}$")


def _value(m: float, k: int, digits: int) -> str:
    if -3 <= k <= 3:
        return f"{m * 10.0**k:.{max(0, digits - k)}f}"
    return f"$10^{{{k}}}$" if m == 1 and digits == 0 else f"${m:.{digits}f}\\times 10^{{{k}}}$"
