"""gradscope report: draw a saved result again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli._blas import one_blas_thread
from gradscope.cli._diagrams import drawn
from gradscope.cli._files import read_saved
from gradscope.cli._options import Output
from gradscope.cli._output import Sink
from gradscope.cli._signature import refuse_without_effect, with_options
from gradscope.cli._user_cell import aside

EPILOG = "Example: gradscope analyze --cell gru --json | gradscope report - -o gru.png"


@with_options
def command(
    context: typer.Context,
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT.json", help="A saved result, or - for standard input.", show_default=False, readable=False
        ),
    ],
    *,
    output: Output,
) -> None:
    """Show or draw a saved result again, without recomputing it."""
    refuse_without_effect(context, None, output.output_kinds, Output)
    with Sink(output) as sink:
        from gradscope.report.present import from_document

        report = from_document(read_saved(result))
        if output.diagram:
            one_blas_thread()
            with aside():
                report = drawn(report, {})
        sink.write(report if output.verbose else report.brief())
