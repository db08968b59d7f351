"""Which direction of the state keeps its gradient, though this loss does not read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.fields import mapping, number, record
from gradscope.report.model import Finding, percent, times
from gradscope.report.numbers import LN10
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.unread import Unread

METRICS = {
    "unread": record(
        "The direction of the final state that depends most on the first one, where the loss hardly reads it; of the "
        "first sequence. Only where the product keeps it and the gradient of the loss is decades smaller.",
        {
            "log10_norm": number("Gain along this direction, the spectral norm of the product, log10."),
            "log10_gain": number("Gain of the gradient of the loss, log10."),
            "parts": mapping(
                "Share of the squared length of the direction in each part of the state; they add up to 1.",
                number("One part.", null=False, minimum=0, maximum=1),
            ),
        },
        optional=True,
    ),
}
CODES = {
    "GS-UNREAD": {
        "level": "info",
        "summary": "the product keeps a direction that this loss does not read",
        "means": "A direction of the final state still depends on the first state, but the gradient of this loss "
        "hardly lies along it. The network can carry a gradient over the run; this loss receives little of it.",
        "decided": "The spectral norm of the product of all Jacobians is at least the threshold of the reach, and at "
        "least {analysis.unread.UNREAD_DECADES} decades above the gain of the loss gradient, beside the factor sqrt(H) "
        "that a random readout of H units misses anyhow. First sequence.",
        "remedy": "Measure with the loss of the task: `--loss-gradient FILE.npy`. In an LSTM, a saturated tanh(c) "
        "shuts c off from the readout of h: smaller c, or a larger forget-gate range, opens it.",
        "read": ["explanation/mathematics.md#the-verdict"],
    }
}

Document = dict[str, Any]
MOST = 0.5  # share of the direction from which one part is named alone


def metrics(unread: Unread, case: Case) -> Document:
    """Return the gain along the direction, that of the loss, and where the direction lies."""
    gains = {"log10_norm": unread.log_norm / LN10, "log10_gain": unread.log_gain / LN10}
    return {"unread": gains | {"parts": dict(unread.parts)}}


def findings(unread: Unread, case: Case) -> list[Finding]:
    """Say how far the gain along the direction is above that of the loss, and in which part of the state it lies."""
    gain, steps = unread.log_norm / LN10, count(case.reach.steps)
    text = f"The product over {steps} keeps a direction (gain {times(gain)}) that this loss hardly reads: "
    text += f"its gradient is {unread.decades:.1f} decades smaller. "
    part, share = max(unread.parts.items(), key=lambda item: item[1])
    if len(unread.parts) > 1 and share > MOST:
        text += f"{percent(share)} of that direction lies in {part}."
    elif len(unread.parts) > 1:
        shares = sorted(unread.parts.items(), key=lambda item: -item[1])[:3]
        text += f"It lies in {', '.join(f'{name} ({percent(x)})' for name, x in shares)}."
    else:
        text += "The readout is nearly orthogonal to it."
    return [Finding("GS-UNREAD", "info", text, "Measure with the loss of the task: --loss-gradient FILE.npy.")]
