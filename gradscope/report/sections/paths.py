"""Which path the gradient took: the skip path or through the recurrent weights, and how often it crossed them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.curves import STYLES, back, lags
from gradscope.report.fields import array, integer, mapping, number, numbers, record
from gradscope.report.model import Column, Curve, Finding, Panel, Points, Table, times
from gradscope.report.numbers import finite_median, known, timesteps
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.crossings import Crossings
    from gradscope.analysis.paths import Paths

METRICS = {
    "around_share": number(
        "Share of the gradient along the skip path, around the recurrent weights, mean over steps, dimensionless; "
        "left out if the cell has no skip path.",
        optional=True,
    ),
    "gate_share": mapping(
        "Share of the gradient that passes through the recurrent weights of each gate, mean over steps and "
        'sequences, dimensionless, by name of the gate; "l0 to l1" is the share through the input weights of the '
        'next layer, "readout" the share that is fed back as input. With around_share (0 if it is left out) '
        "they add up to 1. Left out if there is only one path.",
        number("One path."),
        optional=True,
    ),
}
SERIES = {
    "paths": record(
        "Shares of the gradient by path, per step.",
        {
            "around_share": numbers(
                "Share of the gradient along the skip path from t + 1 to t, median over sequences, length T, "
                "dimensionless; may leave [0, 1] where paths cancel."
            ),
            "gate_share": mapping(
                "The same through the recurrent weights of each gate. With around_share they add up to "
                "1 in each sequence; medians need not.",
                numbers("One path."),
                optional=True,
            ),
            "crossings": record(
                "The gradient of one sequence, by the number of steps at which its paths cross weights; left "
                "out if it is too expensive, if no gradient arrives, or if rounding errors dominate.",
                {
                    "sequence": integer("Which sequence, from 0."),
                    "count": array(
                        "Numbers of crossings, without both ends, where all shares are below 1e-6 of the largest.",
                        integer(""),
                    ),
                    "share": array(
                        "Share of the gradient, dimensionless. All shares, with those left out, add up to 1; "
                        "single ones may be negative or above 1.",
                        number("", null=False),
                    ),
                    "never_share": number(
                        "Share of the paths that cross no weights at any step, dimensionless.", null=False
                    ),
                    "mean": number("Mean number of crossings, dimensionless.", null=False),
                    "cancellation": number(
                        "Sum of the absolute shares, dimensionless: 1 if all have the same sign.", null=False
                    ),
                },
                optional=True,
            ),
        },
        optional=True,
    ),
}


DRAWN = 4  # through gates, of which the largest are drawn
SLIGHT = 0.01  # mean share below which a path is not drawn
MIXED = 1.1  # sum of the absolute shares from which their mean is none
VISIBLE = 1e-3  # of the largest share by crossings: where both ends are cut
NEGLIGIBLE = 1e-6  # of the largest share by crossings: smaller ones at both ends are left out of the document
CANCEL = 0.05  # distance outside of 0 to 1 from which a share says that roads cancel
OPPOSED = 100.0  # times the gradient that absolute contributions by number of crossings must reach to be worth a word

Document = dict[str, Any]


def metrics(paths: Paths, case: Case) -> Document:
    """Return the mean share of each path."""
    around = {"around_share": known(paths.mean)} if paths.has_around else {}
    return around | {"gate_share": {name: known(mean) for name, mean in paths.gate_mean.items()}}


def series(paths: Paths, case: Case) -> Document:
    """Return the shares by time step, and by number of crossings."""
    rows = timesteps(case.reach.steps)[1:] - 1
    document: Document = {
        "around_share": finite_median(paths.around_share[rows]),
        "gate_share": {name: finite_median(share[rows]) for name, share in paths.gate_share.items()},
    }
    crossings = case.answers.get("crossings")
    return {"paths": document | ({} if crossings is None else {"crossings": _crossings(crossings)})}


def _crossings(c: Crossings) -> Document:
    large = np.flatnonzero(np.abs(c.share) >= NEGLIGIBLE * np.abs(c.share).max())
    first, end = int(large[0]), int(large[-1]) + 1
    return {
        "sequence": c.sequence,
        "count": list(range(first, end)),
        "share": c.share[first:end].tolist(),
        "never_share": float(c.share[0]),
        "mean": c.mean,
        "cancellation": c.cancellation,
    }


def findings(paths: Paths, case: Case) -> list[Finding]:
    """Say where roads, or paths that cross the weights more and less often, cancel."""
    text, crossings = "", case.answers.get("crossings")
    if not math.isnan(paths.mean) and not -CANCEL <= paths.mean <= 1 + CANCEL:
        text = f"The share of the skip path is {paths.mean:.2f}: skip path and recurrent weights cancel in part."
    if crossings is not None and crossings.cancellation > OPPOSED:
        text += f"{' ' * bool(text)}Paths with different numbers of weight crossings contribute with opposite signs: "
        text += f"their absolute contributions add up to {times(math.log10(crossings.cancellation))} times the "
        text += "gradient (one sequence)."
    return [Finding("GS-ROADS-CANCEL", "info", text)] if text else []


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the row of the share around the weights in the first table."""
    m = document["metrics"]
    return [("skip path", m["around_share"], "share of the gradient")] if "around_share" in m else []


