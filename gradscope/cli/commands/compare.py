"""gradscope compare: several models on the same inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from gradscope.cli._options import Output
from gradscope.cli._run import run
from gradscope.cli._signature import complete_cells, refuse_without_effect, typed, with_options
from gradscope.cli._targets import idle_notes, kinds_of, targets_of
from gradscope.errors import UsageError
from gradscope.options import table
from gradscope.settings import FOR_CELL_OR_FUNCTION, FOR_RANDOM_CELL, Settings

EPILOG = "Example: gradscope compare rnn lstm gru lstm:forget_bias=1 --steps 200 -o compare.png"


@with_options
def command(
    context: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...",
            help="Any mix of cells with settings after a colon (lstm:forget_bias=1, gru:init=chrono,tmax=200), "
            "user-defined cells (mine.py:Mine:leak=0.1; the file is executed), checkpoints and saved results (.json).",
            show_default=False,
            autocompletion=complete_cells(""),
        ),
    ],
    *,
    settings: Settings,
    output: Output,
) -> None:
    """Compare how far gradients reach in several models, on the same inputs.

    All models use the same seed and input. A model with a different number of input features gets different
    input, with a warning.
    """
    if targets.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    refuse_without_effect(context, settings, {*kinds_of(targets), *output.output_kinds}, Settings, Output)
    of_cells = [
        n
        for n in typed(context)
        if n in table(Settings) and {FOR_CELL_OR_FUNCTION, FOR_RANDOM_CELL} & {*table(Settings)[n].where}
    ]
    run(
        settings,
        output,
        lambda: targets_of(settings, targets),
        comparison=True,
        notes=lambda: idle_notes(of_cells, targets),
    )
