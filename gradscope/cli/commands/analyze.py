"""gradscope analyze: one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope import plugins
from gradscope.cli._models import existing_or_suggest, models_of_cell, models_of_file
from gradscope.cli._options import Output
from gradscope.cli._run import run
from gradscope.cli._signature import refuse_without_effect, with_options
from gradscope.cli._targets import Target
from gradscope.errors import UsageError
from gradscope.settings import Settings

EPILOG = "Example: gradscope analyze model.pt --data batch.npy -o report.png"


@with_options
def command(
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="TARGET",
            help=f"A checkpoint ({' '.join(plugins.suffixes('checkpoints'))}), or - for standard input.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    *,
    settings: Settings,
    output: Output,
) -> None:
    """Measure how far gradients reach in one model: a cell with random weights, or a checkpoint.

    The first line of the output is the verdict. A bad verdict is not an error unless --fail-on is given.
    """
    if (target is None) == (settings.cell is None):
        what = "name a checkpoint or a cell, not both" if target else "name a checkpoint, or a cell with --cell"
        raise UsageError(what, "example: gradscope analyze --cell gru --steps 200")
    if target is not None and str(target) != "-":
        existing_or_suggest(target)
    kind = "cell" if target is None else "checkpoint"
    refuse_without_effect(context, settings, {kind, *output.output_kinds}, Settings, Output)

    def gather() -> list[Target]:
        return [Target(models_of_cell(settings) if target is None else models_of_file(settings, target))]

    run(settings, output, gather, comparison=False)
