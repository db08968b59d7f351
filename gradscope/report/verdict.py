"""From numbers to a verdict: a state, one sentence, and findings with a remedy.

There are two answers: whether the gradient reaches, and whether the state remembers.

A gradient counts as vanished when the tail of its decay loses `DECADES` over the run, and as exploded when it gains as
many; what a readout loses once, in the first steps, is said beside it (`analysis.reach.knee`). The run is the horizon:
the bar is the same for runs of any length. A study of some thousand networks bears that out: a bar that is lower in
proportion to shorter runs tells those that will learn from others far less well (docs/explanation/prediction.md). A
state is given only when the 95 % interval of the tail is clear of the bar; else it is "inconclusive".

What the state remembers is measured without a gradient (`analysis.memory`). A network that remembers though its
gradient vanishes is latched: a robust latch must lose its gradient (Bengio, Simard & Frasconi 1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gradscope.analysis.reach import Reach
from gradscope.report import section
from gradscope.report.advice import MEASURED, keep_more
from gradscope.report.case import Case
from gradscope.report.model import Finding, remaining, share, threshold, times
from gradscope.report.tables import count

DECADES = 3.0  # of gain that count as vanished or exploded: down to the usual threshold of `reach`, 10^-3
SHORTEST_STEPS = 10  # steps below which a rate means nothing: start and end of the run weigh as much as its middle


@dataclass(frozen=True)
class Memory:
    """What the state remembers.

    Attributes:
        state: "remembers", "latched", "forgets", "chaotic" or "unknown".
        steps: memory length, steps; None where it does not end within the run, or is not determined.
        steps_ci95: its 95 % interval, or None.
    """

    state: str
    steps: float | None
    steps_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Verdict:
    """State, sentence and findings; and what the state remembers, None where that was not measured."""

    state: str
    sentence: str
    findings: tuple[Finding, ...]
    memory: Memory | None = None


def judge(case: Case) -> Verdict:
    """Weigh the answers."""
    state, words = _state(case)
    case = replace(case, state=state)
    if state == "nonfinite":  # nothing else is meaningful
        case = replace(case, answers={k: v for k, v in case.answers.items() if k == "finite"})
    findings = section.findings(case, [] if state == "nonfinite" else _findings(case))
    memory = _memory(case)
    remembered = "" if memory is None else f"; {_remembered(memory)}"
    return Verdict(state, f"{state.upper()}: {words}{remembered} ({case.name})", tuple(findings), memory)


def _memory(case: Case) -> Memory | None:
    """Return what the state remembers, in the light of what the gradient does."""
    answer = case.answers.get("memory")
    if answer is None:
        return None
    latched = answer.state == "remembers" and case.state == "vanishing"
    return Memory("latched" if latched else answer.state, answer.steps, answer.interval)


def _remembered(memory: Memory) -> str:
    """Say in words what the state remembers."""
    if memory.state == "forgets" and memory.steps is not None:
        return f"the state forgets within {_steps(max(memory.steps, 1.0))}"
    words = {
        "remembers": "the state remembers the whole run",
        "latched": "yet the state remembers the whole run (latched)",
        "chaotic": "the state is chaotic",
    }
    return words.get(memory.state, "what the state remembers is not determined")


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
    if (
        reach.rate is None or reach.tail_rate is None
    ):  # the gains of some sequences are -inf, and a mean of those says nothing
        if math.isinf(gain):
            return "inconclusive", "the gradient at the first step is exactly zero in half of the sequences"
        text = f"the median gradient norm changes by a factor of {times(gain)}, and some gradients are exactly zero"
        return "inconclusive", text
    if reach.steps < SHORTEST_STEPS:
        are = "is" if reach.steps == 1 else "are"
        return "inconclusive", f"{count(reach.steps)} {are} too few to fit a rate"
    if reach.tail_interval is None:
        text = f"one short sequence gives no error bar; the gradient norm changes by a factor of {times(gain)}"
        return "inconclusive", text
    return _against_the_bar(case, reach.tail_rate, reach.tail_interval, gain)


def _against_the_bar(case: Case, rate: float, interval: tuple[float, float], gain: float) -> tuple[str, str]:
    """Hold the interval of what the tail gains over the run against the bar."""
    reach = case.reach
    low, high = (r * reach.steps / math.log(10.0) for r in interval)
    if high < -DECADES:
        return "vanishing", _vanishes(reach)
    if low > DECADES:
        doubling, fold = _steps(math.log(2) / rate), f"{_grown(case, gain)}-fold over {count(reach.steps)}"
        return "exploding", f"the gradient doubles every {doubling} and grows {fold}"
    if -DECADES < low and high < DECADES:
        return "stable", _stays(reach, gain)
    span = f"{times(low)} to {times(high)}"
    crossed = times(-DECADES if low < -DECADES else DECADES)
    after = f"{_before_the_tail(reach)}; from there " if reach.knee else ""
    text = f"{after}the gradient norm changes by a factor of {span} "
    text += f"{f'in {count(reach.steps)} ' * bool(after)}(95 % interval), which includes the threshold {crossed}"
    return "inconclusive", text


def _grown(case: Case, gain: float) -> str:
    """Write a gain as a factor; as a power of ten where rounding errors change its digits."""
    return f"about 10^{gain:.0f}" if "predictability" in case.answers else times(gain)


def _before_the_tail(reach: Reach) -> str:
    """Say what is lost, or gained, once near the loss."""
    change = reach.attenuation / math.log(10.0)
    left = (
        f"{remaining(change)} of the gradient norm is left"
        if change < 0
        else f"the gradient norm is {times(change)}-fold"
    )
    return f"{left} after {count(reach.knee)}"


def _vanishes(reach: Reach) -> str:
    if reach.knee:
        return f"{_before_the_tail(reach)}; from there it halves every {_steps(reach.half_life)}"
    far = reach.reach is not None and reach.reach < reach.steps
    below = f" and is below {threshold(reach.threshold)} after {reach.reach}" if far else ""
    return f"the gradient halves every {_steps(reach.half_life)}{below}"


def _stays(reach: Reach, gain: float) -> str:
    grows = not (gain < 0 or times(gain) == "1")
    if reach.knee:
        near, end = _before_the_tail(reach), f"{times(gain)}-fold" if grows else remaining(gain)
        same = end in near
        return (
            f"{near} and stays there over {count(reach.steps)}" if same else f"{near}, {end} after {count(reach.steps)}"
        )
    if grows:
        return f"the gradient norm grows {times(gain)}-fold over {count(reach.steps)}"
    return f"{remaining(gain)} of the gradient norm is left after {count(reach.steps)}"


def _steps(steps: float | None) -> str:
    """Write a number of steps: "1.5 steps", "step"."""
    text = f"{steps:.0f}" if steps is not None and steps >= 99.5 else f"{steps:.2g}"  # no 1.3e+02
    return "step" if text == "1" else f"{text} steps"


def _findings(case: Case) -> list[Finding]:
    gain = case.reach.log10_gain
    if case.state == "vanishing":
        return [_vanishing(case)]
    if case.state != "exploding" or gain is None:
        return []
    text = f"The gradient norm at the first step is {_grown(case, gain)} times that at the last step."
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
