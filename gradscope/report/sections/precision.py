"""What number formats hold: where gradients and states overflow in float16, bfloat16 and float32."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradscope.numerics.formats import LARGEST_FINITE
from gradscope.report.case import Case
from gradscope.report.fields import integer, number, record
from gradscope.report.model import Finding, times

if TYPE_CHECKING:
    from gradscope.analysis.precision import Overflow

METRICS = {
    "overflow_lag": record(
        "First lag, in steps, at which the median norm of the last step's loss gradient, unscaled, exceeds the largest "
        "finite number of this format; null where that does not happen within the run.",
        {name: integer(f"In {name}, steps back.", null=True, minimum=0) for name in LARGEST_FINITE},
        optional=True,
    ),
    "largest_state": number(
        "Largest absolute value of a state variable, over steps and sequences.", optional=True, minimum=0
    ),
    "state_overflow_step": record(
        "Number of steps after which a state variable first exceeds the largest finite number of this format; null "
        "where that does not happen within the run.",
        {name: integer(f"In {name}, steps.", null=True, minimum=0) for name in LARGEST_FINITE},
        optional=True,
    ),
}
CODES = {
    "GS-OVERFLOW": {
        "level": "warning",
        "summary": "gradients or states overflow at lower precision",
        "means": "In this format numbers of that size are infinite: the forward pass, or the backward pass from this "
        "lag on, gives inf and then NaN. In float16 that is common; the range of bfloat16 is that of float32.",
        "decided": "The median norm of the loss gradient, unscaled, exceeds the largest finite number of the format, "
        "or the absolute value of a state variable does: 65504 in float16, about 3.4e38 in bfloat16 and float32.",
        "remedy": "For gradients: clipping acts after the backward pass and cannot repair what has overflowed in it; "
        "improve the rate, use a smaller loss scale, or truncate backpropagation before that lag. For states: "
        "normalise the inputs or the state, or compute the recurrence in a wider format.",
        "read": ["explanation/mathematics.md#the-verdict"],
    }
}

Document = dict[str, Any]


def metrics(o: Overflow, case: Case) -> Document:
    """Return lags, the largest state and steps."""
    document: Document = {"overflow_lag": o.lags}
    if o.largest_state is not None:
        document |= {"largest_state": o.largest_state, "state_overflow_step": o.steps}
    return document


def findings(o: Overflow, case: Case) -> list[Finding]:
    """Say where gradients and states overflow."""
    texts, advice = [], []
    if lags := _where(o.lags):
        limits = ", ".join(f"{names} at lag {lag}" for names, lag in _grouped(lags))
        texts.append(f"The norm of the last step's loss gradient exceeds the largest number of {limits}.")
        advice.append("Clipping the gradient afterwards cannot repair this; loss scaling brings these lags nearer.")
    if (steps := _where(o.steps)) and o.largest_state:
        limits = ", ".join(f"{names} from step {step} on" for names, step in _grouped(steps))
        texts.append(f"States reach {times(math.log10(o.largest_state))} and exceed the largest number of {limits}.")
        advice.append("Compute the recurrence in a wider format, or keep the state smaller.")
    return [Finding("GS-OVERFLOW", "warning", " ".join(texts), " ".join(advice))] if texts else []


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the rows of the first table: formats in which something overflows."""
    m = document["metrics"]
    entries: list[tuple[Any, ...]] = []
    for name, lag in _where(m.get("overflow_lag", {})).items():
        entries.append((f"overflow in {name}", lag, f"step{'s'[: lag != 1]} back: the norm exceeds {_largest(name)}"))
    if steps := _where(m.get("state_overflow_step", {})):
        note = "overflows " + ", ".join(f"{names} from step {step} on" for names, step in _grouped(steps))
        entries.append(("largest state", m["largest_state"], note))
    return entries


def _where(formats: Mapping[str, int | None]) -> dict[str, int]:
    return {name: at for name, at in formats.items() if at is not None}


def _grouped(formats: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return (names of formats with their largest number, lag or step), one entry for all that agree in both."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, at in formats.items():
        groups.setdefault((_largest(name), at), []).append(name)
    return [(f"{' and '.join(names)} ({largest})", at) for (largest, at), names in groups.items()]


def _largest(name: str) -> str:
    """Write the largest finite number of a format: 65504, 3.4e38."""
    largest = LARGEST_FINITE[name]
    return f"{largest:.0f}" if largest < 1e6 else times(math.log10(largest))
