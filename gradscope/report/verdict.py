"""From numbers to a verdict: a state, one sentence, and findings with a remedy.

A gradient counts as vanished when it has lost three decades by the first step, and as exploded when it has
gained three (`DECADES`, the 1e-3 that `reach` asks for). On short runs the bar is lower in proportion, three
decades per 100 steps, so that ten steps of a network that loses half its gradient at each are not "stable".
A state is given only when the 95 % interval of the gain is clear of the bar; else it is "inconclusive".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gradscope.report.model import Finding, percent

__all__ = ["Evidence", "Verdict", "judge", "times"]

DECADES = 3.0
HORIZON = 100  # steps over which a gain of 10^-3 or 10^3 counts, for runs that are shorter
SHORTEST = 10  # steps below which a rate means nothing: start and end of the run weigh as much as its middle
SATURATED = 0.5  # share of a gate's values at the ends of its range from which it is worth a word
USUAL_HIDDEN = 128  # units that the command line takes unasked
MEASURED = "To measure what changes of the weights do, append --remedies (in Python, remedies=True)"
# What a cell without a bias that keeps its state is told when its gradient vanishes, by `Evidence.roads`.
OTHER_CELLS = {
    (False, True): "A cell with a road around its recurrent weights keeps more",
    (True, True): "Settings and own arrays of the cell decide how much its road around the recurrent weights keeps; "
    "gates that are set to keep the state may keep more",
    (True, False): "No recurrent weights are in the way: the cell's settings and own arrays decide what a unit keeps; "
    "gates that are set to keep the state may keep more",
    None: "Gates that are set to keep the state may keep more",
}
TRANSIENT = 1.0  # decades by which the largest gain must exceed both ends
CLEAR = 0.01  # distance from one from which a spectral radius is on one side of it
DEAD = 0.05  # share of units that never pass a gradient from which it is worth a word
CANCEL = 0.05  # distance outside of 0 to 1 from which a share says that roads cancel
CLOSE = 0.01  # share of factors next to 1 from which it is worth a word
OPPOSED = 100.0  # times the gradient that absolute contributions by number of crossings must reach to be worth a word


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from.

    Attributes:
        name: the model in words, "GRU, 128 units, 200 steps, seed 0".
        steps: T.
        log10_gain: median over sequences of log10(|dL/ds_0| / |dL/ds_T|); -inf: zero; None: not finite.
        rate: nats per step; None where the gain of a sequence is not finite.
        interval: 95 % interval of `rate`, or None.
        half_life: steps, or None.
        reach: steps, or None.
        threshold: what `reach` asks for.
        zero_from: smallest lag at which the median gradient is exactly zero, or None; 0 also where the loss has
            no gradient at the last step of one of the sequences.
        peak: (lag, log10 gain) where the median gradient is largest.
        underflow: {format: lag or None}.
        nonfinite: sentences that say where values stop being finite.
        gates: {gate: (low share, high share, never active)}.
        around_share: mean share of the gradient around the weights, or None.
        near_one: share of the units' factors that lie next to 1, or None.
        layers: {layer: the largest lag at which it gets `threshold` of the loss's gradient, None: never}, bottom first.
        cancellation: sum of absolute shares by number of crossings, or None.
        step_radius: median spectral radius of one step, or None.
        cell: name of the cell.
        hidden: units of a layer.
        target: what `gradscope compare` calls the model: a cell or a file; "" where it has no name there.
        options: what else that command needs, such as " --data x.npy".
        keep_gates: {gate: what it is called} of the gates that keep old state when open.
        everywhere: whether steps before the last have a loss of their own.
        loss_ends: the last step that has a loss, where each may have one.
        measurable: whether --remedies would tell more.
        sampled: whether the weights were drawn here, so that --gain can be advised.
        advisable: whether they were drawn in the default way, so that another initialisation can be.
        forget_gates: {gate: what it is called} of the gates that let go of old state when open.
        roads: whether any of the gradient goes around recurrent weights, and whether any crosses such; None: unknown.
    """

    name: str
    steps: int
    log10_gain: float | None
    rate: float | None
    interval: tuple[float, float] | None
    half_life: float | None
    reach: int | None
    threshold: float
    zero_from: int | None
    peak: tuple[int, float] | None
    underflow: dict[str, int | None]
    nonfinite: tuple[str, ...]
    gates: dict[str, tuple[float, float, float | None]]
    around_share: float | None
    step_radius: float | None
    cell: str
    keep_gates: dict[str, str]
    hidden: int
    target: str
    options: str
    sampled: bool
    advisable: bool
    everywhere: bool = False
    loss_ends: int | None = None
    measurable: bool = False
    forget_gates: dict[str, str] = field(default_factory=dict)
    roads: tuple[bool, bool] | None = None
    cancellation: float | None = None
    near_one: float | None = None
    layers: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """State, sentence and findings."""

    state: str
    sentence: str
    findings: tuple[Finding, ...]


