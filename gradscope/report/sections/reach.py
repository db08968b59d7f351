"""How far gradients reach: gain, rate, half-life and reach, and where a number format has nothing left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report import section
from gradscope.report.case import Case
from gradscope.report.fields import integer, interval, number, record
from gradscope.report.model import Finding, Table, share, times
from gradscope.report.numbers import LN10
from gradscope.report.tables import QUANTITY, between, count

if TYPE_CHECKING:
    from gradscope.analysis.reach import Reach

METRICS = {
    "log10_gain": number("Median over sequences of log10(|dL/ds_0| / |dL/ds_T|), decades over the whole run."),
    "log10_gain_sd": number(
        "Standard deviation of log10_gain over sequences, decades; null for one sequence.", minimum=0
    ),
    "rate": number("Mean slope of ln|dL/ds| back in time, nats per step; negative: the gradient shrinks."),
    "rate_ci95": interval("95 % confidence interval of the rate, nats per step; null if not determined."),
    "tail_rate": number(
        "Mean slope of ln|dL/ds| back in time beyond attenuation_steps, nats per step: the verdict is about it.",
        optional=True,
    ),
    "tail_rate_ci95": interval(
        "95 % confidence interval of the tail rate, nats per step; null if not determined.", optional=True
    ),
    "attenuation_steps": integer(
        "Lag, in steps, within which the gradient is attenuated once; 0 where the decay is the same throughout.",
        optional=True,
        minimum=0,
    ),
    "log10_attenuation": number("Median norm at attenuation_steps relative to lag 0, log10.", optional=True),
    "half_life": number(
        "Number of steps in which the gradient halves at the tail rate; null if it does not shrink.", exclusiveMinimum=0
    ),
    "reach": integer(
        "Largest lag, in steps, at which the median gradient norm is still at least reach_threshold of its "
        "value at lag 0; null if that value is zero or nonfinite.",
        null=True,
        minimum=0,
    ),
    "reach_threshold": number("Fraction of the gradient norm that defines the reach, dimensionless.", null=False),
    "underflow_lag": record(
        "First lag, in steps, at which the median norm of the last step's loss gradient, unscaled, rounds to zero in "
        "this number format; null where that does not happen within the run.",
        {
            "float32": integer("In float32, steps back.", null=True, minimum=1),
            "bfloat16": integer("In bfloat16, steps back.", null=True, minimum=1),
            "float16": integer("In float16, steps back.", null=True, minimum=1),
        },
    ),
}
CODES = {
    "GS-UNDERFLOW": {
        "level": "warning",
        "summary": "the gradient underflows at lower precision",
        "means": "The gradient of the last step's loss is exactly zero in float16, bfloat16 or float32 from this lag "
        "on. Training in that format learns nothing from earlier steps, whatever the optimiser.",
        "decided": "The median norm is at most half the smallest positive number of the format, so every entry rounds "
        "to zero: 2^-150 in float32, 2^-134 in bfloat16, 2^-25 in float16. The loss gradient is not scaled.",
        "remedy": "Loss scaling moves the lag but does not change the rate. Keep recurrent gradients in a wider "
        "format, or improve the rate.",
        "read": ["explanation/mathematics.md#the-verdict"],
    }
}

Document = dict[str, Any]


def metrics(reach: Reach, case: Case) -> Document:
    """Return gain, rate, half-life, reach and underflow."""
    gain = reach.log_gain / LN10
    spread = float(gain.std(ddof=1)) if len(gain) > 1 and np.isfinite(gain).all() else None
    return {
        "log10_gain": reach.log10_gain,
        "log10_gain_sd": spread,
        "rate": reach.rate,
        "rate_ci95": list(reach.interval) if reach.interval else None,
        "tail_rate": reach.tail_rate,
        "tail_rate_ci95": list(reach.tail_interval) if reach.tail_interval else None,
        "attenuation_steps": reach.knee,
        "log10_attenuation": reach.attenuation / LN10 if reach.knee else 0.0,
        "half_life": reach.half_life,
        "reach": reach.reach,
        "reach_threshold": reach.threshold,
        "underflow_lag": reach.underflow,
    }


def findings(reach: Reach, case: Case) -> list[Finding]:
    """Return findings: where the gradient underflows, and where its rate hides a peak."""
    entries = []
    lags = {name: lag for name, lag in reach.underflow.items() if lag is not None}
    if lags and case.zero_from is None:
        text = ", ".join(f"at lag {lag} in {name}" for name, lag in lags.items())
        text = f"At lower precision, the gradient of the last step's loss underflows to zero: {text}."
        advice = "Loss scaling moves these lags but does not change the rate."
        entries.append(Finding("GS-UNDERFLOW", "warning", text, advice))
    if reach.transient:
        lag, top = reach.transient
        text = f"The gradient is largest {count(lag)} back, {times(top / LN10)} times its norm at the last step, and "
        text += "decays from there to the first step: the rate over the whole run hides this peak."
        advice = "Use the decay curve, not the rate; clip the gradient if the peak is large."
        entries.append(Finding("GS-TRANSIENT", "info", text, advice))
    return entries


def warnings(reach: Reach, case: Case) -> list[Document]:
    """Say which sequences run along the same orbit: they are not independent."""
    batch = len(reach.log_gain)
    if reach.orbits == batch:
        return []
    text = f"The {batch} sequences follow "
    if reach.orbits == 1:
        text += "the same orbit: they count as one, and the interval of the rate is computed over blocks of steps."
    else:
        text += f"{reach.orbits} distinct orbits: each orbit counts once in the interval of the rate."
    return [{"code": "GS-ONE-ORBIT", "message": text, "where": "states"}]


def tables(document: Document) -> list[Table]:
    """Return the table of gain, rate, half-life, reach and underflow."""
    m = document["metrics"]
    steps = document["series"]["timestep"][-1]
    interval = m["rate_ci95"]
    rate_note = f"nats/step, 95 % CI {between(*interval)}" if interval else "nats/step, no confidence interval"
    whole, last_loss, bar = m["reach"] == steps, m["reach"] is not None, share(m["reach_threshold"])
    attenuated = ", attenuation included" * bool(m.get("attenuation_steps"))
    left = f"steps, at least {bar} of the gradient left{attenuated}"
    rows: list[tuple[Any, ...]] = [
        ("reach", m["reach"], "steps (the whole run)" if whole else left),
        *_before_the_tail(m),
        ("half-life", m["half_life"], "steps"),
        ("rate", m["rate"], rate_note),
        ("log10 gain", m["log10_gain"], f"decades over {count(steps)}"),
    ]
    rows += [
        (f"underflow in {name}", lag, _underflow_note(lag, steps, last_loss))
        for name, lag in m["underflow_lag"].items()
    ]
    # other sections add rows to this table: `rows` in report/section.py
    return [Table("How far gradients reach", QUANTITY, (*rows, *section.rows(document)))]


def _before_the_tail(m: Document) -> list[tuple[Any, ...]]:
    """Return the rows of what is lost once and of the tail, where the decay bends."""
    if not m.get("attenuation_steps"):
        return []
    interval = m["tail_rate_ci95"]
    note = f"nats/step, 95 % CI {between(*interval)}" if interval else "nats/step, no confidence interval"
    lost = f"log10, once, within {count(m['attenuation_steps'])} of the loss"
    return [("attenuation", m["log10_attenuation"], lost), ("tail rate", m["tail_rate"], note)]


def _underflow_note(lag: int | None, steps: int, last_loss: bool) -> str:
    """Return the note on an underflow lag: the norm decides, and single entries may be zero at smaller lags.

    Args:
        lag: steps back, or None.
        steps: T.
        last_loss: whether the last step has a loss, so that its gradient has a reach.
    """
    if lag is not None:
        return f"step{'s'[: lag != 1]} back; single entries earlier"
    return f"none guaranteed within {count(steps)}" if last_loss else ""
