"""How long units remember by themselves: time constants, where no unit sees another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.curves import kinds
from gradscope.report.fields import array, number, numbers, record
from gradscope.report.model import NOTHING, Curve, Finding, Panel, percent

if TYPE_CHECKING:
    from gradscope.analysis.timescales import TimeScales

METRICS = {
    "time_constant": record(
        "Intrinsic time constants, over units and sequences, in steps; only for cells with diagonal recurrence. "
        "null with a record in nonfinite: infinite, the unit does not forget.",
        {
            "min": number("Minimum, steps."),
            "p05": number("5 % quantile, steps."),
            "median": number("Median, steps."),
            "p95": number("95 % quantile, steps."),
            "max": number("Maximum, steps."),
            "near_one_share": number(
                "Share of the decay factors, of all steps, units and sequences, that bfloat16 does not tell from 1; "
                "GS-NEAR-ONE states the distance.",
                null=False,
            ),
        },
        optional=True,
    ),
}
SERIES = {
    "time_constant": record(
        "Intrinsic time constants of the units, in ascending order; only for cells with diagonal recurrence.",
        {
            "share": array("Share of units with at most this time constant, 0 to 1.", number("", null=False)),
            "steps": numbers("Time constant, steps; null with a record in nonfinite: infinite."),
        },
        optional=True,
    ),
}


TIMES_KEPT = 201  # time constants, of all units and sequences
QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
CLOSE = 0.01  # share of factors next to 1 from which it is worth a word

Document = dict[str, Any]


def metrics(times: TimeScales, case: Case) -> Document:
    """Return quantiles over units and sequences: order statistics, since some may be infinite."""
    values = np.sort(times.steps, axis=None)
    at = {name: float(values[round(q * (values.size - 1))]) for name, q in QUANTILES.items()}
    return {"time_constant": at | {"near_one_share": times.near_one}}


def series(times: TimeScales, case: Case) -> Document:
    """Return the time constants of as many units, evenly chosen from the shortest to the longest, as can be drawn."""
    values = np.sort(times.steps, axis=None)
    share = np.linspace(0, 1, min(values.size, TIMES_KEPT)) if values.size > 1 else np.ones(1)
    steps = values[np.rint(share * (values.size - 1)).astype(int)].tolist()
    return {"time_constant": {"share": share.tolist(), "steps": steps}}


def findings(times: TimeScales, case: Case) -> list[Finding]:
    """Say where low precision cannot tell a factor from 1."""
    if times.near_one < CLOSE:
        return []
    from gradscope.analysis.timescales import NEAR_ONE  # fields are read without the analyses

    text = f"{percent(times.near_one)} of the decay factors of the units lie within {NEAR_ONE:g} of 1: "
    advice = "Compute the recurrence and the logarithm of its factor in float32."
    return [Finding("GS-NEAR-ONE", "info", f"{text}bfloat16 cannot distinguish them from 1.", advice)]


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the row of the time constants in the first table; what is missing does not end."""
    t = document["metrics"].get("time_constant")
    if t is None:
        return []
    low, middle, high = ("inf" if t[name] is None else f"{t[name]:.4g}" for name in ("min", "median", "max"))
    return [("time constant", middle, f"steps, median of units; {low} to {high}")]


def panels(document: Document) -> list[Panel]:
    """Return the time constants of units, from the shortest to the longest."""
    t = document["series"].get("time_constant")
    if t is None:
        return []
    known = [x if x is None or x > 0 else None for x in t["steps"]]  # zero has no logarithm
    endless = kinds(document, "series.time_constant.steps") == {"inf"}
    zeros = 0.0 in t["steps"]
    notes = ["some are zero"] * zeros + ["some are infinite"] * endless
    nothing = "all are zero or infinite" if zeros and endless else "all are infinite" if endless else NOTHING
    y = [None if x is None else math.log10(x) for x in known]
    return [
        Panel(
            "times",
            "Intrinsic time constants of the units",
            "share of units and sequences",
            "time constant, steps",
            curves=(Curve("", t["share"], y, role=3, at_end=False),),
            log10=True,
            note="; ".join([*notes, "not drawn"]) if notes and any(x is not None for x in known) else "",
            nothing="all are zero" if zeros and not endless else nothing,
        )
    ]