def times(log10: float) -> str:
    """Write a factor given its log10: 0.12, 35, 1.2e-8."""
    if abs(log10) < 3:
        value = 10**log10
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    whole = math.floor(log10)
    mantissa = round(10 ** (log10 - whole), 1)
    return f"{mantissa:.1f}e{whole}" if mantissa < 10 else f"1.0e{whole + 1}"


def _count(steps: float | None) -> str:
    """Write a number of steps: "1.5 steps", "step"."""
    text = f"{steps:.2g}"
    return "step" if text == "1" else f"{text} steps"


def judge(e: Evidence) -> Verdict:
    """Weigh the evidence."""
    state, words = _state(e)
    return Verdict(state, f"{state.upper()}: {words} ({e.name})", tuple(_findings(e, state)))


def _state(e: Evidence) -> tuple[str, str]:
    if e.nonfinite:
        return "nonfinite", e.nonfinite[0]
    if e.zero_from == 0:
        there = f"after step {e.loss_ends}: cut data and loss gradient there" if e.loss_ends else "at the last step"
        return "inconclusive", f"the loss has no gradient {there}"
    if e.zero_from is not None:
        where = "from the first step back" if e.zero_from == 1 else f"from {e.zero_from} steps back"
        return "vanishing", f"the gradient is exactly zero {where}"
    if e.log10_gain is None:
        return "nonfinite", "the gradient does not stay finite on its way back"
    if e.rate is None:  # the gains of some sequences are -inf, and a mean of those says nothing
        if math.isinf(e.log10_gain):
            return "inconclusive", "half of the sequences have no gradient at all at the first step, the others have"
        gain = times(e.log10_gain)
        return "inconclusive", f"the median gradient changes by a factor {gain}, and some sequences have none at all"
    if e.steps < SHORTEST:
        return "inconclusive", f"{e.steps} step{' is' if e.steps == 1 else 's are'} too short to fit a rate"
    if e.interval is None:
        return "inconclusive", f"one short sequence gives no error bar; the gradient changes by {times(e.log10_gain)}"
    bar = DECADES * min(1.0, e.steps / HORIZON)
    low, high = (r * e.steps / math.log(10.0) for r in e.interval)
    if high < -bar:
        reach = f" and is below {e.threshold:g} after {e.reach}" if e.reach is not None and e.reach < e.steps else ""
        return "vanishing", f"the gradient halves every {_count(e.half_life)}{reach}"
    if low > bar:
        doubling = math.log(2) / e.rate
        return "exploding", f"the gradient doubles every {_count(doubling)} and grows {times(e.log10_gain)} times"
    if -bar < low and high < bar:
        return "stable", f"the gradient changes by a factor {times(e.log10_gain)} over {e.steps} steps"
    span = f"between {times(low)} and {times(high)}"
    return (
        "inconclusive",
        f"the gradient changes by a factor {span} (95 % interval), "
        f"across the bar of {times(-bar if low < -bar else bar)}",
    )


def _findings(e: Evidence, state: str) -> list[Finding]:
    found = [
        Finding("GS-NONFINITE", "error", f"{text}.", "Look there first: nothing after it is meaningful.")
        for text in e.nonfinite
    ]
    if state == "nonfinite":
        return found
    if e.everywhere:
        text = "Every step has a loss of its own; verdict, rate and reach are those of the last step's loss alone."
        found.append(Finding("GS-LOSS-EVERYWHERE", "info", text))
    if state == "vanishing":
        found.append(_vanishing(e))
    if state == "exploding" and e.log10_gain is not None:
        text = f"The gradient at the first step is {times(e.log10_gain)} times the one at the last."
        remedy = f"Clip the gradient norm, or use smaller recurrent weights{' (--gain below 1)' * e.sampled}."
        remedy += f" {MEASURED}." * e.measurable
        found.append(Finding("GS-EXPLODING", "warning", text, remedy))
    lags = {k: v for k, v in e.underflow.items() if v is not None}
    if lags and e.zero_from is None:
        text = ", ".join(f"{k} from {v}" for k, v in lags.items())
        found.append(
            Finding(
                "GS-UNDERFLOW",
                "warning",
                f"At lower precision, what comes from the last step's loss is exactly zero: {text} steps back on.",
                "Loss scaling moves these lags; it does not change the rate.",
            )
        )
    if e.peak and e.log10_gain is not None and e.peak[1] > max(0.0, e.log10_gain) + TRANSIENT:
        lag, top = e.peak
        where = f"{lag} step{'s'[: lag != 1]} back"
        found.append(
            Finding(
                "GS-TRANSIENT",
                "info",
                f"The gradient is largest {where}, {times(top)} times what it is at the last step, "
                "and smaller at the first: the rate over the whole run hides it.",
                "Read the decay curve, not the rate; clip if the peak is large.",
            )
        )
    unreached = [name for name, reach in e.layers.items() if reach is None]
    if unreached:
        text = f"{_named(unreached, list(e.layers))} less than {e.threshold:g} of the gradient that the loss gives the "
        text += "top layer, at every step: it dies on its way down."
        advice = f"Residual connections{' (--residual)' * e.sampled} give the loss a way to every layer; "
        advice += f"a norm{' (--norm layer)' * e.sampled} keeps the inputs of layers from shrinking."
        found.append(Finding("GS-DEPTH", "warning", text, advice))
    found += _gate_findings(e)
    if (
        e.step_radius is not None
        and e.rate is not None
        and (e.step_radius - 1) * e.rate < 0
        and abs(e.step_radius - 1) > CLEAR
        and state in ("vanishing", "exploding")
    ):
        found.append(
            Finding(
                "GS-RADIUS-MISLEADS",
                "info",
                f"One step's spectral radius is {e.step_radius:.3g} (median), yet the gradient is {state}: "
                "the product decides, not the radius of a step.",
            )
        )
    return found


