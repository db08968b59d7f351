"""What is drawn of a document: panels of curves, points and bars, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from gradscope.numerics.formats import ROUNDS_TO_ZERO
from gradscope.report.model import NOTHING, Bars, Curve, Heat, Level, Panel, Points, percent

__all__ = ["analysis", "comparison", "outputs"]

Document = dict[str, Any]
STYLES = ("solid", "dashed", "dotted", "dashdot")

ROADS = 4  # through gates, of which the largest are drawn
SLIGHT = 0.01  # mean share below which a road is not drawn
MIXED = 1.1  # sum of the absolute shares from which their mean is none
COLUMNS = 600  # of a map of colours: more are narrower than a dot
VISIBLE = 1e-3  # of the largest share by crossings: where both ends are cut
FACTOR = 4  # singular values 1, 4, 16, ... are drawn, and the last one
MINUS = "all minus infinity"
DRAWN = 3  # exponents whose way to their value is drawn


def analysis(document: Document) -> tuple[Panel, ...]:
    """Return the panels of one analysis; those that were not measured are left out."""
    series = document["series"]
    found = [_decay(document)]
    if len(outputs(document)) > 1:
        found.append(_layers(document))
    if "eigenvalues" in series:
        found.append(_eigenvalues(document))
    if "product" in series:
        found.append(_product(document))
    if "reached_from_start" in series:
        found.append(_start(document))
    if "lyapunov" in series:
        found += [_exponents(document), _convergence(document)]
    if series["gates"]:
        found.append(_gates(document))
    if "time_constant" in series:
        found.append(_times(document))
    metrics = document["metrics"]
    if "paths" in series and (metrics.get("gate_share") or metrics.get("around_share") != 1):  # else there is one road
        found.append(_road(document))
        if "crossings" in series["paths"]:
            found.append(_crossings(document))
    if "step_spectral_radius" in series and "around_share" not in document["metrics"]:
        found.append(_step(document))
    # The first panel is wide, but not where the last one would be left with a row of its own.
    return (replace(found[0], wide=len(found) % 3 != 0 or len(found) == 3), *found[1:])


def comparison(document: Document) -> tuple[Panel, ...]:
    """Return the panels of several analyses, one colour for each."""
    results = document["results"]
    curves = []
    products, exponents = [], []
    for role, r in enumerate(results):
        band = _followed(r)
        lags = _lags(r)
        style = STYLES[role % len(STYLES)]
        curves.append(Curve(r["name"], lags, *_relative(band), role=role, style=style))
        if "product" in r["series"]:
            p = r["series"]["product"]
            products.append(Curve(r["name"], p["lag"], p["log10_spectral_norm"], role=role, style=style))
        if "lyapunov" in r["series"]:
            y = r["series"]["lyapunov"]["exponents"]
            exponents.append(Curve(r["name"], list(range(1, len(y) + 1)), y, role=role, style=style))
    decay = Panel(
        "decay",
        "Gradient on its way back, median and 5-95 % of the sequences",
        "steps back",
        "|dL/ds| relative to the last step",
        curves=tuple(curves),
        levels=_levels() if all(_starts_at_one(r) for r in results) else (),
        log10=True,
        wide=True,
    )
    found = [decay]
    if products:
        title = "Norm of the Jacobian product"
        found.append(Panel("product", title, "steps back", "spectral norm", curves=tuple(products), log10=True))
    if exponents:
        title = "Lyapunov exponents"
        found.append(Panel("lyapunov", title, "number, largest first", "nats per step", curves=tuple(exponents)))
    return tuple(found)


def _followed(result: Document) -> Document:
    """Return the gradient that reach is read from: that of the last step's loss."""
    series = result["series"]
    band: Document = series.get("log10_last_step_gradient_norm", series["log10_gradient_norm"])["state"]
    return band


def _starts_at_one(result: Document) -> bool:
    """Tell whether a relative gradient is the gradient itself, so that the underflow lines mean something."""
    start = _followed(result)["median"][-1]
    return start is not None and abs(start) < 0.01


def _levels() -> tuple[Level, ...]:
    return tuple(Level(bits * math.log10(2), f"{name} underflows") for name, bits in ROUNDS_TO_ZERO.items())


