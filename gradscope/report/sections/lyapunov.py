"""At what rate each direction grows, and whether that can be trusted.

* The sum of all Lyapunov exponents is the mean of ln|det J|, whatever the frame: a complete spectrum has to obey it.
* An exponent whose two halves of the run differ by more than chance has not converged.
* An exponent depends on the direction that it was first measured in, until that is forgotten.
* What a network was like at its start, it forgets at the rate of the first exponent, and in a short run it may not.
* Batches of one orbit give an error bar only if they are much longer than growth is correlated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.curves import STYLES, kinds
from gradscope.report.fields import array, boolean, choice, constant, integer, number, numbers, record
from gradscope.report.model import NOTHING, Curve, Finding, Level, Panel, Table
from gradscope.report.numbers import floats
from gradscope.report.tables import QUANTITY, between

if TYPE_CHECKING:
    from gradscope.analysis.lyapunov import LyapunovSpectrum

METRICS = {
    "lyapunov_1": number(
        "Largest Lyapunov exponent, nats per step; null: not determined, or no direction is left (see nonfinite).",
        optional=True,
    ),
    "lyapunov_1_se": number(
        "Its standard error, nats per step; null where there is too little to tell.", optional=True, minimum=0
    ),
    "kaplan_yorke_dimension": number(
        "Kaplan-Yorke dimension; null where more exponents would have to be known.", optional=True, minimum=0
    ),
    "entropy_rate": number(
        "Sum of the positive Lyapunov exponents, an upper bound on the entropy rate, nats per step; null where "
        "more would have to be known.",
        optional=True,
        minimum=0,
    ),
}
SERIES = {
    "lyapunov": record(
        "Lyapunov exponents, largest first: mean rates of growth of perturbations, over steps and sequences.",
        {
            "units": constant("Of all numbers here that are rates.", "nats/step"),
            "exponents": numbers("Nats per step; null: not determined, or -inf (see nonfinite)."),
            "standard_errors": numbers("Of the exponents; null where there is too little to tell."),
            "ci95": array(
                "95 % confidence intervals: by Student's t, and by how much the first 16 depend on the "
                "direction they began in.",
                array("", number(""), null=True, minItems=2, maxItems=2),
            ),
            "errors_over": choice(
                "What the standard errors are over: independent sequences, or batches of steps of one.",
                "sequences",
                "batches",
                None,
            ),
            "sequences": integer("How many sequences were followed.", minimum=1),
            "burn_in": integer("Steps, before those that are counted, that only turned the frame.", minimum=0),
            "drifts": array(
                "Whether the second half of the run differs from the first by more than chance.", boolean("")
            ),
            "steps": array("Marks: how many steps were counted.", integer("")),
            "running": numbers("At each mark, the exponents up to there.", rows="At one mark."),
            "local": numbers("At each mark, the finite-time exponents since the one before.", rows="At one mark."),
            "determinant_error": number(
                "Largest difference between the sum of all exponents and the mean of ln|det J|, nats per step; "
                "only for complete spectra.",
                optional=True,
                minimum=0,
            ),
        },
        optional=True,
    ),
}


AGREES = 1e-9  # nats per step by which the sum of the exponents may miss ln|det J|, beside rounding
INDEPENDENT = 100  # times the correlation time that one orbit should last, for an error bar over batches
FORGOTTEN = 2.0  # nats by which a difference at the start shrinks, or grows, half way through the run
LONGER = "Measure more steps, or warm up for longer."
NAMED = 3  # exponents that have a row of their own, beside the last
DRAWN = 3  # exponents whose way to their value is drawn
MINUS = "all minus infinity"

Document = dict[str, Any]


def metrics(g: LyapunovSpectrum, case: Case) -> Document:
    """Return the first exponent, and what follows from all of them."""
    first, error = floats(g.exponents[:1])[0], floats(g.standard_errors[:1])[0]
    return {
        "lyapunov_1": first,
        "lyapunov_1_se": error,
        "kaplan_yorke_dimension": g.kaplan_yorke,
        "entropy_rate": g.entropy_rate,
    }


def series(g: LyapunovSpectrum, case: Case) -> Document:
    """Return the exponents with their errors, and how they came about."""
    document: Document = {
        "units": "nats/step",
        "exponents": floats(g.exponents),
        "standard_errors": floats(g.standard_errors),
        "ci95": [None if np.isnan(row).any() else row.tolist() for row in g.interval],
        "errors_over": g.over or None,
        "sequences": len(g.by_sequence),
        "burn_in": g.burn,
        "drifts": g.drift.tolist(),
        "steps": g.steps.tolist(),
        "running": [floats(row) for row in g.running],
        "local": [floats(row) for row in g.local],
    }
    determinant = {} if g.determinant_error is None else {"determinant_error": g.determinant_error}
    return {"lyapunov": document | determinant}


def findings(g: LyapunovSpectrum, case: Case) -> list[Finding]:
    """Say whether the exponents can be trusted."""
    entries = []
    if g.determinant_error is not None and not g.determinant_error <= g.determinant_allowed(AGREES):
        text = "The sum of the Lyapunov exponents misses the mean of ln|det J| by "
        text += f"{g.determinant_error:.2g} nats per step: the smallest exponents are not right."
        entries.append(Finding("GS-DETERMINANT", "error", text, "Run gradscope doctor --selftest, and report it."))
    lost = int(np.isnan(g.exponents).sum())
    if lost:
        text = f"{lost} of {len(g.exponents)} Lyapunov exponents are not determined: rounding decides them."
        entries.append(Finding("GS-NOT-DETERMINED", "info", text))
    entries += _convergence(g)
    steps = int(g.steps[-1])
    if g.over == "batches" and g.correlation is not None and steps < INDEPENDENT * g.correlation:
        text = "The error bar of the first Lyapunov exponent is over batches of one orbit, and may be too small: "
        text += f"{steps} steps, whose growth is correlated over about {g.correlation:.2g}."
        wanted = f"{math.ceil(INDEPENDENT * g.correlation):,}".replace(",", " ")
        entries.append(Finding("GS-FEW-STEPS", "info", text, f"Measure {wanted} steps, or eight sequences and more."))
    return entries + ([] if case.warmup is None else _start(g, case.warmup))


def _convergence(g: LyapunovSpectrum) -> list[Finding]:
    """Say where the two halves of the run differ, or where the first direction is not forgotten."""
    late = np.flatnonzero(g.drift)
    if late.size:
        which = "The first Lyapunov exponent" if late[0] == 0 else f"Lyapunov exponent {late[0] + 1}"
        others = f", and {late.size - 1} more of {len(g.exponents)}" if late.size > 1 else ""
        text = f"{which} has not converged{others}: the two halves of the run differ by more than chance."
        return [Finding("GS-NOT-CONVERGED", "warning" if late[0] == 0 else "info", text, LONGER)]
    if g.depends_on_start:
        text = f"The first Lyapunov exponent changes by {g.beginning[0]:.2g} nats per step if its direction begins "
        text += "elsewhere: the run is too short for directions to be forgotten. Its interval allows for that."
        return [Finding("GS-NOT-CONVERGED", "info", text, LONGER)]
    return []


def _start(g: LyapunovSpectrum, warmup: int) -> list[Finding]:
    """Say so where a difference between two starts is neither forgotten nor blown up: it goes as the first exponent."""
    first = float(g.exponents[0])
    steps = warmup + int(g.steps[-1]) // 2
    if not abs(first * steps) < FORGOTTEN:
        return []
    text = f"Half way through the run, a small difference at the start is still about {math.exp(first * steps):.2g} "
    text += "times as large: if the network began far from where it settles, exponents and error bars are of its way "
    return [Finding("GS-NOT-SETTLED", "info", f"{text}there.", "Compare with a longer warm-up.")]


def tables(document: Document) -> list[Table]:
    """Return exponents with their intervals, and what follows from them."""
    g = document["series"].get("lyapunov")
    if not g:
        return []
    m, size, values = document["metrics"], sum(s["size"] for s in document["model"]["state"]), g["exponents"]
    shown = [*range(min(NAMED, len(values)))]
    shown += [len(values) - 1] * (len(values) > NAMED)
    rows: list[tuple[Any, ...]] = []
    for k in shown:
        value = "-inf" if values[k] is None and _is_lost(document, k) else values[k]
        interval = g["ci95"][k]
        known = interval is not None and None not in interval
        errors = f"nats/step, 95 % {between(*interval)}" if known else "nats/step"
        rows.append((f"exponent {k + 1}", value, errors if value is not None else "not determined"))
    rows.append(("entropy rate", m["entropy_rate"], "nats/step at most: sum of the positive exponents"))
    rows.append(("Kaplan-Yorke dimension", m["kaplan_yorke_dimension"], f"of {size}"))
    if "determinant_error" in g:
        lost = _is_lost(document, len(values) - 1)
        error = (None, "both are -inf") if lost else (g["determinant_error"], "nats/step: zero, up to rounding")
        rows.append(("sum - ln|det J|", *error))
    rows.append(("surviving directions", m.get("surviving_directions"), f"of {size}, over all steps"))
    rows.append(("condition", m.get("product_condition"), "times more than itself, rounding of one step does"))
    over = {"sequences": f", {g['sequences']} sequences", "batches": ", one orbit, batches of steps"}
    return [Table(f"Lyapunov exponents{over.get(g['errors_over'] or '', '')}", QUANTITY, tuple(rows))]


def _is_lost(document: Document, k: int) -> bool:
    return any(
        r["path"] == "series.lyapunov.exponents" and r["kind"] == "-inf" and r["first"][0] <= k
        for r in document["nonfinite"]
    )


def panels(document: Document) -> list[Panel]:
    """Return the spectrum, and the first exponents as steps are added."""
    return [_spectrum(document), _running(document)] if "lyapunov" in document["series"] else []


def _spectrum(document: Document) -> Panel:
    g = document["series"]["lyapunov"]
    x = list(range(1, len(g["exponents"]) + 1))
    low, high = ([None if c is None else c[end] for c in g["ci95"]] for end in (0, 1))
    over = {
        "sequences": f"band: 95 % interval over {g['sequences']} sequences",
        "batches": "band: 95 % interval over batches of steps",
    }
    note = over.get(g["errors_over"] or "", "no error bars")
    lost = sum(e is None for e in g["exponents"])
    minus = kinds(document, "series.lyapunov.exponents") == {"-inf"}
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


def _running(document: Document) -> Panel:
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
        nothing=MINUS if kinds(document, "series.lyapunov.exponents") == {"-inf"} else NOTHING,
    )


def comparison(results: list[Document]) -> list[Panel]:
    """Return the spectra of several models."""
    curves = []
    for role, r in enumerate(results):
        if "lyapunov" in r["series"]:
            y, style = r["series"]["lyapunov"]["exponents"], STYLES[role % len(STYLES)]
            curves.append(Curve(r["name"], list(range(1, len(y) + 1)), y, role=role, style=style))
    axes = ("number, largest first", "nats per step")
    return [Panel("lyapunov", "Lyapunov exponents", *axes, curves=tuple(curves))] if curves else []