def _named(some: list[str], layers: list[str]) -> str:
    """Begin a sentence on some of the layers."""
    if len(some) == 1:
        return f"Layer {some[0]} gets"
    following = some == layers[layers.index(some[0]) :][: len(some)]
    return f"Layers {f'{some[0]} to {some[-1]}' if following else ', '.join(some)} get"


def _vanishing(e: Evidence) -> Finding:
    if e.zero_from is not None:
        text = f"In most sequences the gradient is exactly zero at lag {e.zero_from} and beyond: "
        text += "no scale of the loss brings it back."
    elif e.reach is not None and e.reach < e.steps:
        text = f"Dependencies beyond {e.reach} steps back get less than {e.threshold:g} of the gradient."
    else:
        left = times(e.log10_gain or 0)
        text = f"Of the gradient, {left} is left after {e.steps} steps, where the run ends."
    return Finding("GS-VANISHING", "warning", text, _more_state(e))


def _more_state(e: Evidence) -> str:
    """Name the command that measures what would keep more of the state; nothing that the model has already."""
    size = f" --hidden {e.hidden}" if e.hidden != USUAL_HIDDEN else ""
    if not e.target or (not e.advisable and e.sampled):
        text = MEASURED if e.measurable else "Measure a remedy before you train"
        return f"{text}; gradscope compare takes several models on the same inputs."
    gates = e.keep_gates or e.forget_gates
    if gates:
        gate = next(iter(gates.values()))
        command = f"gradscope compare {e.target} {e.cell}:init=chrono,tmax={max(e.steps, 3)}{size}{e.options}"
        text = f"Keep more of the state at each step, by the bias of the {gate} gate"
        return f"{text}{' (--remedies tries several)' * e.measurable}. To see what it does: {command}"
    command = f"gradscope compare {e.target} lstm:init=chrono,tmax={max(e.steps, 3)}{size}{e.options}"
    weights = " (--remedies tries other weights)" * (e.measurable and e.roads != (True, False))
    return f"{OTHER_CELLS[e.roads]}{weights}. To see how much: {command}"


def _gate_findings(e: Evidence) -> list[Finding]:
    found = []
    for gate, (low, high, never) in e.gates.items():
        if never is not None:
            if never > DEAD:
                text = f"{percent(never)} of the units are zero at every step of every sequence: they pass no gradient."
                found.append(Finding("GS-DEAD", "warning", text, "Use a smaller step size, a positive bias, or tanh."))
        elif low + high > SATURATED:
            text = f"Gate {gate} sits at the ends of its range in {percent(low + high)} of its values "
            text += f"({percent(low)} low, {percent(high)} high)."
            if high > low and gate in e.keep_gates:
                text += " It keeps the state: open, it carries the gradient."
            found.append(Finding("GS-SATURATED", "info", text))
    if e.near_one is not None and e.near_one >= CLOSE:
        text = f"{percent(e.near_one)} of the factors by which units forget lie within 0.001 of 1. "
        text += "bfloat16 cannot tell them from 1."
        advice = "Keep the recurrence, and the logarithm of its factor, in float32."
        found.append(Finding("GS-NEAR-ONE", "info", text, advice))
    text = ""
    if e.around_share is not None and not -CANCEL <= e.around_share <= 1 + CANCEL:
        text = f"The share of the gradient around the weights is {e.around_share:.2f}: the two roads cancel in part."
    if e.cancellation is not None and e.cancellation > OPPOSED:
        text += f"{' ' * bool(text)}Paths that cross the weights more and less often contribute with opposite signs: "
        text += f"the absolute values add up to {times(math.log10(e.cancellation))} times the gradient (one sequence)."
    return found + ([Finding("GS-ROADS-CANCEL", "info", text)] if text else [])
