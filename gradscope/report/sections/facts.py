"""Numbers that only this cell has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.fields import mapping, number, record, string

if TYPE_CHECKING:
    from gradscope.networks.network import Property

METRICS = {
    "of_cell": mapping(
        "Quantities specific to this cell, by name, from at most the last 256 steps.",
        record(
            "",
            {
                "value": number("Value of the quantity."),
                "meaning": string("Its meaning and unit."),
            },
        ),
        optional=True,
    ),
}


Document = dict[str, Any]


def metrics(facts: Mapping[str, Property], case: Case) -> Document:
    """Return each number with its meaning."""
    return {"of_cell": {name: {"value": f.value, "meaning": f.meaning} for name, f in facts.items()}}


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return a row for each number in the first table."""
    return [(name, f["value"], f["meaning"]) for name, f in document["metrics"].get("of_cell", {}).items()]
