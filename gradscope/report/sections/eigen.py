"""Eigenvalues of the product of all Jacobians: what happens if the same inputs are repeated for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.fields import numbers, record
from gradscope.report.numbers import LN10, floats

if TYPE_CHECKING:
    from gradscope.analysis.eigen import Eigenvalues

SERIES = {
    "product_eigenvalues": record(
        "Largest eigenvalues of the product over all steps of the first sequence, at most as many as `spectrum`.",
        {
            "log10_values": numbers(
                "log10 of their moduli, largest first; null: not determined, or exactly zero (see nonfinite)."
            ),
            "phases": numbers("Their angles, radians."),
        },
        optional=True,
    ),
}


def series(eigenvalues: Eigenvalues, case: Case) -> dict[str, Any]:
    """Return log10 of the moduli, and the phases."""
    logs = floats(eigenvalues.logs / LN10)
    return {"product_eigenvalues": {"log10_values": logs, "phases": floats(eigenvalues.phases)}}