def _back(values: list[Any]) -> list[Any]:
    return list(reversed(values))


def _relative(band: Document) -> tuple[list[Any], list[Any], list[Any]]:
    """Return (median, p05, p95) by lag, relative to the median at lag 0."""
    start = band["median"][-1] or 0.0
    rows = ([None if x is None else x - start for x in _back(band[k])] for k in ("median", "p05", "p95"))
    y, low, high = rows
    return y, low, high


def _lags(document: Document) -> list[int]:
    """Return how many steps before the last one each entry of a series is, the last one first."""
    timestep = document["series"]["timestep"]
    return [timestep[-1] - t for t in reversed(timestep)]


def _decay(document: Document) -> Panel:
    series = document["series"]["log10_gradient_norm"]
    lags = _lags(document)
    parts = [n for n in series if n not in ("state", "h") and not n.endswith("_total")]
    names = ["state", *(["h"] if parts and "h" in series else []), *parts] if len(parts) < 3 else ["state"]
    label = {"state": "whole state" if len(names) > 1 else "|dL/dh|" if "h" in series else "|dL/ds|"}
    curves = []
    for role, name in enumerate(names):
        b = series[name]
        low, high = (_back(b["p05"]), _back(b["p95"])) if name == "state" else (None, None)
        style, weight = STYLES[role % 4], "strong" if name == "state" else "thin"
        curves.append(
            Curve(label.get(name, name), lags, _back(b["median"]), low, high, role=role, style=style, weight=weight)
        )
    alone = document["series"].get("log10_last_step_gradient_norm")
    if alone:
        y = _back(alone["state"]["median"])
        curves.append(Curve("last step's loss alone", lags, y, role=len(names), style=STYLES[len(names) % 4]))
    return Panel(
        "decay",
        "Gradient norm on its way back, median and 5-95 % of the sequences",
        "steps back",
        "|dL/ds|",
        curves=tuple(curves),
        levels=_levels(),
        log10=True,
        wide=True,
        note=_zero_from(document),
    )


def _zero_from(document: Document) -> str:
    """Say from where on the gradient is zero, as no logarithm can show it."""
    path = "series.log10_gradient_norm.state.median"
    if _kinds(document, path) != {"-inf"}:
        return ""
    median, lags = _back(document["series"]["log10_gradient_norm"]["state"]["median"]), _lags(document)
    lost = [lag for lag, x in zip(lags, median, strict=True) if x is None]
    if len(lost) < len(lags) - lags.index(lost[0]):  # not from there to the end
        return "exactly zero where nothing is drawn"
    return f"exactly zero from {lost[0]} step{'s'[: lost[0] != 1]} back"


def _kinds(document: Document, path: str) -> set[str]:
    """Return what the missing numbers of an array are: "-inf", "inf", "nan"."""
    return {r["kind"] for r in document["nonfinite"] if r["path"] == path}


def outputs(document: Document) -> list[str]:
    """Return the series of every layer's output: with what goes up within the same step, where that is there."""
    layers: dict[str, str] = {}
    for part in document["model"]["state"]:
        layer, _, name = part["name"].rpartition(".")
        if layer and layer not in layers:
            layers[layer] = f"{layer}.{name}"
    series = document["series"]["log10_gradient_norm"]
    return [f"{n}_total" if f"{n}_total" in series else n for n in layers.values()]


