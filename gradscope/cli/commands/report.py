"""gradscope report: draw a saved result again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope.cli import _options as o
from gradscope.cli._idle import refuse_idle
from gradscope.cli._mine import aside
from gradscope.cli._output import Sink, is_picture
from gradscope.cli._progress import note
from gradscope.cli._request import one_blas_thread
from gradscope.cli._saved import read_saved
from gradscope.errors import InputError

if TYPE_CHECKING:
    from gradscope.report.model import Report

EPILOG = "Example: gradscope analyze --cell gru --json | gradscope report - -o gru.png"


def command(
    context: typer.Context,
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT.json", help="A saved result, or - for standard input.", show_default=False, readable=False
        ),
    ],
    format: o.Format = None,
    as_json: o.Json = False,
    output: o.Outputs = None,
    diagram: o.DrawCell = False,
    force: o.Force = False,
    mkdir: o.Mkdir = False,
    reproducible: o.Reproducible = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    color: o.Color = "auto",
) -> None:
    """Show and draw a saved result again, without computing anything."""
    name = o.format_of(format, as_json)
    pictures = any(map(is_picture, (name, *(path.suffix[1:].lower() for path in output or ()))))
    refuse_idle(context, cells=True, checkpoints=True, data=True, loss=False, drive="", pictures=pictures)
    with Sink(
        name, output or (), force=force, mkdir=mkdir, color=color, reproducible=reproducible, quiet=quiet
    ) as sink:
        from gradscope.report.present import from_document

        report = from_document(read_saved(result))
        report = _drawn(report) if diagram else report
        sink.write(report if verbose else report.without_notes())


def _drawn(report: Report) -> Report:
    """Put diagrams in place of panels; a comparison is drawn as far as it can be, and what is missing is said.

    Raises:
        InputError: none of its models can be drawn.
    """
    one_blas_thread()
    from gradscope.diagram import saved_cell, with_diagrams

    document = report.document
    if document["kind"] not in ("analysis", "comparison"):
        what = f"a{'n' * (document['kind'] == 'inspection')} {document['kind']}"
        raise InputError(f"{what} measures no shares of the gradient, so that there is no diagram of it")
    results = document["results"] if document["kind"] == "comparison" else [{**document, "name": ""}]
    cells: dict[str, Any] = {}
    missing: dict[str, InputError] = {}
    with aside():
        for result in results:
            try:
                cells[result["name"]] = saved_cell(result)
            except InputError as error:
                missing[result["name"]] = error
        if not cells:
            raise next(iter(missing.values()))
        for name, why in missing.items():
            note(f"warning: {name} is not drawn: {why.message}")
        return with_diagrams(report, cells)
