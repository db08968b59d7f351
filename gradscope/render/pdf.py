"""PDF: one page of panels with embedded fonts, for papers."""

from __future__ import annotations

from gradscope.render._figure import saved
from gradscope.report.model import Report

BINARY = True
PICTURE = True


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> bytes:
    """Draw the report's panels, or its diagrams."""
    return saved(report, "pdf")
