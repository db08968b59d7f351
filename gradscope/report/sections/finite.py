"""Whether everything is finite, and if not, where it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.report.case import Case
from gradscope.report.model import Finding
from gradscope.report.strict import place

if TYPE_CHECKING:
    from gradscope.numerics.nonfinite import NonFinite


def findings(records: tuple[NonFinite, ...], case: Case) -> list[Finding]:
    """Say where values stop being finite, one finding a record."""
    advice = "Fix this first: all other numbers are meaningless."
    return [Finding("GS-NONFINITE", "error", f"{place(r)}.", advice) for r in records]
