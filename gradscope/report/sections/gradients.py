"""Gradient norms on the way back: every part of the state, at every step."""

from __future__ import annotations

import bisect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.curves import STYLES, back, followed, format_limits, horizon, kinds, lags, layer_outputs, relative
from gradscope.report.fields import array, integer, numbers, record, ref
from gradscope.report.model import Column, Curve, Finding, Panel, Table
from gradscope.report.numbers import LN10, band, timesteps
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.gradients import Gradients

SERIES = {
    "timestep": array(
        "0, 1, ..., T; if T is above 100 000, evenly spaced steps and T. Other series have the entries of these steps.",
        integer(""),
    ),
    "log10_gradient_norm": record(
        "log10 |dL/ds_t| with the parts of s_t as independent inputs of the rest of the network, by part of "
        "the state: `state` is the whole state, `h`, `c` and `layer.part` are parts, and a name that ends in "
        "`_total` is the total derivative, which also goes through the other parts of the same step, as "
        "frameworks report it.",
        {
            "state": ref("Of the whole state, length T + 1.", "band"),
        },
        others=ref("Of one part of the state, length T + 1.", "band"),
    ),
    "log10_last_step_gradient_norm": record(
        "The same for the loss of the last step alone, if other steps have a loss too: reach and rate are "
        "computed from it.",
        {
            "state": ref("Of the whole state, length T + 1.", "band"),
        },
        optional=True,
    ),
}
DEFINITIONS = {
    "band": record(
        "A quantity by time step, over sequences, log10.",
        {
            "median": numbers("Median over sequences, log10."),
            "p05": numbers("5th percentile over sequences, log10."),
            "p95": numbers("95th percentile over sequences, log10."),
            "mean_square": numbers(
                "log10 of the mean over sequences of |dL/ds_t|^2: about twice the log10 of the norm."
            ),
        },
    ),
}


LAGS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000)
COLUMNS = 6  # of gradient norms; more do not fit a terminal, and all are in the JSON and the csv

Document = dict[str, Any]


def series(gradients: Gradients, case: Case) -> Document:
    """Return the norms by time step, over sequences."""
    at = timesteps(case.reach.steps)
    document: Document = {
        "timestep": at.tolist(),
        "log10_gradient_norm": {name: band(logs[at] / LN10) for name, logs in gradients.norms.logs.items()},
    }
    if gradients.last is not None:
        document["log10_last_step_gradient_norm"] = {"state": band(gradients.last.state[at] / LN10)}
    return document


def findings(gradients: Gradients, case: Case) -> list[Finding]:
    """Say where the loss of earlier steps is in the curves and not in the verdict."""
    if gradients.last is None:
        return []
    text = "Every step has a loss; verdict, rate and reach refer to the loss of the last step alone."
    return [Finding("GS-LOSS-EVERYWHERE", "info", text)]


def warnings(gradients: Gradients, case: Case) -> list[Document]:
    """Say how many sequences are left out, for want of a loss at the last step."""
    used = gradients.sequences
    if used.all():
        return []
    text = f"{int((~used).sum())} of {used.size} sequences have no loss at the last step"
    return [{"code": "GS-NO-LOSS", "message": text, "where": "loss"}]


def tables(document: Document) -> list[Table]:
    """Return the norms at log-spaced lags."""
    series = document["series"]["log10_gradient_norm"]
    timestep = document["series"]["timestep"]
    steps = timestep[-1]
    parts = [n for n in series if n != "state"]
    totals = [n for n in parts if n.endswith("_total")]
    single = [n for n in parts if n not in totals]
    names = single if len(single) == 1 else ["state", *parts]
    titles = {n: n for n in names}
    what = "log10 |dL/ds|"
    if len(names) > COLUMNS and len(outputs := layer_outputs(document)) > 1:
        titles = {"state": "state"} | {n: n.rpartition(".")[0] for n in _spread(outputs, COLUMNS - 1)}
        what += " and, per layer, |dL/dh|"
    elif len(names) > COLUMNS:
        titles = {n: n for n in ("state", *single[1 - COLUMNS :])}
    names = list(titles)
    columns = [Column("steps back", "d"), *(Column(n, ".2f") for n in titles.values())]
    columns += [Column(f"{names[0]} {q} %", ".2f") for q in (5, 95)]
    rows = []
    wanted = [steps - k for k in LAGS if k < steps]
    # of a very long run not every step is there: the next later one
    for i in sorted({0, *(bisect.bisect_left(timestep, t) for t in wanted)}, reverse=True):
        row = [_text(series[n]["median"][i], document, n) for n in names]
        rows.append((steps - timestep[i], *row, series[names[0]]["p05"][i], series[names[0]]["p95"][i]))
    return [Table(f"{what}, median over sequences", tuple(columns), tuple(rows))]


