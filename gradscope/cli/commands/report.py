"""gradscope report: draw a saved result again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli import _options as o
from gradscope.cli._output import Sink
from gradscope.cli._saved import read_saved

EPILOG = "Example: gradscope analyze --cell gru --json | gradscope report - -o gru.png"


def command(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT.json", help="A saved result, or - for standard input.", show_default=False, readable=False
        ),
    ],
    format: o.Format = None,
    as_json: o.Json = False,
    output: o.Outputs = None,
    force: o.Force = False,
    mkdir: o.Mkdir = False,
    reproducible: o.Reproducible = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    color: o.Color = "auto",
) -> None:
    """Show and draw a saved result again, without computing anything."""
    name = o.format_of(format, as_json)
    with Sink(
        name, output or (), force=force, mkdir=mkdir, color=color, reproducible=reproducible, quiet=quiet
    ) as sink:
        from gradscope.report.present import from_document

        report = from_document(read_saved(result))
        sink.write(report if verbose else report.without_notes())
