"""What is told of an analysis in numbers: a table a question, the most important first."""

from __future__ import annotations

import bisect
from typing import Any

from gradscope.report import panels
from gradscope.report.model import Column, Table

__all__ = ["analysis", "gradient_norms"]

Document = dict[str, Any]

QUANTITY = (Column("quantity", numeric=False), Column("value", ".4g"), Column("unit", numeric=False))


def analysis(document: Document) -> tuple[Table, ...]:
    """Return the tables of one analysis; what was not measured is left out."""
    found = [_reach_table(document), _decay_table(document)]
    if document.get("remedies"):
        found.insert(1, _remedy_table(document))
    if document["metrics"].get("layers"):
        found.append(_layer_table(document))
    if document["metrics"].get("log10_product"):
        found.append(_product_table(document))
    if document["series"].get("lyapunov"):
        found.append(_direction_table(document))
    if document["series"]["gates"]:
        found.append(_gate_table(document))
    if document["metrics"].get("gate_share"):
        found.append(_road_table(document))
    return tuple(found)


def _reach_table(document: Document) -> Table:
    m = document["metrics"]
    steps = document["series"]["timestep"][-1]
    interval = m["rate_ci95"]
    known = f"nats/step, 95 % {_between(*interval)}" if interval else "nats/step, no interval"
    whole, followed = m["reach"] == steps, m["reach"] is not None
    rows: list[tuple[Any, ...]] = [
        ("reach", m["reach"], f"steps{' (the whole run)' if whole else ''}, down to {m['reach_threshold']:g}"),
        ("half-life", m["half_life"], "steps"),
        ("rate", m["rate"], known),
        ("log10 gain", m["log10_gain"], f"decades over {steps} step{'s'[: steps != 1]}"),
    ]
    rows += [(f"zero in {name}", lag, _zero(lag, steps, followed)) for name, lag in m["underflow_lag"].items()]
    if m.get("step_spectral_radius"):
        r = m["step_spectral_radius"]
        spread = f"of one step, {r['min']:.3g} to {r['max']:.3g}" if r["median"] is not None else "of one step"
        rows.append(("spectral radius", r["median"], spread))
    if "around_share" in m:
        rows.append(("around the weights", m["around_share"], "share of the gradient"))
    if "time_constant" in m:
        t = m["time_constant"]
        ends = [_finite(t, name) for name in ("min", "median", "max")]
        rows.append(("time constant", ends[1], f"steps, median of units; {ends[0]} to {ends[2]}"))
    rows += [(name, f["value"], f["meaning"]) for name, f in m.get("of_cell", {}).items()]
    return Table("How far gradients reach", QUANTITY, tuple(rows))


def _layer_table(document: Document) -> Table:
    """Return what arrives in each layer, the top one first, as it comes down from the loss."""
    bar = document["metrics"]["reach_threshold"]
    columns = (
        Column("layer", numeric=False),
        Column("last step", ".2f"),
        Column("largest", ".2f"),
        Column("steps back", "d"),
        Column(f"reach, down to {bar:g}", numeric=False),
    )
    rows = []
    for x in reversed(document["metrics"]["layers"]):
        ends = ["zero" if x[key] is None else x[key] for key in ("log10_last", "log10_largest")]
        rows.append((x["name"], *ends, x["lag_of_largest"], "never" if x["reach"] is None else _steps(x["reach"])))
    return Table("Layer by layer: log10 |dL/dh| beside the loss's own, median over sequences", columns, tuple(rows))


def _steps(count: int) -> str:
    return f"{count} step{'s'[: count != 1]}"


def _finite(times: Document, name: str) -> str:
    """Write a time constant; what is missing does not end."""
    return "inf" if times[name] is None else f"{times[name]:.4g}"


def _remedy_table(document: Document) -> Table:
    """Return what each change does, best first, under what it is held against."""
    m, tried = document["metrics"], document["remedies"]
    columns = (
        Column("change", numeric=False),
        Column("verdict", numeric=False),
        Column("rate", ".3g"),
        Column("95 %", numeric=False),
        Column("reach", "d"),
        Column("log10 gain", ".2f"),
        Column("helps", numeric=False),
    )
    rows: list[tuple[Any, ...]] = [_remedy_row("as it is", document["verdict"]["state"], m, "")]
    rows += [_remedy_row(r["change"], r["state"], r, r["helps"]) for r in tried]
    title = "What would help" if any(r["helps"] for r in tried) else "What was tried, and does not help"
    return Table(title, columns, tuple(rows))


