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
        "Largest Lyapunov exponent, nats per step; null: not determined, or minus infinity (see nonfinite).",
        optional=True,
    ),
    "lyapunov_1_se": number("Its standard error, nats per step; null if not determined.", optional=True, minimum=0),
    "kaplan_yorke_dimension": number(
        "Kaplan-Yorke dimension; null if more exponents are needed.", optional=True, minimum=0
    ),
    "entropy_rate": number(
        "Sum of the positive Lyapunov exponents, an upper bound on the entropy rate, nats per step; null if "
        "more exponents are needed.",
        optional=True,
        minimum=0,
    ),
}
SERIES = {
    "lyapunov": record(
        "Lyapunov exponents, largest first: mean growth rates of perturbations, over steps and sequences.",
        {
            "units": constant("Unit of all rates here.", "nats/step"),
            "exponents": numbers("Nats per step; null: not determined, or -inf (see nonfinite)."),
            "standard_errors": numbers("Of the exponents; null if not determined."),
            "ci95": array(
                "95 % confidence intervals: by Student's t, and by the dependence of the first 16 on their initial "
                "direction.",
                array("", number(""), null=True, minItems=2, maxItems=2),
            ),
            "errors_over": choice(
                "What the standard errors are computed over: independent sequences, or batches of steps of one.",
                "sequences",
                "batches",
                None,
            ),
            "sequences": integer("Number of sequences.", minimum=1),
            "burn_in": integer("Number of first steps that are discarded (QR transient).", minimum=0),
            "drifts": array("Whether the two halves of the run differ significantly, per exponent.", boolean("")),
            "steps": array("Numbers of steps at which the running values are given.", integer("")),
            "running": numbers("Exponents up to each of these steps.", rows="At one step."),
            "local": numbers("Finite-time exponents between consecutive ones of these steps.", rows="At one step."),
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
LONGER = "Measure more steps, or use a longer warm-up."
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
        "errors_over": g.errors_are_over or None,
        "sequences": len(g.by_sequence),
        "burn_in": g.burn,
        "drifts": g.halves_differ.tolist(),
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
        text = "The sum of the Lyapunov exponents differs from the mean of ln|det J| by "
        text += f"{g.determinant_error:.2g} nats per step: the smallest exponents are wrong."
        advice = "Run gradscope doctor --selftest and report its output."
        entries.append(Finding("GS-DETERMINANT", "error", text, advice))
    lost = int(np.isnan(g.exponents).sum())
    if lost:
        text = f"{lost} of {len(g.exponents)} Lyapunov exponents are not determined: rounding errors dominate them."
        entries.append(Finding("GS-NOT-DETERMINED", "info", text))
    entries += _convergence(g)
    steps = int(g.steps[-1])
    if g.errors_are_over == "batches" and g.correlation is not None and steps < INDEPENDENT * g.correlation:
        text = "The error bar of the first Lyapunov exponent may be too small: it is computed over batches of one "
        text += f"orbit of {steps} steps, whose growth rates are correlated over about {g.correlation:.2g} steps."
        wanted = f"{math.ceil(INDEPENDENT * g.correlation):,}".replace(",", " ")
        entries.append(Finding("GS-FEW-STEPS", "info", text, f"Measure {wanted} steps, or at least eight sequences."))
    return entries + ([] if case.warmup is None else _start(g, case.warmup))


def _convergence(g: LyapunovSpectrum) -> list[Finding]:
    """Say where the two halves of the run differ, or where the first direction is not forgotten."""
    late = np.flatnonzero(g.halves_differ)
    if late.size:
        which = "The first Lyapunov exponent" if late[0] == 0 else f"Lyapunov exponent {late[0] + 1}"
        others = f" (and {late.size - 1} more of {len(g.exponents)})" if late.size > 1 else ""
        text = f"{which} has not converged{others}: the two halves of the run differ significantly."
        return [Finding("GS-NOT-CONVERGED", "warning" if late[0] == 0 else "info", text, LONGER)]
    if g.depends_on_start:
        change = g.start_dependence[0]
        text = f"The first Lyapunov exponent changes by {change:.2g} nats per step with the initial direction: "
        text += "the run is too short to forget it. The confidence interval includes this uncertainty."
        return [Finding("GS-NOT-CONVERGED", "info", text, LONGER)]
    return []


def _start(g: LyapunovSpectrum, warmup: int) -> list[Finding]:
    """Say so where a difference between two starts is neither forgotten nor blown up: it goes as the first exponent."""
    first = float(g.exponents[0])
    steps = warmup + int(g.steps[-1]) // 2
    if not abs(first * steps) < FORGOTTEN:
        return []
    text = f"Halfway through the run, a small initial perturbation is still about {math.exp(first * steps):.2g} times "
    text += "its size: if the network started far from its attractor, exponents and error bars describe the transient."
    return [Finding("GS-NOT-SETTLED", "info", text, "Compare with a longer warm-up.")]


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
        errors = f"nats/step, 95 % CI {between(*interval)}" if known else "nats/step"
        rows.append((f"exponent {k + 1}", value, errors if value is not None else "not determined"))
    rows.append(("entropy rate", m["entropy_rate"], "nats/step at most (sum of positive exponents)"))
    rows.append(("Kaplan-Yorke dimension", m["kaplan_yorke_dimension"], f"of {size}"))
    if "determinant_error" in g:
        lost = _is_lost(document, len(values) - 1)
        error = (None, "both are -inf") if lost else (g["determinant_error"], "nats/step, zero up to rounding")
        rows.append(("sum - ln|det J|", *error))
    rows.append(("surviving directions", m.get("surviving_directions"), f"of {size}, after all steps"))
    rows.append(("condition number", m.get("product_condition"), "of the product: amplification of rounding errors"))
    over = {"sequences": f", {g['sequences']} sequences", "batches": ", one orbit, errors over batches of steps"}
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
        "index, largest first",
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
        "Convergence of the Lyapunov exponents",
        "number of steps",
        "nats per step",
        curves=tuple(curves),
        note=f"first {g['burn_in']} steps discarded (QR transient)",
        nothing=MINUS if kinds(document, "series.lyapunov.exponents") == {"-inf"} else NOTHING,
    )


def comparison(results: list[Document]) -> list[Panel]:
    """Return the spectra of several models."""
    curves = []
    for role, r in enumerate(results):
        if "lyapunov" in r["series"]:
            y, style = r["series"]["lyapunov"]["exponents"], STYLES[role % len(STYLES)]
            curves.append(Curve(r["name"], list(range(1, len(y) + 1)), y, role=role, style=style))
    axes = ("index, largest first", "nats per step")
    return [Panel("lyapunov", "Lyapunov exponents", *axes, curves=tuple(curves))] if curves else []
