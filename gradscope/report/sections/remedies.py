"""What would help: changes of the weights, and what each does on the same inputs."""

from __future__ import annotations

from typing import Any

from gradscope.report.model import Column, Table
from gradscope.report.tables import between

Document = dict[str, Any]


def tables(document: Document) -> list[Table]:
    """Return what each change does, best first, under what it is held against."""
    m, tried = document["metrics"], document.get("remedies")
    if not tried:
        return []
    columns = (
        Column("change", numeric=False),
        Column("verdict", numeric=False),
        Column("rate", ".3g"),
        Column("95 % CI", numeric=False),
        Column("reach", "d"),
        Column("log10 gain", ".2f"),
        Column("helps", numeric=False),
    )
    rows = [_row("none", document["verdict"]["state"], m, "")]
    rows += [_row(r["change"], r["state"], r, r["helps"]) for r in tried]
    title = "Remedies, best first" if any(r["helps"] for r in tried) else "Changes tried: none helps"
    return [Table(title, columns, tuple(rows))]


def _row(change: str, state: str, m: Document, helps: bool | str) -> tuple[Any, ...]:
    interval = between(*m["rate_ci95"]) if m["rate_ci95"] else None
    return (change, state, m["rate"], interval, m["reach"], m["log10_gain"], helps)
