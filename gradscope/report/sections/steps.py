"""What one step does: eigenvalues, spectral radius and norm of single Jacobians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.curves import STYLES
from gradscope.report.fields import array, integer, number, numbers, record, ref
from gradscope.report.model import Curve, Finding, Panel, Points, percent
from gradscope.report.numbers import median, spread

if TYPE_CHECKING:
    from gradscope.analysis.steps import StepSpectra

METRICS = {
    "step_spectral_radius": record(
        "Spectral radius of single-step Jacobians, over the measured steps and sequences, dimensionless.",
        {
            "median": number("Median over steps and sequences.", minimum=0),
            "min": number("Minimum over steps.", minimum=0),
            "max": number("Maximum over steps.", minimum=0),
        },
        optional=True,
    ),
}
SERIES = {
    "step_spectral_radius": ref(
        "Spectral radius of one step's Jacobian ds_t/ds_(t-1), dimensionless.", "spread_at", optional=True
    ),
    "step_spectral_norm": ref("Spectral norm of one step's Jacobian, dimensionless.", "spread_at", optional=True),
    "eigenvalues": record(
        "Eigenvalues of single-step Jacobians of the first sequence, at evenly spaced steps.",
        {
            "timestep": array("Steps t, 1 to T.", integer("")),
            "real": numbers("Real parts, one row per step, dimensionless.", rows="Of one step."),
            "imag": numbers("Imaginary parts, one row per step, dimensionless.", rows="Of one step."),
            "outside_share": number(
                "Share of all measured eigenvalues that lie outside the unit circle.", minimum=0, maximum=1
            ),
        },
        optional=True,
    ),
}
DEFINITIONS = {
    "spread_at": record(
        "A quantity over sequences, at the measured steps.",
        {
            "timestep": array("Steps t, 1 to T.", integer("")),
            "median": numbers("Median over sequences."),
            "p05": numbers("5th percentile over sequences."),
            "p95": numbers("95th percentile over sequences."),
        },
    ),
}


EIGENVALUES_KEPT = 1600  # enough to draw the cloud; the spectra of all steps would be most of the file
CLEAR = 0.01  # distance from one from which a spectral radius is on one side of it

Document = dict[str, Any]


def metrics(steps: StepSpectra, case: Case) -> Document:
    """Return median and range of the spectral radius."""
    radius = steps.radius[np.isfinite(steps.radius)]
    known = radius.size > 0
    return {
        "step_spectral_radius": {
            "median": float(np.median(radius)) if known else None,
            "min": float(radius.min()) if known else None,
            "max": float(radius.max()) if known else None,
        }
    }


def series(steps: StepSpectra, case: Case) -> Document:
    """Return radius and norm by time step, and the eigenvalues of a few steps."""
    at = steps.timestep.tolist()
    return {
        "step_spectral_radius": {"timestep": at} | spread(steps.radius),
        "step_spectral_norm": {"timestep": at} | spread(np.exp(steps.log_norm)),
        "eigenvalues": _cloud(steps),
    }


def _cloud(steps: StepSpectra) -> Document:
    """Return eigenvalues of evenly spaced steps of the first sequence, few enough to draw."""
    finite = np.flatnonzero(np.isfinite(steps.radius[:, 0]))
    n = steps.eigenvalues.shape[-1]
    room = max(1, EIGENVALUES_KEPT // n)
    rows = finite if len(finite) <= room else finite[np.linspace(0, len(finite) - 1, room).round().astype(int)]
    values = steps.eigenvalues[rows, 0]
    inside = np.abs(steps.eigenvalues[finite, 0])
    return {
        "timestep": steps.timestep[rows].tolist(),
        "real": [[float(f"{x:.6g}") for x in row] for row in values.real],
        "imag": [[float(f"{x:.6g}") for x in row] for row in values.imag],
        "outside_share": float((inside > 1).mean()) if inside.size else None,
    }


def findings(steps: StepSpectra, case: Case) -> list[Finding]:
    """Say where the radius of a step and the gradient go opposite ways."""
    radius, rate = median(steps.radius.ravel()), case.reach.rate
    if radius is None or rate is None or case.state not in ("vanishing", "exploding"):
        return []
    if not ((radius - 1) * rate < 0 and abs(radius - 1) > CLEAR):
        return []
    text = f"The median spectral radius of a step is {radius:.3g}, yet the gradient is {case.state}: "
    text += "the Jacobian product decides, not the radius of single steps."
    return [Finding("GS-RADIUS-MISLEADS", "info", text)]


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the row of the spectral radius in the first table."""
    r = document["metrics"].get("step_spectral_radius")
    if not r:
        return []
    known = f"median of steps, {r['min']:.3g} to {r['max']:.3g}" if r["median"] is not None else "of one step"
    return [("spectral radius", r["median"], known)]


def panels(document: Document) -> list[Panel]:
    """Return the eigenvalues in the plane; and radius and norm by time step, where there is no other path."""
    entries = []
    if "eigenvalues" in document["series"]:
        entries.append(_eigenvalues(document))
    if "step_spectral_radius" in document["series"] and "around_share" not in document["metrics"]:
        curves = []
        for role, (key, label) in enumerate((("step_spectral_norm", "norm"), ("step_spectral_radius", "radius"))):
            s = document["series"][key]
            curves.append(Curve(label, s["timestep"], s["median"], s["p05"], s["p95"], role=role, style=STYLES[role]))
        title = "Single-step Jacobians: norm and spectral radius"
        entries.append(Panel("step", title, "time step", "size", curves=tuple(curves)))
    return entries


def _eigenvalues(document: Document) -> Panel:
    e = document["series"]["eigenvalues"]
    share = e["outside_share"]
    where = "not determined" if share is None else f"{percent(share)} outside the unit circle"
    flat = [[x for row in e[k] for x in row] for k in ("real", "imag")]
    return Panel(
        "eigenvalues",
        f"Eigenvalues of single-step Jacobians: {where}",
        "real part",
        "imaginary part",
        points=(Points("", flat[0], flat[1]),),
        unit_circle=True,
        note=f"first sequence; {len(e['timestep'])} of {document['series']['timestep'][-1]} steps",
    )