def _remedy_row(change: str, state: str, m: Document, helps: bool | str) -> tuple[Any, ...]:
    interval = _between(*m["rate_ci95"]) if m["rate_ci95"] else None
    return (change, state, m["rate"], interval, m["reach"], m["log10_gain"], helps)


def _zero(lag: int | None, steps: int, followed: bool) -> str:
    """Say from where on a gradient is zero: its norm decides, and single entries may be zero before."""
    if lag is not None:
        return f"step{'s'[: lag != 1]} back, at the latest"
    return f"not for certain within {steps} step{'s'[: steps != 1]}" if followed else ""


def _between(low: float, high: float) -> str:
    """Write an interval with as many decimals at both ends, and enough to tell them apart."""
    for digits in (3, 4, 5, 6):
        ends = [f"{x:.{digits}g}" for x in (low, high)]
        if ends[0] != ends[1]:
            break
    if any("e" in end for end in ends):
        return " to ".join(ends)
    decimals = max(len(end.partition(".")[2]) for end in ends)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


LAGS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000)
COLUMNS = 6  # of gradient norms; more do not fit a terminal, and all are in the JSON and the csv


def _decay_table(document: Document) -> Table:
    series = document["series"]["log10_gradient_norm"]
    timestep = document["series"]["timestep"]
    steps = timestep[-1]
    parts = [n for n in series if n != "state"]
    totals = [n for n in parts if n.endswith("_total")]
    single = [n for n in parts if n not in totals]
    names = single if len(single) == 1 else ["state", *parts]
    called = {n: n for n in names}
    what = "log10 |dL/ds|"
    if len(names) > COLUMNS and len(outputs := panels.outputs(document)) > 1:
        called = {"state": "state"} | {n: n.rpartition(".")[0] for n in _spread(outputs, COLUMNS - 1)}
        what += ", and |dL/dh| of layers"
    elif len(names) > COLUMNS:
        called = {n: n for n in ("state", *single[1 - COLUMNS :])}
    names = list(called)
    columns = [Column("steps back", "d"), *(Column(n, ".2f") for n in called.values())]
    columns += [Column(f"{names[0]} {q} %", ".2f") for q in (5, 95)]
    rows = []
    wanted = [steps - k for k in LAGS if k < steps]
    # of a very long run not every step is there: the next later one
    for i in sorted({0, *(bisect.bisect_left(timestep, t) for t in wanted)}, reverse=True):
        row = [_text(series[n]["median"][i], document, n) for n in names]
        rows.append((steps - timestep[i], *row, series[names[0]]["p05"][i], series[names[0]]["p95"][i]))
    return Table(f"{what}, median over sequences", tuple(columns), tuple(rows))


def _spread(names: list[str], count: int) -> list[str]:
    """Return so many of the names, the first and the last among them."""
    if len(names) <= count:
        return names
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def _text(value: Any, document: Document, name: str) -> Any:
    """Return the number, or what stands for it where it is not finite."""
    if value is not None:
        return value
    kinds = {r["kind"] for r in document["nonfinite"] if r["path"] == f"series.log10_gradient_norm.{name}.median"}
    return "zero" if kinds == {"-inf"} else None


def _product_table(document: Document) -> Table:
    """Return four quantities that are often taken for one another, of one sequence."""
    m = document["metrics"]["log10_product"]
    some = len(document["series"].get("step_spectral_radius", {"timestep": []})["timestep"])
    steps = document["series"]["timestep"][-1]
    sampled = f"estimated from {some} of {steps} steps" if some < steps else "every step"
    bound = f"{sampled}; bounds the first line" if some < steps else "bounds the first line"
    rows = [
        ("norm of the product", m["spectral_norm"], "the most that its gradient can gain"),
        ("radius of the product", m["spectral_radius"], ""),
        ("product of the radii", m.get("sum_of_step_radii"), sampled),
        ("product of the norms", m.get("sum_of_step_norms"), bound),
    ]
    columns = (Column("over the whole run", numeric=False), Column("log10", ".2f"), Column("", numeric=False))
    return Table("Four quantities that are not the same (first sequence)", columns, tuple(rows))


