"""What a change of the weights does to the gradient, measured, and how it is told.

A change helps when the rate comes nearer to zero from the side that it was on, by more than the 95 % interval of the
difference (sequences are paired), and does not go over to the other kind of failure. A gradient that was exactly
zero in every sequence is helped by whatever makes it none of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gradscope.analysis.reach import Reach
from gradscope.report.model import Finding, times
from gradscope.report.tables import count
from gradscope.report.verdict import Verdict

OTHER = {"vanishing": ("exploding", "nonfinite"), "exploding": ("vanishing", "nonfinite")}
KINDS = tuple(OTHER)  # what there is to remedy
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
    """

    state: str
    rate: float | None
    zero: bool


def helps(base: Base, state: str, rate: float | None, change: tuple[float, float] | None) -> bool:
    """Tell whether a change helps, given the state, the rate and the interval of the change of rate after it."""
    if base.state not in OTHER or state in OTHER[base.state] or rate is None:
        return False
    if base.rate is None:
        return base.zero
    right_way = change is not None and (change[0] > 0 if base.state == "vanishing" else change[1] < 0)
    return right_way and abs(rate) < abs(base.rate)


def best(remedies: tuple[Remedy, ...]) -> tuple[Remedy, ...]:
    """Order them: what helps first, and of that the rate that is nearest to zero."""
    far = float("inf")
    return tuple(sorted(remedies, key=lambda r: (not r.helps, far if r.rate is None else abs(r.rate))))


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
    note = Finding("GS-REMEDIES", "info", _note(verdict.state, before.rate, tried, fed))
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


def _moves(before: Reach, top: Remedy) -> str:
    reach = "" if top.reach is None else count(top.reach)
    reach += " (the whole run)" if top.reach == before.steps else ""
    if before.rate is None:
        return f"the gradient is no longer zero: rate {top.rate:.3g}, reach {reach or 'not determined'}"
    moves = f"the rate changes from {before.rate:.3g} to {top.rate or 0:.3g}"
    if before.rate > 0 and before.log10_gain is not None and top.log10_gain is not None:
        return f"{moves} and the gain over the run from {times(before.log10_gain)} to {times(top.log10_gain)}"
    return f"{moves} and the reach from {before.reach} to {reach}" if before.reach is not None and reach else moves


def _note(state: str, rate: float | None, tried: tuple[Remedy, ...], fed: str) -> str:
    if not tried:
        return f"No change was tried: {WHY_NOT.get(state, 'none is known for this model')}."
    count = sum(r.helps for r in tried)
    nearer = "moves the rate towards zero by more than the 95 % interval of the difference"
    how = nearer if rate is not None else "makes the gradient nonzero in every sequence"
    text = f"{count} of {len(tried)} changes tried help{'s' * (count == 1)}"
    text += f": {'each of them' if count > 1 else 'it'}, alone and on the same {fed}, {how}" * (count > 0)
    text += ". The numbers hold for these weights: training changes them, and changing trained weights changes "
    return text + "what the network computes."
