"""SVG: one page of panels, texts as outlines so that they look alike everywhere."""

from __future__ import annotations

from gradscope.render._figure import saved
from gradscope.report.model import Report

BINARY = False
PICTURE = True


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> str:
    """Draw the report's panels, or its diagrams."""
    return saved(report, "svg").decode("utf-8")