NAMED_EXPONENTS = 3


def _direction_table(document: Document) -> Table:
    """Return exponents with their intervals, and what follows from them."""
    m, g = document["metrics"], document["series"]["lyapunov"]
    size = sum(s["size"] for s in document["model"]["state"])
    values = g["exponents"]
    shown = [*range(min(NAMED_EXPONENTS, len(values)))]
    shown += [len(values) - 1] * (len(values) > NAMED_EXPONENTS)
    rows: list[tuple[Any, ...]] = []
    for k in shown:
        value = "-inf" if values[k] is None and _is_lost(document, k) else values[k]
        known = f"nats/step, 95 % {_between(*g['ci95'][k])}" if _known(g["ci95"][k]) else "nats/step"
        rows.append((f"exponent {k + 1}", value, known if value is not None else "not determined"))
    rows.append(("entropy rate", m["entropy_rate"], "nats/step at most: sum of the positive exponents"))
    rows.append(("Kaplan-Yorke dimension", m["kaplan_yorke_dimension"], f"of {size}"))
    if "determinant_error" in g:
        lost = _is_lost(document, len(values) - 1)
        held = (None, "both are -inf") if lost else (g["determinant_error"], "nats/step: zero, up to rounding")
        rows.append(("sum - ln|det J|", *held))
    rows.append(("surviving directions", m.get("surviving_directions"), f"of {size}, over all steps"))
    rows.append(("condition", m.get("product_condition"), "times more than itself, rounding of one step does"))
    over = {"sequences": f", {g['sequences']} sequences", "batches": ", one orbit, batches of steps"}
    return Table(f"Lyapunov exponents{over.get(g['errors_over'] or '', '')}", QUANTITY, tuple(rows))


def _known(interval: list[float | None] | None) -> bool:
    return interval is not None and None not in interval


def _is_lost(document: Document, k: int) -> bool:
    return any(
        r["path"] == "series.lyapunov.exponents" and r["kind"] == "-inf" and r["first"][0] <= k
        for r in document["nonfinite"]
    )


def _gate_table(document: Document) -> Table:
    columns = (Column("gate", numeric=False), Column("mean", ".3g"), Column("low", ".1%"), Column("high", ".1%"))
    gates = document["series"]["gates"]
    return Table("Gates", columns, tuple((n, g["mean"], g["low_share"], g["high_share"]) for n, g in gates.items()))


def _road_table(document: Document) -> Table:
    """Return by which roads the gradient went, and how often it crossed weights."""
    m, steps = document["metrics"], document["series"]["timestep"][-1]
    around = [("around the weights", m["around_share"], "")] if "around_share" in m else []
    rows: list[tuple[Any, ...]] = [*around, *((_road(n), share, "") for n, share in m["gate_share"].items())]
    crossed = document["series"]["paths"].get("crossings")
    if crossed:
        which = "one sequence" if crossed["sequence"] else "first sequence"
        signs = ", shares of both signs" if crossed["cancellation"] > panels.MIXED else ""
        label = "crossings, signed mean" if signs else "mean crossings"
        rows.append((label, f"{crossed['mean']:.3g}", f"of {steps} step{'s'[: steps != 1]}, {which}{signs}"))
    columns = (Column("road", numeric=False), Column("mean share", ".3f"), Column("", numeric=False))
    return Table("Which road the gradient took", columns, tuple(rows))


def _road(name: str) -> str:
    if name == "readout":
        return "through the readout, back in as input"
    return f"{name}, through input weights" if " to " in name else f"through the weights of {name}"


def gradient_norms(document: Document) -> Table:
    """Return every gradient series by time step."""
    series = document["series"]["log10_gradient_norm"]
    stats = ("median", "p05", "p95", "mean_square")
    columns = [Column("timestep")] + [Column(f"log10_gradient_norm.{n}.{s}") for n in series for s in stats]
    values = [document["series"]["timestep"]] + [series[n][s] for n in series for s in stats]
    return Table("gradient norms", tuple(columns), tuple(zip(*values, strict=True)))
