"""What tables of several sections have in common: columns, intervals, counts."""

from __future__ import annotations

from gradscope.report.model import Column

QUANTITY = (Column("quantity", numeric=False), Column("value", ".4g"), Column("unit", numeric=False))


def count(steps: int) -> str:
    """Write a number of steps: "1 step", "2 steps"."""
    return f"{steps} step{'s'[: steps != 1]}"


def between(low: float, high: float) -> str:
    """Write an interval with as many decimals at both ends, and enough to tell them apart."""
    for digits in (3, 4, 5, 6):
        ends = [f"{x:.{digits}g}" for x in (low, high)]
        if ends[0] != ends[1]:
            break
    if any("e" in end for end in ends):
        return " to ".join(ends)
    decimals = max(len(end.partition(".")[2]) for end in ends)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"
