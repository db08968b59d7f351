"""What the network remembers: how much of a difference in the past is left at the end of the run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.curves import STYLES
from gradscope.report.fields import array, choice, integer, interval, number, numbers, record
from gradscope.report.model import Curve, Finding, Level, Panel, share, times
from gradscope.report.numbers import finite_median, floats, spread
from gradscope.report.tables import between, count

if TYPE_CHECKING:
    from gradscope.analysis.memory import Memory

METRICS = {
    "memory_length": number(
        "Lag, in steps, from which a difference in the past leaves less than reach_threshold of itself in the final "
        "state; null if it does not end within the run, or is not determined (see series.memory.state).",
        optional=True,
        minimum=0,
    ),
}
SERIES = {
    "memory": record(
        "The past of a sequence is replaced by another, a number of steps before the end of the run, and its own "
        "inputs follow: distance of the final states, relative to the distance where the past was replaced.",
        {
            "state": choice(
                "Whether a difference in the past is left at the end of the run. chaotic: tiny perturbations grow to "
                "the distance of independent runs, or steadily.",
                "remembers",
                "forgets",
                "chaotic",
                "unknown",
            ),
            "length_ci95": interval(
                "95 % confidence interval of memory_length, steps, jackknife over orbits; null if not determined."
            ),
            "past": choice(
                "Where another past comes from: the other sequences, or, where there is one orbit, the same sequence "
                "at other times.",
                "sequences",
                "times",
            ),
            "lag": array("Steps before the end of the run at which the past is replaced.", integer("", minimum=1)),
            "ratio": numbers("Root mean square over sequences; null: the states were the same at that lag."),
            "median": numbers("Median over sequences."),
            "p05": numbers("5th percentile over sequences."),
            "p95": numbers("95th percentile over sequences."),
            "log10_perturbation": numbers(
                "Growth of a tiny perturbation of the first state in as many steps, log10, median of the sequences in "
                "which something is left of it."
            ),
            "independent_distance": number("Distance of final states of independent runs, root mean square."),
        },
        optional=True,
    ),
}

CODES = {
    "GS-LATCHED": {
        "level": "info",
        "summary": "the state remembers although the gradient vanishes",
        "means": "A difference in the past is still there in the final state, but its gradient is not: units hold "
        "their value against noise, and a map that holds a value contracts around it. The network can be used over "
        "these lags; gradient descent learns little from them.",
        "decided": "The verdict is vanishing, and after another past at the beginning of the run more than the "
        "threshold of the reach is left of the difference at its end.",
        "remedy": "Nothing, where the network is trained. To train further on long lags, start from weights whose "
        "gates keep the state without saturating.",
        "read": ["explanation/mathematics.md#the-verdict"],
    },
}

Document = dict[str, Any]


def metrics(memory: Memory, case: Case) -> Document:
    """Return the memory length."""
    return {"memory_length": memory.steps}


def findings(memory: Memory, case: Case) -> list[Finding]:
    """Say where the state and the gradient give different answers; chaos is a finding of `predictability`."""
    if memory.state != "remembers" or case.state != "vanishing":
        return []
    left, steps = times(math.log10(memory.distance[-1])), count(memory.run_steps)
    text = f"{left} of a difference in the past is left in the state after {steps}, "
    text += "though the gradient vanishes: the network can be used over these lags, and learns little from them."
    return [Finding("GS-LATCHED", "info", text)]


def series(memory: Memory, case: Case) -> Document:
    """Return what is left of a difference in the past, by lag."""
    document = {
        "state": memory.state,
        "length_ci95": list(memory.interval) if memory.interval else None,
        "past": memory.past,
        "lag": memory.lags.tolist(),
        "ratio": floats(memory.distance),
        **spread(memory.ratio),
        "log10_perturbation": finite_median(memory.growth),
        "independent_distance": memory.independent,
    }
    return {"memory": document}


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the row of the memory length in the first table."""
    m = document["series"].get("memory")
    if m is None:
        return []
    length, interval = document["metrics"]["memory_length"], m["length_ci95"]
    notes = {
        "remembers": f"no end within {count(document['series']['timestep'][-1])}",
        "chaotic": "not determined: tiny perturbations of the state grow",
        "unknown": "not determined",
    }
    note = notes.get(m["state"], "")
    if length is not None:
        wide = interval is not None and f"{interval[0]:.3g}" != f"{interval[1]:.3g}"
        ends = f", 95 % CI {between(*interval)}" if wide else ""
        note = f"steps{ends}, until {share(document['metrics']['reach_threshold'])} of a difference is left"
    return [("memory length", length, note)]


def panels(document: Document) -> list[Panel]:
    """Return what is left of a difference in the past, and of a tiny perturbation, by lag."""
    m = document["series"].get("memory")
    if m is None:
        return []
    others = "other sequences" if m["past"] == "sequences" else "the same orbit at other times"
    ratio = Curve("past replaced", m["lag"], _log10(m["ratio"]), _log10(m["p05"]), _log10(m["p95"]))
    tiny = Curve("tiny perturbation", m["lag"], m["log10_perturbation"], role=1, style=STYLES[1], weight="thin")
    note = f"root mean square over sequences; band: 5 to 95 %; another past: {others}"
    return [_panel([document], (ratio, tiny), note)]


def comparison(results: list[Document]) -> list[Panel]:
    """Return what is left of a difference in the past, of several models."""
    measured = [(role, r) for role, r in enumerate(results) if "memory" in r["series"]]
    curves = []
    for role, r in measured:
        m, style = r["series"]["memory"], STYLES[role % len(STYLES)]
        curves.append(Curve(r["name"], m["lag"], _log10(m["ratio"]), role=role, style=style))
    note = "root mean square over sequences"
    return [_panel([r for _, r in measured], tuple(curves), note)] if measured else []


def _panel(documents: list[Document], curves: tuple[Curve, ...], note: str) -> Panel:
    bars = {d["metrics"]["reach_threshold"] for d in documents}
    return Panel(
        "memory",
        "Memory: distance of the final states after the past is replaced",
        "steps back",
        "distance relative to that at the replacement",
        curves=curves,
        levels=tuple(Level(math.log10(bar), share(bar)) for bar in sorted(bars)),
        log10=True,
        log_x=True,
        note=note,
    )


def _log10(values: list[float | None]) -> list[float | None]:
    return [math.log10(x) if x else None for x in values]
