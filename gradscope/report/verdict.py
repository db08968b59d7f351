"""From numbers to a verdict: a state, one sentence, and findings with a remedy.

A gradient counts as vanished when it has lost `DECADES` by the first step, and as exploded when it has gained as
many. On runs shorter than `HORIZON_STEPS` the bar is lower in proportion, so that ten steps of a network that loses
half its gradient at each are not "stable".
A state is given only when the 95 % interval of the gain is clear of the bar; else it is "inconclusive".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gradscope.report import section
from gradscope.report.advice import MEASURED, keep_more
from gradscope.report.case import Case
from gradscope.report.model import Finding, remaining, share, threshold, times
from gradscope.report.tables import count

DECADES = 3.0  # of gain that count as vanished or exploded: down to the usual threshold of `reach`, 10^-3
HORIZON_STEPS = 100  # steps over which `DECADES` count; the bar of shorter runs is lower in proportion
SHORTEST_STEPS = 10  # steps below which a rate means nothing: start and end of the run weigh as much as its middle


@dataclass(frozen=True)
class Verdict:
    """State, sentence and findings."""

    state: str
    sentence: str
    findings: tuple[Finding, ...]


def judge(case: Case) -> Verdict:
    """Weigh the answers."""
    state, words = _state(case)
    case = replace(case, state=state)
    if state == "nonfinite":  # nothing else is meaningful
        case = replace(case, answers={k: v for k, v in case.answers.items() if k == "finite"})
    findings = section.findings(case, [] if state == "nonfinite" else _findings(case))
    return Verdict(state, f"{state.upper()}: {words} ({case.name})", tuple(findings))


def state_of(case: Case) -> str:
    """Return the verdict's state alone: it depends on nothing but the answers."""
    return _state(case)[0]


def _state(case: Case) -> tuple[str, str]:
    if case.nonfinite:
        return "nonfinite", case.nonfinite[0]
    reach, gain = case.reach, case.reach.log10_gain
    if reach.zero_from == 0:
        ends = case.answers["gradients"].loss_ends
        there = f"after step {ends}: truncate data and loss gradient there" if ends else "at the last step"
        return "inconclusive", f"the loss gradient is zero {there}"
    if reach.zero_from is not None:
        return "vanishing", f"the gradient is exactly zero at lag {reach.zero_from} and beyond"
    if gain is None:
        return "nonfinite", "the gradient becomes nonfinite during backpropagation"
    if reach.rate is None:  # the gains of some sequences are -inf, and a mean of those says nothing
        if math.isinf(gain):
            return "inconclusive", "the gradient at the first step is exactly zero in half of the sequences"
        text = f"the median gradient norm changes by a factor of {times(gain)}, and some gradients are exactly zero"
        return "inconclusive", text
    if reach.steps < SHORTEST_STEPS:
        are = "is" if reach.steps == 1 else "are"
        return "inconclusive", f"{count(reach.steps)} {are} too few to fit a rate"
    if reach.interval is None:
        text = f"one short sequence gives no error bar; the gradient norm changes by a factor of {times(gain)}"
        return "inconclusive", text
    return _against_the_bar(case, reach.rate, reach.interval, gain)


def _against_the_bar(case: Case, rate: float, interval: tuple[float, float], gain: float) -> tuple[str, str]:
    """Hold the interval of the gain against the bar."""
    reach = case.reach
    bar = DECADES * min(1.0, reach.steps / HORIZON_STEPS)
    low, high = (r * reach.steps / math.log(10.0) for r in interval)
    if high < -bar:
        far = reach.reach is not None and reach.reach < reach.steps
        below = f" and is below {threshold(reach.threshold)} after {reach.reach}" if far else ""
        return "vanishing", f"the gradient halves every {_steps(reach.half_life)}{below}"
    if low > bar:
        doubling, fold = _steps(math.log(2) / rate), f"{times(gain)}-fold over {count(reach.steps)}"
        return "exploding", f"the gradient doubles every {doubling} and grows {fold}"
    if -bar < low and high < bar:
        if gain < 0 or times(gain) == "1":
            return "stable", f"{remaining(gain)} of the gradient norm is left after {count(reach.steps)}"
        return "stable", f"the gradient norm grows {times(gain)}-fold over {count(reach.steps)}"
    span = f"{times(low)} to {times(high)}"
    crossed = times(-bar if low < -bar else bar)
    text = f"the gradient norm changes by a factor of {span} (95 % interval), which includes the threshold {crossed}"
    return "inconclusive", text


def _steps(steps: float | None) -> str:
    """Write a number of steps: "1.5 steps", "step"."""
    text = f"{steps:.2g}"
    return "step" if text == "1" else f"{text} steps"


def _findings(case: Case) -> list[Finding]:
    gain = case.reach.log10_gain
    if case.state == "vanishing":
        return [_vanishing(case)]
    if case.state != "exploding" or gain is None:
        return []
    text = f"The gradient norm at the first step is {times(gain)} times that at the last step."
    remedy = f"Clip the gradient norm, or use smaller recurrent weights{' (--gain below 1)' * case.sampled}."
    remedy += f" {MEASURED}." * case.measurable
    return [Finding("GS-EXPLODING", "warning", text, remedy)]


def _vanishing(case: Case) -> Finding:
    reach = case.reach
    if reach.zero_from is not None:
        text = f"In most sequences the gradient is exactly zero at lag {reach.zero_from} and beyond: "
        text += "loss scaling cannot recover it."
    elif reach.reach is not None and reach.reach < reach.steps:
        less = f"less than {share(reach.threshold)} of the gradient"
        text = f"Dependencies longer than {count(reach.reach)} receive {less}."
    else:
        left = remaining(reach.log10_gain or 0)
        text = f"{left} of the gradient norm is left after {count(reach.steps)}, the end of the run."
    return Finding("GS-VANISHING", "warning", text, keep_more(case))