def tables(document: Document) -> list[Table]:
    """Return by which roads the gradient went, and how often it crossed weights."""
    m, steps = document["metrics"], document["series"]["timestep"][-1]
    if not m.get("gate_share"):
        return []
    around = [("skip path", m["around_share"], "")] if "around_share" in m else []
    rows: list[tuple[Any, ...]] = [*around, *((_label(n), share, "") for n, share in m["gate_share"].items())]
    by_count = document["series"]["paths"].get("crossings")
    if by_count:
        which = "one sequence" if by_count["sequence"] else "first sequence"
        signs = ", shares of both signs" if by_count["cancellation"] > MIXED else ""
        label = "weight crossings, signed mean" if signs else "mean weight crossings"
        rows.append((label, f"{by_count['mean']:.3g}", f"of {count(steps)}, {which}{signs}"))
    columns = (Column("path", numeric=False), Column("mean share", ".3f"), Column("", numeric=False))
    return [Table("Gradient paths: skip path vs. recurrent weights", columns, tuple(rows))]


def _label(name: str) -> str:
    if name == "readout":
        return "readout, fed back as input"
    return f"input weights, {name}" if " to " in name else f"recurrent weights of {name}"


def panels(document: Document) -> list[Panel]:
    """Return the shares by step, and by crossings; none where there is one path."""
    paths, metrics = document["series"].get("paths"), document["metrics"]
    if paths is None or not (metrics.get("gate_share") or metrics.get("around_share") != 1):
        return []
    return [_shares(document), *([_by_crossings(document)] if "crossings" in paths else [])]


def _shares(document: Document) -> Panel:
    paths, metrics = document["series"]["paths"], document["metrics"]
    gates = list(document["series"].get("gates", {}))[-4:]  # those of the panel of gates keep their colours
    means = {name: abs(mean or 0.0) for name, mean in metrics.get("gate_share", {}).items()}
    drawn = [n for n in sorted(means, key=lambda n: -means[n])[:DRAWN] if means[n] >= SLIGHT]
    steps_back = [lag + 1 for lag in lags(document)[:-1]]  # of the step that ends there
    curves = []
    if "around_share" in metrics:
        curves.append(Curve("skip path", steps_back, back(paths["around_share"]), role=4))
    others = iter(range(5, 5 + DRAWN))
    for name in [n for n in means if n in drawn]:
        role = gates.index(name) if name in gates else next(others)
        label, y = name if " to " in name else f"weights of {name}", back(paths["gate_share"][name])
        curves.append(Curve(label, steps_back, y, role=role, style=STYLES[role % 4], weight="thin"))
    rest = [n for n in means if n not in drawn]
    share = metrics.get("around_share")
    where = f": {share:.2f} along the skip path" if share is not None else "" if drawn else ": not determined"
    return Panel(
        "road",
        f"Gradient paths{where}",
        "steps back",
        "share of the gradient",
        curves=tuple(curves),
        note=f"mean share below {SLIGHT:g}, not drawn: {', '.join(rest)}" if rest and drawn else "",
    )


def _by_crossings(document: Document) -> Panel:
    c, steps = document["series"]["paths"]["crossings"], document["series"]["timestep"][-1]
    bar = VISIBLE * max(map(abs, c["share"]))
    seen = [i for i, x in enumerate(c["share"]) if abs(x) >= bar]
    number, share = (c[key][seen[0] : seen[-1] + 1] for key in ("count", "share"))
    mixed = c["cancellation"] > MIXED
    cancel = f"; absolute shares add up to {c['cancellation']:.3g}" if mixed else ""
    return Panel(
        "crossings",
        "Share of the gradient by number of weight crossings"
        if mixed
        else f"Weight crossings: {c['mean']:.3g} on average in {count(steps)}",
        "weight crossings along the path",
        "share of the gradient",
        curves=(Curve("", number, share, weight="thin"),),
        points=(Points("", number, share),),
        note=("one sequence" if c["sequence"] else "first sequence") + cancel,
    )
