"""Sample reports: one with every kind of panel, and those on which renderers break."""

from __future__ import annotations

import math
import random

from gradscope.report.model import Bars, Column, Curve, Finding, Level, Mark, Panel, Points, Report, Table

NASTY = "a\x1b[31mred\x07 [bold]x[/bold] $x_1$ |pipe| <b> \\ \u202e\ud800 =cmd 模型 _u_ `c` & *s* " + "long " * 30


def _noise(count: int, scale: float, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0, scale) for _ in range(count)]


def _document() -> dict:
    return {
        "schema_version": "1.0",
        "kind": "analysis",
        "config": {"seed": 0, "name": "β σ"},
        "metrics": {"rate": -0.36, "half_life": None, "whole": True},
        "series": {"timestep": [0, 1, 2], "log10_values": [[0.0, -1.5], [None, -2.5]], "empty": [], "none": {}},
        "warnings": [{"code": "X", "message": 'quote " and \x1b escape'}],
        "run": {"started": "now", "duration_s": 1.25},
    }


def decay() -> Panel:
    lags = list(range(201))
    y = [-0.16 * k for k in lags]
    low, high = [-0.18 * k for k in lags], [-0.15 * k for k in lags]
    other = [-0.15 * k if k < 120 else None for k in lags]
    return Panel(
        "decay",
        "Gradient norm by lag, median and 5-95 % of the sequences",
        "steps back",
        "|dL/ds|",
        curves=(
            Curve("whole state", lags, y, low, high),
            Curve("h", lags, [v - 0.3 for v in y], role=1, style="dashed", weight="thin"),
            Curve("c", lags, other, role=2, style="dotted", weight="thin"),
        ),
        levels=(Level(-7.2, "float16 underflows"), Level(-40.0, "bfloat16 underflows"), Level(-200.0, "far away")),
        marks=(Mark(78.0, "predictability horizon"), Mark(900.0, "beyond")),
        log10=True,
        wide=True,
    )


def analysis() -> Report:
    angle, radius = _noise(400, 2.0, 1), [abs(v) for v in _noise(400, 0.4, 2)]
    polar = list(zip(radius, angle, strict=True))
    points = Points("", [r * math.cos(a) for r, a in polar], [r * math.sin(a) for r, a in polar])
    lag = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 200]
    fan = [
        Curve(f"σ{k}", lag, [-0.001 * k * t - 0.1 * t for t in lag], role=1, weight="thin") for k in (1, 2, 4, 8, 16)
    ]
    edges = [k / 40 for k in range(41)]
    bell = [math.exp(-(((e - 0.5) / 0.1) ** 2)) / 8 for e in edges[:-1]]
    flat = [0.025 if k % 7 else None for k in range(40)]
    steps = list(range(200))
    panels = (
        decay(),
        Panel(
            "eigenvalues",
            "Eigenvalues of single-step Jacobians",
            "real part",
            "imaginary part",
            points=(points,),
            unit_circle=True,
            note="25 steps",
        ),
        Panel(
            "product",
            "Norms and singular values of the product",
            "steps back",
            "size",
            curves=tuple(fan),
            marks=(Mark(30.0, "predictability horizon"), Mark(-1.0, "beyond")),
            log10=True,
            log_x=True,
        ),
        Panel(
            "gates",
            "Activations of the gates",
            "value",
            "share",
            bars=(Bars("r", edges, bell), Bars("z", edges, flat, role=1, style="dashed")),
        ),
        Panel(
            "road",
            "Which road",
            "steps back",
            "share",
            curves=(Curve("", steps, [0.8 + v for v in _noise(200, 0.01, 3)], at_end=False),),
        ),
        Panel(
            "step",
            "Single-step Jacobians",
            "time step",
            "size",
            curves=(
                Curve("norm", steps, [1 + v for v in _noise(200, 0.05, 4)], at_end=False),
                Curve("radius", steps, [2 + v for v in _noise(200, 0.05, 5)], role=1, at_end=False),
            ),
        ),
        Panel("gap", "Nothing was measured", "x", "y", curves=(Curve("none", [1, 2], [None, None]),)),
    )
    return Report(
        "analysis",
        "VANISHING: the gradient halves every 1.6 steps and is below 1e-3 after 13 (GRU, 64 units, 200 steps, seed 0)",
        "vanishing",
        (
            Finding(
                "GS-A",
                "warning",
                "Dependencies longer than 13 steps receive less than 0.1 % of the gradient.",
                "Set a larger update bias.",
            ),
            Finding("GS-B", "note", "Seen."),
        ),
        (
            Table(
                "How far gradients reach",
                (Column("quantity", numeric=False), Column("value", ".4g"), Column("unit", numeric=False)),
                (
                    ("reach", 13, "steps, at least 0.1 % of the gradient left"),
                    ("rate", -0.44123, "nats/step"),
                    ("half-life", None, ""),
                ),
            ),
            Table(
                "wide",
                tuple(Column(f"quantity {k}", ".2f") for k in range(12)),
                (tuple(float(k) for k in range(12)), (None,) * 12),
            ),
        ),
        Table("data", (Column("timestep"), Column("value")), ((0, 0.1), (1, None), (2, -1 / 3))),
        panels,
        "gradscope 0.1.0 · steps 200 · batch 8 · seed 0",
        _document(),
    )


