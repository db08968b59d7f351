"""What of the input can be told from noise in the last state, and whether sequences agree on the sign of a gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.fields import array, integer, number, numbers, record
from gradscope.report.model import Curve, Finding, Level, Panel, threshold
from gradscope.report.numbers import LN10, floats
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.fisher import Fisher
    from gradscope.maps.jacobian import Array

SERIES = {
    "fisher": record(
        "Fisher memory: how far an input of one standard deviation, `lag` steps before the last one, moves the last "
        "state, in standard deviations of what else moves it, squared. Eigenvalues over input directions.",
        {
            "lag": array("Steps back, up to where too little of the gradient is left.", integer("", minimum=0)),
            "log10_largest": numbers("Largest eigenvalue, log10; null: not above zero, as far as can be seen."),
            "log10_largest_low": numbers(
                "Lower end of its 95 % interval over sequences, log10; null: zero is within the interval."
            ),
            "log10_second": numbers("Second eigenvalue, likewise; null also where there is one direction."),
            "log10_smallest": numbers("Smallest eigenvalue, likewise."),
            "above_threshold": array(
                "Number of directions whose eigenvalue is above `threshold`: the lower end of its 95 % interval is.",
                integer("", minimum=0),
            ),
            "threshold": number("Eigenvalue from which a direction can be told from noise.", null=False, minimum=0),
            "directions": integer(
                "Number of input directions: all inputs, or random orthonormal directions where there are too many.",
                minimum=1,
            ),
            "sequences": integer("Number of sequences along which derivatives were taken.", minimum=2),
            "state_sequences": integer(
                "Number of sequences from whose last states the covariance was estimated; of synthetic input, more "
                "than were measured.",
                minimum=2,
            ),
            "shrinkage": number(
                "Weight of the identity in that covariance (Ledoit & Wolf 2004), 0 to 1.", null=False, minimum=0
            ),
        },
        optional=True,
    ),
    "coherence": record(
        "Length of the mean over sequences of the gradient dL/dx, relative to its root mean square: 1 where all "
        "sequences have the same gradient, 0 where its sign is random. For readouts that all sequences share.",
        {
            "lag": array("Steps back.", integer("", minimum=0)),
            "value": numbers("Coherence, 0 to 1; null where the gradient is zero."),
            "low": numbers("Lower end of its 95 % interval over sequences."),
            "high": numbers("Upper end."),
            "sequences": integer("Number of sequences.", minimum=2),
        },
        optional=True,
    ),
}

LOW_COHERENCE = 0.33  # eight sequences have as much in common, in the mean, as they differ: (1 - c^2) / 8 = c^2
CODES = {
    "GS-INCOHERENT": {
        "level": "warning",
        "summary": "the gradient arrives with another sign in every sequence",
        "means": "Single sequences have a gradient at this distance, but their mean is small: a batch averages most of "
        "it away, and an update follows noise.",
        "decided": "At the largest measured lag within reach, the upper end of the 95 % interval of the coherence, the "
        "mean gradient over its root mean square, is below {report.sections.fisher.LOW_COHERENCE}.",
        "remedy": "Smaller recurrent weights: a chaotic network turns the sign with every small change of the input. "
        "Larger batches help only with the square of one over the coherence.",
        "read": ["explanation/mathematics.md#what-can-be-told-from-noise"],
    }
}

Document = dict[str, Any]


def series(fisher: Fisher, case: Case) -> Document:
    """Return eigenvalues and coherence by lag."""
    from gradscope.analysis.fisher import DIRECTION_THRESHOLD  # fields are read without the analyses

    values, lag = fisher.log_eigenvalues / LN10, fisher.lags.tolist()
    second = values[:, 1] if values.shape[1] > 1 else np.full(len(lag), np.nan)
    return {
        "fisher": {
            "lag": lag,
            "log10_largest": floats(values[:, 0]),
            "log10_largest_low": floats(fisher.log_lower[:, 0] / LN10),
            "log10_second": floats(second),
            "log10_smallest": floats(values[:, -1]),
            "above_threshold": fisher.above.tolist(),
            "threshold": DIRECTION_THRESHOLD,
            "directions": fisher.directions,
            "sequences": fisher.sequences,
            "state_sequences": fisher.states,
            "shrinkage": fisher.shrinkage,
        },
        "coherence": {
            "lag": lag,
            "value": floats(fisher.coherence),
            "low": floats(fisher.interval[:, 0]),
            "high": floats(fisher.interval[:, 1]),
            "sequences": fisher.sequences,
        },
    }


def findings(fisher: Fisher, case: Case) -> list[Finding]:
    """Say where the gradient arrives, but cancels between sequences."""
    row = _within_reach(fisher, case.reach.reach)
    if row is None or not fisher.interval[row, 1] < LOW_COHERENCE:
        return []
    low, high = fisher.interval[row].tolist()
    text = f"{count(int(fisher.lags[row]))} back, the gradient arrives, but with another sign in every sequence: its "
    text += f"mean over {fisher.sequences} sequences is {fisher.coherence[row]:.2f} of its root mean square "
    text += f"(95 % interval {low:.2f} to {high:.2f})."
    advice = "In a chaotic network, smaller recurrent weights keep the sign."
    if high > 0:
        fewest = math.ceil(1 / high**2 - 1)
        advice = f"The common part outweighs the rest in batches of at least {fewest} sequences. {advice}"
    return [Finding("GS-INCOHERENT", "warning", text, advice)]


def _within_reach(fisher: Fisher, reach: int | None) -> int | None:
    """Return the row of the largest lag, above zero, at which the gradient arrives and its coherence is known."""
    lags: Array = np.where(np.isnan(fisher.coherence), -1, fisher.lags)
    rows = np.flatnonzero((lags > 0) & (lags <= (reach or 0)))
    return int(rows[-1]) if rows.size else None


def panels(document: Document) -> list[Panel]:
    """Return eigenvalues and coherence by lag."""
    fisher, coherence = document["series"].get("fisher"), document["series"].get("coherence")
    if not fisher or not coherence or len(fisher["lag"]) < 2:
        return []
    lag = fisher["lag"]
    # where zero is within the interval, there is nothing to be seen of an eigenvalue, and of those below it
    low, curves = fisher["log10_largest_low"], []
    for name in ("largest", "second", "smallest")[: min(fisher["directions"], 3)]:
        y = [None if end is None else v for v, end in zip(fisher[f"log10_{name}"], low, strict=True)]
        if any(v is not None for v in y):
            first = name == "largest"
            bottom, top = (low, y) if first else (None, None)
            curves.append(Curve(name, lag, y, bottom, top, role=1, weight="strong" if first else "thin"))
    middle, below, above = ([math.log10(v) if v else None for v in coherence[key]] for key in ("value", "low", "high"))
    if any(v is not None for v in middle):
        curves.append(Curve("coherence", lag, middle, below, above, role=2, style="dashed"))
    level = Level(math.log10(fisher["threshold"]), f"told from noise: {threshold(fisher['threshold'])}")
    number = fisher["directions"]
    some = f"{number} input direction{'s'[: number != 1]}, {fisher['sequences']} sequences"
    note = f"{some}; covariance of {fisher['state_sequences']} last states, shrunk by {fisher['shrinkage']:.2f}"
    note += "; lines end where zero is within the 95 % interval" if None in low or not all(coherence["value"]) else ""
    title, axis = "Fisher memory of the input, coherence of the gradient", "eigenvalue, coherence"
    return [Panel("fisher", title, "steps back", axis, curves=tuple(curves), levels=(level,), log10=True, note=note)]