def _layers(document: Document) -> Panel:
    """Return a map of layers and steps: in which layer does the gradient die?"""
    series, lags = document["series"]["log10_gradient_norm"], _lags(document)
    every = -(-len(lags) // COLUMNS)
    names = outputs(document)[::-1]
    heat = Heat(
        tuple(n.rpartition(".")[0] for n in names),
        lags[::every],
        tuple(_back(series[n]["median"])[::every] for n in names),
        "|dL/dh| of the layer's output",
    )
    note = "grey: exactly zero" if any(v is None for row in heat.values for v in row) else ""
    return Panel("layers", "Gradient norm in every layer, median", "steps back", "", heat=heat, note=note)


def _eigenvalues(document: Document) -> Panel:
    e = document["series"]["eigenvalues"]
    share = e["outside_share"]
    where = "not determined" if share is None else f"{percent(share)} outside the unit circle"
    flat = [[x for row in e[k] for x in row] for k in ("real", "imag")]
    return Panel(
        "eigenvalues",
        f"Eigenvalues of one step's Jacobian: {where}",
        "real part",
        "imaginary part",
        points=(Points("", flat[0], flat[1]),),
        unit_circle=True,
        note=f"first sequence; {len(e['timestep'])} of {document['series']['timestep'][-1]} steps are drawn",
    )


def _product(document: Document) -> Panel:
    p, s = document["series"]["product"], document["series"]["singular"]
    lag = [0, *p["lag"]]
    curves = [Curve("norm", lag, [0.0, *p["log10_spectral_norm"]])]
    count = len(s["log10_values"][0])
    between = [FACTOR**i for i in range(1, count.bit_length()) if FACTOR**i < count]
    for k in between + [count] * (count > 1):
        y = [0.0] + [row[k - 1] for row in s["log10_values"]]
        if sum(v is not None for v in y) > 2:
            curves.append(Curve(f"σ{k}", lag, y, role=1, weight="thin"))
    lost = any(v is None for row in s["log10_values"] for v in row)
    ends = "; values end where they are zero or rounding decides" if lost else ""
    radius = [(k, r) for k, r in zip(lag, [0.0, *p["log10_spectral_radius"]], strict=True) if r is not None]
    if len(radius) > 1:
        xs, ys = [k for k, _ in radius], [r for _, r in radius]
        curves.append(Curve("radius", xs, ys, role=2, style="dashed", weight="thin"))
    return Panel(
        "product",
        "Product back from the last step: norm, singular values, radius",
        "steps back",
        "size",
        curves=tuple(curves),
        log10=True,
        note="first sequence" + ends,
    )


def _start(document: Document) -> Panel:
    p = document["series"]["reached_from_start"]
    curve = Curve("norm", [0, *p["lag"]], [0.0, *p["log10_spectral_norm"]], role=3)
    return Panel(
        "start",
        "Product forward from the first step: what is left of a perturbation",
        "steps forward",
        "norm of ds_t/ds_0",
        curves=(curve,),
        log10=True,
        note="first sequence",
    )


def _exponents(document: Document) -> Panel:
    g = document["series"]["lyapunov"]
    x = list(range(1, len(g["exponents"]) + 1))
    low, high = ([None if c is None else c[end] for c in g["ci95"]] for end in (0, 1))
    over = {
        "sequences": f"band: 95 % interval over {g['sequences']} sequences",
        "batches": "band: 95 % interval over batches of steps",
    }
    note = over.get(g["errors_over"] or "", "no error bars")
    lost = sum(e is None for e in g["exponents"])
    minus = _kinds(document, "series.lyapunov.exponents") == {"-inf"}
    note += f"; {lost} of {len(x)} are minus infinity" if minus and lost < len(x) else ""
    return Panel(
        "lyapunov",
        f"Lyapunov exponents: {len(x)} of {sum(s['size'] for s in document['model']['state'])}",
        "number, largest first",
        "nats per step",
        curves=(Curve("", x, g["exponents"], low, high, role=2, at_end=False),),
        levels=(Level(0.0, ""),) if max((e for e in g["exponents"] if e is not None), default=-1.0) > 0 else (),
        note=note,
        nothing=MINUS if minus else NOTHING,
    )


def _convergence(document: Document) -> Panel:
    g = document["series"]["lyapunov"]
    curves = []
    for k in range(min(DRAWN, len(g["exponents"]))):
        y = [row[k] for row in g["running"]]
        curves.append(Curve(f"λ{k + 1}", g["steps"], y, role=k, style=STYLES[k % 4], weight="thin" if k else "strong"))
    return Panel(
        "convergence",
        "Lyapunov exponents as steps are added",
        "steps counted",
        "nats per step",
        curves=tuple(curves),
        note=f"after {g['burn_in']} steps that only turned the frame",
        nothing=MINUS if _kinds(document, "series.lyapunov.exponents") == {"-inf"} else NOTHING,
    )


def _gates(document: Document) -> Panel:
    gates = document["series"]["gates"]
    drawn = list(gates.items())[-4:]  # of a stack, those of the top layer
    bars = [Bars(name, g["edges"], g["histogram"], role=i, style=STYLES[i % 4]) for i, (name, g) in enumerate(drawn)]
    more, parts = len(gates) - len(drawn), {part["name"] for part in document["model"]["state"]}
    return Panel(
        "gates",
        "Values of the hidden units" if set(gates) <= parts else "Values of the gates",
        "value",
        "share of units and steps",
        bars=tuple(bars),
        note=f"and {more} more gates, in the table" if more else "",
    )


def _times(document: Document) -> Panel:
    """Return the time constants of units, from the shortest to the longest."""
    t = document["series"]["time_constant"]
    known = [x if x is None or x > 0 else None for x in t["steps"]]  # zero has no logarithm
    endless = _kinds(document, "series.time_constant.steps") == {"inf"}
    zeros = 0.0 in t["steps"]
    notes = ["some let nothing through"] * zeros + ["some do not forget"] * endless
    nothing = "units forget at once, or never" if zeros and endless else "no unit forgets" if endless else NOTHING
    return Panel(
        "times",
        "How long units remember by themselves",
        "share of units and sequences",
        "time constant, steps",
        curves=(Curve("", t["share"], [None if x is None else math.log10(x) for x in known], role=3, at_end=False),),
        log10=True,
        note="; ".join([*notes, "not drawn"]) if notes and any(x is not None for x in known) else "",
        nothing="no unit lets anything through" if zeros and not endless else nothing,
    )


def _road(document: Document) -> Panel:
    paths, metrics = document["series"]["paths"], document["metrics"]
    gates = list(document["series"]["gates"])[-4:]  # those of the panel of gates keep their colours
    means = {name: abs(mean or 0.0) for name, mean in metrics.get("gate_share", {}).items()}
    drawn = [n for n in sorted(means, key=lambda n: -means[n])[:ROADS] if means[n] >= SLIGHT]
    lags = [lag + 1 for lag in _lags(document)[:-1]]  # of the step that ends there
    curves = []
    if "around_share" in metrics:
        curves.append(Curve("around", lags, _back(paths["around_share"]), role=4))
    others = iter(range(5, 5 + ROADS))
    for name in [n for n in means if n in drawn]:
        role = gates.index(name) if name in gates else next(others)
        label, y = name if " to " in name else f"through {name}", _back(paths["gate_share"][name])
        curves.append(Curve(label, lags, y, role=role, style=STYLES[role % 4], weight="thin"))
    rest = [n for n in means if n not in drawn]
    share = metrics.get("around_share")
    where = f": {share:.2f} around the weights" if share is not None else "" if drawn else ": not determined"
    return Panel(
        "road",
        f"Which road the gradient took{where}",
        "steps back",
        "share of the gradient",
        curves=tuple(curves),
        note=f"less than {SLIGHT:g} on average, not drawn: {', '.join(rest)}" if rest and drawn else "",
    )


def _crossings(document: Document) -> Panel:
    c, steps = document["series"]["paths"]["crossings"], document["series"]["timestep"][-1]
    bar = VISIBLE * max(map(abs, c["share"]))
    seen = [i for i, x in enumerate(c["share"]) if abs(x) >= bar]
    count, share = (c[key][seen[0] : seen[-1] + 1] for key in ("count", "share"))
    mixed = c["cancellation"] > MIXED
    cancel = f"; without their signs the shares add up to {c['cancellation']:.3g}" if mixed else ""
    return Panel(
        "crossings",
        "Share of the gradient by how often its paths cross the weights"
        if mixed
        else f"Paths cross the weights {c['mean']:.3g} times in {steps} step{'s'[: steps != 1]}, on average",
        "crossings of the weights on the whole way",
        "share of the gradient",
        curves=(Curve("", count, share, weight="thin"),),
        points=(Points("", count, share),),
        note=("one sequence" if c["sequence"] else "first sequence") + cancel,
    )


def _step(document: Document) -> Panel:
    curves = []
    for role, (key, label) in enumerate((("step_spectral_norm", "norm"), ("step_spectral_radius", "radius"))):
        s = document["series"][key]
        curves.append(Curve(label, s["timestep"], s["median"], s["p05"], s["p95"], role=role, style=STYLES[role]))
    return Panel("step", "One step's Jacobian: norm and spectral radius", "time step", "size", curves=tuple(curves))