def comparison() -> Report:
    names = ("gru", "lstm", "rnn", "a-model-with-quite-a-long-name.safetensors", "b", "c", "d", "e")
    lags = list(range(101))
    curves = tuple(Curve(n, lags, [-0.1 * k - 0.0005 * r * k for k in lags], role=r) for r, n in enumerate(names))
    short = Curve("short", lags[:50], [-0.02 * k for k in lags[:50]], role=3)
    panel = Panel(
        "decay",
        "Relative gradient norm by lag",
        "steps back",
        "relative",
        curves=(*curves, short),
        log10=True,
        wide=True,
    )
    table = Table(
        "comparison",
        (Column("model", numeric=False), Column("reach", "d")),
        tuple((n, 10 + k) for k, n in enumerate(names)),
    )
    one = {"kind": "analysis", "run": {"host": "h"}, "metrics": {"reach": 3}}
    document = {"kind": "comparison", "results": [one, one], "run": {"host": "h"}}
    return Report(
        "comparison",
        "GRU keeps 0.1 % of the gradient for 13 steps, LSTM 12",
        "",
        (),
        (table,),
        table,
        (panel,),
        "gradscope",
        document,
    )


def hostile() -> Report:
    curves = tuple(Curve(f"_{k}{NASTY}", [0, 1, 2], [k, None, 2.0 * k], role=k, at_end=k % 2 == 0) for k in range(5))
    bars = (Bars(NASTY, [0, 1, 2], [0.5, 0.5]), Bars("_y", [0, 1, 2], [None, 1.0], role=1))
    panels = (
        Panel(
            NASTY, NASTY, NASTY, NASTY, curves, (Level(2.0, NASTY),), marks=(Mark(1.0, NASTY),), note=NASTY, wide=True
        ),
        Panel("b", NASTY, NASTY, NASTY, bars=bars, note=NASTY),
        Panel("c", "\x00", "", "", points=(Points(NASTY, [1, 2], [1, None]),)),
    )
    table = Table(
        NASTY,
        (Column(NASTY, numeric=False), Column("-x")),
        ((NASTY, 1), ("=1+1", 2.0), ("@x", None), ("\tt", -5), ("+", True)),
    )
    findings = (Finding(NASTY, NASTY, NASTY, NASTY),)
    return Report(
        "analysis",
        NASTY,
        "exploding",
        findings,
        (table,),
        table,
        panels,
        NASTY,
        {NASTY: NASTY, "x": ["\x9b", "\ud800"]},
    )


def blank() -> Report:
    """Return a report in which nothing is determined."""
    nothing = [None, None, None]
    panels = (
        Panel(
            "a", "A", "x", "y", (Curve("c", [0, 1, 2], nothing, nothing, nothing),), (Level(1.0, "one"),), log10=True
        ),
        Panel("b", "B", "x", "y", points=(Points("p", nothing, nothing),), unit_circle=True),
        Panel("c", "C", "x", "y", bars=(Bars("b", nothing, [None, None]),)),
        Panel("d", "D", "x", "y"),
        Panel("e", "E", "x", "y", (Curve("alone", [0, 1, 2], [None, 4.0, None]),), log10=True, log_x=True),
    )
    table = Table("t", (Column("a", ".2f"), Column("b", numeric=False)), ((None, None),))
    return Report(
        "analysis", "INCONCLUSIVE: nothing is known", "inconclusive", (), (table,), table, panels, "", {"x": nothing}
    )


def empty() -> Report:
    return Report("inspection", "No recurrent layers")


def nine() -> Report:
    """Return a report of nine panels with numbers of every size."""

    def panel(k: int, scale: float, shift: float, log10: bool) -> Panel:
        x = list(range(50))
        curve = Curve("", x, [shift + scale * math.sin(t / 8) for t in x])
        return Panel(str(k), f"scale {scale:g} at {shift:g}", "x", "y", (curve,), log10=log10)

    kinds = [(1e-12, 0, False), (1e9, 0, False), (0.0, 5.0, False), (1e-3, 7.0, True), (0.3, -9.5, True)]
    kinds += [(0.8, 0.0, True), (150.0, -150.0, True), (1e-14, 1.0, False), (1e300, 0.0, False)]
    panels = tuple(panel(k, *kind) for k, kind in enumerate(kinds))
    return Report("analysis", "STABLE: nine panels", "stable", panels=panels, footer="nine", document={})


ALL = {f.__name__: f for f in (analysis, comparison, hostile, blank, empty, nine)}
