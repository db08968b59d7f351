"""The product of the Jacobians, back from the last step and forward from the first, and whether it can be trusted.

* A product in which large factors cancel is noise in its last digits, or in all of them (`product_condition`).
* A product that falls off like a power of the number of steps has no rate: each doubling of the run costs the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.analysis.reach import TRANSIENT_DECADES
from gradscope.report.case import Case
from gradscope.report.curves import STYLES, horizon
from gradscope.report.fields import array, integer, number, numbers, record
from gradscope.report.model import Column, Curve, Finding, Panel, Table, times
from gradscope.report.numbers import LN10, log10, median, median_count, medians
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.products import Products
    from gradscope.analysis.steps import StepSpectra
    from gradscope.maps.jacobian import Array

METRICS = {
    "log10_product": record(
        "Norm and radius of the Jacobian product over the whole run, and products of per-step radii and norms, log10.",
        {
            "spectral_norm": number("Spectral norm of the product of all Jacobians, log10."),
            "spectral_radius": number("Spectral radius of the product of all Jacobians, log10."),
            "sum_of_step_radii": number(
                "Product of the per-step spectral radii, log10: extrapolated from the measured steps.",
                optional=True,
            ),
            "sum_of_step_norms": number(
                "Product of the per-step spectral norms, log10, an upper bound of spectral_norm: extrapolated from the "
                "measured steps.",
                optional=True,
            ),
        },
        optional=True,
    ),
    "product_condition": number(
        "Condition number of the product, the amplification of the rounding errors of one step: max_t |J_T..J_t+1| "
        "|J_t| |J_t-1..J_1| / |P|, dimensionless; null if it is not known, or the product is zero.",
        optional=True,
    ),
    "surviving_directions": integer(
        "Singular values of the product over all steps that are above 10^-3.5 and within a decade of the "
        "largest; null if more singular values are needed.",
        null=True,
        optional=True,
        minimum=0,
    ),
}
SERIES = {
    "product": record(
        "Product of the Jacobians of the last `lag` steps, ds_T/ds_(T-lag), log10; medians over sequences.",
        {
            "lag": array("Steps back.", integer("")),
            "sequences": integer("Number of sequences.", minimum=1),
            "log10_spectral_norm": numbers("Spectral norm, log10."),
            "log10_frobenius_norm": numbers("Frobenius norm, log10."),
            "log10_spectral_radius": numbers("Spectral radius, log10."),
        },
        optional=True,
    ),
    "reached_from_start": record(
        "Product over the first steps, ds_t/ds_0: growth of an initial perturbation.",
        {
            "lag": array("Steps forward.", integer("")),
            "log10_spectral_norm": numbers("Largest singular value, log10."),
        },
        optional=True,
    ),
    "singular": record(
        "Singular values of the same product, log10, largest first.",
        {
            "lag": array("Steps back.", integer("")),
            "log10_values": numbers(
                "One row per lag; null if rounding errors dominate, or the value is exactly zero (see nonfinite).",
                rows="At one lag.",
            ),
            "log10_floor": number(
                "Only in results of early versions: smallest ratio to the largest singular value that is "
                "determined, log10.",
                optional=True,
            ),
            "surviving_directions": array(
                "At each lag, the number above 10^-3.5 and within a decade of the largest; null if more values are "
                "needed.",
                integer("", null=True),
                optional=True,
            ),
        },
        optional=True,
    ),
}


MOST = 709.0  # e^709 is the largest float64
DIGITS = 4.5e3  # rounding of one step, so many times enlarged, is what a condition of 1e12 means in float64
OCTAVES = 3  # doublings of the number of steps that a power law has to hold for
POWER_LAW_STEPS = 64  # steps below which an exponential and a power law are not told apart
FALLS = 0.3  # nats by which the norm falls in each of these octaves, at least
NEAR_NATS = 0.5  # nats between the logarithms of neighbouring lags, at most, to see which of the two it is
ALIKE = 1.25  # largest fall of an octave, relative to the smallest: 2 for an exponential
FACTOR = 4  # singular values 1, 4, 16, ... are drawn, and the last one

Document = dict[str, Any]


def metrics(products: Products, case: Case) -> Document:
    """Return four quantities over the whole run, the condition and the directions that survive."""
    return {
        "log10_product": _four(products, case.answers.get("steps"), case.reach.steps),
        "product_condition": _condition(products),
        "surviving_directions": median_count(products.surviving[-1]),
    }


def _four(products: Products, single: StepSpectra | None, steps: int) -> Document:
    """Return four quantities over the whole run of the first sequence that are not the same."""
    document = {
        "spectral_norm": log10(median(products.log_norm[-1])),
        "spectral_radius": log10(median(products.log_radius[-1])),
    }
    if single is not None:
        with np.errstate(divide="ignore"):
            radii = np.log(single.radius[:, :1])  # of the sequence whose product it is
        document["sum_of_step_radii"] = log10(_mean_times(radii, steps))
        document["sum_of_step_norms"] = log10(_mean_times(single.log_norm[:, :1], steps))
    return document


def _mean_times(values: Array, steps: int) -> float | None:
    mean = float(values.mean()) if values.size else math.nan
    return None if math.isnan(mean) else mean * steps


def _condition(p: Products) -> float | None:
    """Return the largest condition of the product over sequences; None where it is not known."""
    top = float(p.log_condition.max())
    return float(np.exp(top)) if top < MOST else math.inf if top == math.inf or top >= MOST else None


def series(p: Products, case: Case) -> Document:
    """Return the product by lag."""
    lag = p.lags.tolist()
    return {
        "product": {
            "lag": lag,
            "sequences": int(p.log_norm.shape[1]),
            "log10_spectral_norm": medians(p.log_norm),
            "log10_frobenius_norm": medians(p.log_frobenius),
            "log10_spectral_radius": medians(p.log_radius),
        },
        "reached_from_start": {"lag": lag, "log10_spectral_norm": medians(p.log_from_start)},
        "singular": {
            "lag": lag,
            "log10_values": [medians(p.log_singular[k].T) for k in range(len(p.lags))],
            "surviving_directions": [median_count(row) for row in p.surviving],
        },
    }


def findings(p: Products, case: Case) -> list[Finding]:
    """Say whether the product can be trusted, and whether a rate means anything."""
    entries = []
    condition = float(p.log_condition.max())
    if condition > -math.log(DIGITS * float(np.finfo(case.dtype).eps)):
        text = f"The product of all steps can amplify the rounding errors of one step {times(condition / LN10)}-fold: "
        text += "the product is not determined."
        advice = "Trust only short lags and the rates of single steps."
        entries.append(Finding("GS-NOT-DETERMINED", "warning", text, advice))
    for logs, where in ((p.log_norm, "back from the last step"), (p.log_from_start, "forward from the first step")):
        power = _power_law(p.lags, logs.mean(axis=1))
        if power is not None:
            text = f"The norm of the product decays like t^-{power:.2f} {where}, not exponentially: "
            entries.append(Finding("GS-ALGEBRAIC", "info", f"{text}the rate depends on the length of the run."))
            break
    top = p.log_norm.mean(axis=1)
    if np.isfinite(top).all() and not case.reach.transient:
        lag, most = int(p.lags[top.argmax()]), float(top.max())
        if most / LN10 > max(0.0, float(top[-1]) / LN10) + TRANSIENT_DECADES:
            text = f"In the most amplified direction, a gradient {count(lag)} back is {times(most / LN10)} times as "
            text += "large as at the last step, and smaller at the first: the rate over the whole run hides this peak."
            entries.append(Finding("GS-TRANSIENT", "info", text, "Use the decay curve, not the rate."))
    return entries


def _power_law(lags: Array, logs: Array) -> float | None:
    """Return p where the norm falls off as t^-p over the last octaves; None where it does something else."""
    if lags[-1] < POWER_LAW_STEPS or not np.isfinite(logs).all():
        return None
    at = np.log(lags[-1] / 2.0 ** np.arange(OCTAVES, -1, -1))
    seen = np.log(lags[max(0, int(np.searchsorted(np.log(lags), at[0], side="right")) - 1) :])
    if np.diff(seen).max() > NEAR_NATS:  # a line between two lags is a power law, whatever lies between
        return None
    falls = -np.diff(np.interp(at, np.log(lags), logs))
    if falls.min() < FALLS or falls.max() > ALIKE * falls.min():
        return None
    return float(falls.mean() / math.log(2.0))


def tables(document: Document) -> list[Table]:
    """Return four quantities that are often taken for one another, of one sequence."""
    m = document["metrics"].get("log10_product")
    if not m:
        return []
    some = len(document["series"].get("step_spectral_radius", {"timestep": []})["timestep"])
    steps = document["series"]["timestep"][-1]
    sampled = f"estimated from {some} of {steps} steps" if some < steps else "every step"
    bound = f"upper bound of the first row, {sampled}"
    rows = (
        ("norm of the product", m["spectral_norm"], "largest possible gain of a gradient"),
        ("radius of the product", m["spectral_radius"], ""),
        ("product of per-step radii", m.get("sum_of_step_radii"), sampled),
        ("product of per-step norms", m.get("sum_of_step_norms"), bound),
    )
    columns = (Column("over the whole run", numeric=False), Column("log10", ".2f"), Column("", numeric=False))
    return [Table("Jacobian product vs. products of per-step norms and radii (first sequence)", columns, rows)]


def panels(document: Document) -> list[Panel]:
    """Return the product back from the last step, and forward from the first."""
    entries = [_back(document)] if "product" in document["series"] else []
    if "reached_from_start" in document["series"]:
        p = document["series"]["reached_from_start"]
        curve = Curve("norm", [0, *p["lag"]], [0.0, *p["log10_spectral_norm"]], role=3)
        title = "Forward Jacobian product: growth of an initial perturbation"
        axes = ("steps forward", "norm of ds_t/ds_0")
        marks = horizon(document)
        entries.append(Panel("start", title, *axes, curves=(curve,), marks=marks, log10=True, note="first sequence"))
    return entries


def _back(document: Document) -> Panel:
    p, s = document["series"]["product"], document["series"]["singular"]
    lag = [0, *p["lag"]]
    curves = [Curve("norm", lag, [0.0, *p["log10_spectral_norm"]])]
    number = len(s["log10_values"][0])
    between = [FACTOR**i for i in range(1, number.bit_length()) if FACTOR**i < number]
    for k in between + [number] * (number > 1):
        y = [0.0] + [row[k - 1] for row in s["log10_values"]]
        if sum(v is not None for v in y) > 2:
            curves.append(Curve(f"σ{k}", lag, y, role=1, weight="thin"))
    lost = any(v is None for row in s["log10_values"] for v in row)
    ends = "; values end where they are zero or not determined" if lost else ""
    radius = [(k, r) for k, r in zip(lag, [0.0, *p["log10_spectral_radius"]], strict=True) if r is not None]
    if len(radius) > 1:
        xs, ys = [k for k, _ in radius], [r for _, r in radius]
        curves.append(Curve("radius", xs, ys, role=2, style="dashed", weight="thin"))
    title = "Backward Jacobian product: norm, singular values, radius"
    note = "first sequence" + ends
    marks = horizon(document)
    return Panel("product", title, "steps back", "size", curves=tuple(curves), marks=marks, log10=True, note=note)


def comparison(results: list[Document]) -> list[Panel]:
    """Return the norm of the product of several models."""
    curves = []
    for role, r in enumerate(results):
        if "product" in r["series"]:
            p, style = r["series"]["product"], STYLES[role % len(STYLES)]
            curves.append(Curve(r["name"], p["lag"], p["log10_spectral_norm"], role=role, style=style))
    title = "Norm of the backward Jacobian product"
    return [Panel("product", title, "steps back", "spectral norm", curves=tuple(curves), log10=True)] if curves else []
