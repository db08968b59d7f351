"""--diagram: diagrams of cells in place of panels, of a fresh result and of a saved one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gradscope.cli._progress import note
from gradscope.errors import InputError

if TYPE_CHECKING:
    from gradscope.networks.network import Network
    from gradscope.report.model import Report


def drawn(report: Report, cells: Mapping[str, Network]) -> Report:
    """Return a report with diagrams; of a result without its cell, one of the structure that the document states.

    Args:
        report: of an analysis or a comparison.
        cells: {name of a result: its cell}, as far as they are at hand.

    Raises:
        InputError: none of the models can be drawn.
    """
    from gradscope.report.diagram import with_diagrams
    from gradscope.report.saved_cell import saved_cell

    document = report.document
    if document["kind"] not in ("analysis", "comparison"):
        what = f"a{'n' * (document['kind'] == 'inspection')} {document['kind']}"
        raise InputError(f"{what} holds no gradient shares, so it cannot be drawn as a diagram")
    results = document["results"] if document["kind"] == "comparison" else [{**document, "name": ""}]
    if len(results) == 1 and cells:
        return with_diagrams(report, {results[0]["name"]: next(iter(cells.values()))})
    known: dict[str, Network] = {}
    missing: dict[str, InputError] = {}
    for result in results:
        name = result["name"]
        try:
            known[name] = cells[name] if name in cells else saved_cell(result)
        except InputError as error:
            missing[name] = error
    if not known:
        raise next(iter(missing.values()))
    for name, why in missing.items():
        note(f"warning: {name} is not drawn: {why.message}")
    return with_diagrams(report, known)