def _spread(names: list[str], number: int) -> list[str]:
    """Return so many of the names, the first and the last among them."""
    if len(names) <= number:
        return names
    return [names[round(i * (len(names) - 1) / (number - 1))] for i in range(number)]


def _text(value: Any, document: Document, name: str) -> Any:
    """Return the number, or what stands for it where it is not finite."""
    if value is not None:
        return value
    return "zero" if kinds(document, f"series.log10_gradient_norm.{name}.median") == {"-inf"} else None


def data(document: Document) -> Table:
    """Return every gradient series by time step, for csv and tsv."""
    series = document["series"]["log10_gradient_norm"]
    stats = ("median", "p05", "p95", "mean_square")
    columns = [Column("timestep")] + [Column(f"log10_gradient_norm.{n}.{s}") for n in series for s in stats]
    values = [document["series"]["timestep"]] + [series[n][s] for n in series for s in stats]
    return Table("gradient norms", tuple(columns), tuple(zip(*values, strict=True)))


def panels(document: Document) -> list[Panel]:
    """Return the decay curve: the whole state, its parts where there are few, and the last step's loss alone."""
    series = document["series"]["log10_gradient_norm"]
    steps_back = lags(document)
    parts = [n for n in series if n not in ("state", "h") and not n.endswith("_total")]
    names = ["state", *(["h"] if parts and "h" in series else []), *parts] if len(parts) < 3 else ["state"]
    label = {"state": "whole state" if len(names) > 1 else "|dL/dh|" if "h" in series else "|dL/ds|"}
    curves = []
    for role, name in enumerate(names):
        b = series[name]
        low, high = (back(b["p05"]), back(b["p95"])) if name == "state" else (None, None)
        style, weight = STYLES[role % 4], "strong" if name == "state" else "thin"
        y = back(b["median"])
        curves.append(Curve(label.get(name, name), steps_back, y, low, high, role=role, style=style, weight=weight))
    alone = document["series"].get("log10_last_step_gradient_norm")
    if alone:
        y, role = back(alone["state"]["median"]), len(names)
        curves.append(Curve("loss of the last step", steps_back, y, role=role, style=STYLES[role % 4]))
    title = "Gradient norm by lag, median and 5-95 % of the sequences"
    return [replace(_decay(title, "|dL/ds|", curves, levels=True, note=_zero_from(document)), marks=horizon(document))]


def comparison(results: list[Document]) -> list[Panel]:
    """Return the decay curves of several models, each relative to its last step."""
    curves = [
        Curve(r["name"], lags(r), *relative(followed(r)), role=role, style=STYLES[role % len(STYLES)])
        for role, r in enumerate(results)
    ]
    title = "Relative gradient norm by lag, median and 5-95 % of the sequences"
    levels = all(_starts_at_one(r) for r in results)
    return [_decay(title, "|dL/ds| relative to the last step", curves, levels=levels)]


def _decay(title: str, y_label: str, curves: list[Curve], *, levels: bool, note: str = "") -> Panel:
    return Panel(
        "decay",
        title,
        "steps back",
        y_label,
        curves=tuple(curves),
        levels=format_limits() if levels else (),
        log10=True,
        wide=True,
        note=note,
    )


def _starts_at_one(result: Document) -> bool:
    """Return whether a relative gradient is the gradient itself, so that the underflow lines mean something."""
    start = followed(result)["median"][-1]
    return start is not None and abs(start) < 0.01


def _zero_from(document: Document) -> str:
    """Say from where on the gradient is zero, as no logarithm can show it."""
    if kinds(document, "series.log10_gradient_norm.state.median") != {"-inf"}:
        return ""
    median, steps_back = back(document["series"]["log10_gradient_norm"]["state"]["median"]), lags(document)
    lost = [lag for lag, x in zip(steps_back, median, strict=True) if x is None]
    if len(lost) < len(steps_back) - steps_back.index(lost[0]):  # not from there to the end
        return "gaps: exactly zero"
    return f"exactly zero from {count(lost[0])} back"
