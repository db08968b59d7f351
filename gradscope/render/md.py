"""Markdown: the sentence, tables and findings, as GitHub shows them."""

from __future__ import annotations

import re

from gradscope.render._words import clean, split_state
from gradscope.report.model import Finding, Report, Table

BINARY = False

SPECIAL = re.compile(r"([\\`*\[\]<>|$~]|(?<!\w)_|_(?!\w))")


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> str:
    """Write the report; nothing in its texts is taken as Markdown."""
    before, state, after = split_state(report.sentence, report.state)
    bold = f"**{_text(state)}**" if state else ""
    parts = [_text(before) + bold + _text(after)]
    parts += [f"### {_text(t.title)}\n\n{_table(t)}" for t in report.tables]
    if report.findings:
        parts.append("### Findings\n\n" + "\n".join(map(_finding, report.findings)))
    if report.footer:
        parts.append(f"<sub>{_text(report.footer)}</sub>")
    return "\n\n".join(parts) + "\n"


def _text(text: object) -> str:
    return SPECIAL.sub(r"\\\1", clean(text).replace("&", "&amp;"))


def _finding(f: Finding) -> str:
    remedy = f"  \n  {_text(f.remedy)}" if f.remedy else ""
    return f"- **{_text(f.level)}** ({_text(f.code)}): {_text(f.message)}{remedy}"


def _table(table: Table) -> str:
    head = [_text(c.title) or " " for c in table.columns]
    rule = ["---:" if c.numeric else "---" for c in table.columns]
    rows = [[_text(v) for v in row] for row in table.text()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
