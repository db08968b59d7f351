"""Comma-separated values: the numbers behind the first panel, unrounded."""

from __future__ import annotations

from gradscope.render._delimited import delimited
from gradscope.report.model import Report

BINARY = False


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> str:
    """Write the report's data table."""
    return delimited(report, ",")
