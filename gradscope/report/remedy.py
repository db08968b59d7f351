"""What a change of the weights does to the gradient, measured, and how it is told.

A change helps when one of three things becomes clearly better, and the verdict neither turns into the opposite failure
nor into "nonfinite": the rate comes nearer to zero from the side that it was on, by more than the 95 % interval of the
difference (sequences are paired); the verdict becomes "stable"; or, of a gradient that vanishes, the reach is at least
`LARGER_REACH` times as large and `MORE_STEPS` steps larger. A gradient that was exactly zero in every sequence is
helped by whatever makes it zero in none of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from gradscope.analysis.reach import Reach
from gradscope.report.model import Finding, times
from gradscope.report.tables import count
from gradscope.report.verdict import Verdict

OTHER = {"vanishing": ("exploding", "nonfinite"), "exploding": ("vanishing", "nonfinite")}
KINDS = tuple(OTHER)  # what there is to remedy
LARGER_REACH = 2  # times the reach before, so that a few steps of a short reach count for nothing ...
MORE_STEPS = 5  # ... and this many more steps, since the reach is a whole number of them
ADVISED = ("GS-VANISHING", "GS-EXPLODING")
WHY_NOT = {
    "stable": "the gradient neither vanishes nor explodes",
    "inconclusive": "it is not determined whether the gradient vanishes or explodes",
    "nonfinite": "nonfinite values must be fixed first",
}


@dataclass(frozen=True)
class Remedy:
    """A change, and what it does on the same inputs.

    Attributes:
        change: in words, "forget bias +1".
        state: verdict of the changed cell.
        rate: nats per step, or None where it is not determined.
        rate_ci95: its 95 % interval, or None.
        rate_change_ci95: 95 % interval of the difference to the rate before, sequences paired, or None.
        reach: steps, or None.
        log10_gain: median gain, or None.
        helps: see the module.
    """

    change: str
    state: str
    rate: float | None
    rate_ci95: tuple[float, float] | None
    rate_change_ci95: tuple[float, float] | None
    reach: int | None
    log10_gain: float | None
    helps: bool


@dataclass(frozen=True)
class Base:
    """The run as it is: what a change is held against.

    Attributes:
        state: its verdict.
        rate: nats per step, or None.
        zero: whether the gradient is exactly zero at the first step, in every sequence.
        reach: steps, or None.
    """

    state: str
    rate: float | None
    zero: bool
    reach: int | None = None


def helps(
    base: Base, state: str, rate: float | None, change: tuple[float, float] | None, reach: int | None = None
) -> bool:
    """Return whether a change helps; see the module.

    Args:
        base: the run without it.
        state: the verdict with it.
        rate: nats per step with it, or None.
        change: 95 % interval of the change of the rate, or None.
        reach: steps with it, or None.
    """
    if base.state not in OTHER or state in OTHER[base.state]:
        return False
    if base.rate is None and base.zero and rate is not None:
        return True
    return state == "stable" or _nearer(base, rate, change) or _farther(base, rate, reach)


def _nearer(base: Base, rate: float | None, change: tuple[float, float] | None) -> bool:
    """Return whether the rate comes nearer to zero by more than chance."""
    if rate is None or base.rate is None or change is None:
        return False
    right_way = change[0] > 0 if base.state == "vanishing" else change[1] < 0
    return right_way and abs(rate) < abs(base.rate)


def _farther(base: Base, rate: float | None, reach: int | None) -> bool:
    """Return whether the gradient reaches clearly farther, without growing faster than it shrank."""
    if base.state != "vanishing" or base.reach is None or reach is None:
        return False
    if rate is not None and base.rate is not None and rate > abs(base.rate):
        return False
    return reach >= max(LARGER_REACH * base.reach, base.reach + MORE_STEPS)


def best(remedies: tuple[Remedy, ...], state: str) -> tuple[Remedy, ...]:
    """Order them: what helps first, of a gradient that vanishes the largest reach, and then the rate nearest to zero.

    Args:
        remedies: the changes.
        state: the verdict without any.
    """

    def key(r: Remedy) -> tuple[bool, int, float]:
        reach = r.reach or 0 if state == "vanishing" and r.helps else 0
        return (not r.helps, -reach, math.inf if r.rate is None else abs(r.rate))

    return tuple(sorted(remedies, key=key))


def with_remedies(verdict: Verdict, before: Reach, tried: tuple[Remedy, ...], fed: str) -> Verdict:
    """Put what was computed where the verdict had advice, and say what the numbers are worth.

    Args:
        verdict: without it.
        before: how far the gradient reaches without any change.
        tried: the changes, best first.
        fed: what every run was given alike, "inputs" or "lead-in".
    """
    advice = _advice(before, tried, fed)
    findings = [dataclasses.replace(f, remedy=advice) if advice and f.code in ADVISED else f for f in verdict.findings]
    note = Finding("GS-REMEDIES", "info", _note(_base(verdict.state, before), tried, fed))
    return dataclasses.replace(verdict, findings=(*findings, note))


def _advice(before: Reach, tried: tuple[Remedy, ...], fed: str) -> str:
    if not tried:
        return ""
    top = tried[0]
    if not top.helps:
        count = len(tried)
        return "The only change tried does not help." if count == 1 else f"None of the {count} changes tried helps."
    still = "still " if top.state in KINDS else ""
    text = f"With {top.change} {_moves(before, top)}: {still}{top.state}"
    return f"{text} (measured on the same {fed}, nothing else changed)."


def _base(state: str, before: Reach) -> Base:
    return Base(state, before.rate, all(gain == -math.inf for gain in before.log_gain), before.reach)


def _moves(before: Reach, top: Remedy) -> str:
    """Return what the best change does to rate and reach, or to rate and gain."""
    reach = "" if top.reach is None else count(top.reach)
    reach += " (the whole run)" if top.reach == before.steps else ""
    if _base("vanishing", before).zero and top.rate is not None:
        return f"the gradient is no longer zero: rate {top.rate:.3g}, reach {reach or 'not determined'}"
    rates = [None if r is None else f"{r:.3g}" for r in (before.rate, top.rate)]
    moves = f"the rate changes from {rates[0]} to {rates[1]}" if None not in rates else ""
    if (before.rate or 0) > 0 and before.log10_gain is not None and top.log10_gain is not None:
        return f"{moves} and the gain over the run from {times(before.log10_gain)} to {times(top.log10_gain)}"
    if before.reach is None or not reach:
        return moves
    return (
        f"{moves} and the reach from {before.reach} to {reach}"
        if moves
        else (f"the reach changes from {before.reach} to {reach}")
    )


def _note(base: Base, tried: tuple[Remedy, ...], fed: str) -> str:
    if not tried:
        return f"No change was tried: {WHY_NOT.get(base.state, 'none is known for this model')}."
    helpful = [r for r in tried if r.helps]
    text = f"{len(helpful)} of {len(tried)} changes tried help{'s' * (len(helpful) == 1)}"
    each = "each of them" if len(helpful) > 1 else "it"
    text += f": {each}, alone and on the same {fed}, {', or '.join(_reasons(base, helpful))}" * bool(helpful)
    text += ". The numbers hold for these weights: training changes them, and changing trained weights changes "
    return text + "what the network computes."


def _reasons(base: Base, helpful: list[Remedy]) -> list[str]:
    """Return as few of the criteria as it takes to have one that each of the changes meets."""
    criteria: dict[str, Callable[[Remedy], bool]] = {
        "moves the rate towards zero by more than the 95 % interval of the difference": lambda r: _nearer(
            base, r.rate, r.rate_change_ci95
        ),
        "makes the gradient nonzero in every sequence": lambda r: (
            base.rate is None and base.zero and r.rate is not None
        ),
        "makes the verdict stable": lambda r: r.state == "stable",
        "at least doubles the reach": lambda r: _farther(base, r.rate, r.reach),
    }
    reasons, rest = [], helpful
    for reason, meets in criteria.items():
        if any(map(meets, rest)):
            reasons.append(reason)
            rest = [r for r in rest if not meets(r)]
    return reasons
