"""Tables of raw numbers with a delimiter: what csv and tsv share."""

from __future__ import annotations

import csv
import io
import operator
from typing import Any

from gradscope.render._words import clean
from gradscope.report.model import Report

FORMULA = "=+-@\t\r＝＋－＠"  # a text that begins so is run by spreadsheets (OWASP, CSV injection)


def delimited(report: Report, delimiter: str) -> str:
    """Write the report's data, or its first table where it has none; "not determined" is an empty cell."""
    table = report.data or (report.tables[0] if report.tables else None)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    if table:
        writer.writerow([_cell(c.title) for c in table.columns])
        writer.writerows([_cell(v) for v in row] for row in table.rows)
    return out.getvalue() or "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float.__repr__(value)
    if hasattr(value, "__index__"):
        return str(operator.index(value))
    text = str(value)
    return ("'" if text[:1] and text[0] in FORMULA else "") + clean(text)
