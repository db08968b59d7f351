"""gradscope compare: several models on the same inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from gradscope.cli._options import Output
from gradscope.cli._run import run
from gradscope.cli._signature import complete_cells, refuse_idle, typed, with_options
from gradscope.cli._targets import idle_notes, kinds_of, target_of
from gradscope.errors import UsageError
from gradscope.options import table
from gradscope.settings import BUILT, DRAWN, Settings

EPILOG = "Example: gradscope compare rnn lstm gru lstm:forget_bias=1 --steps 200 -o compare.png"


@with_options
def command(
    context: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...",
            help="Cells, with settings after a colon (lstm:forget_bias=1, gru:init=chrono,tmax=200), cells of your own "
            "(mine.py:Mine:leak=0.1; the file is executed), checkpoints, and saved results (.json), mixed.",
            show_default=False,
            autocompletion=complete_cells(""),
        ),
    ],
    *,
    settings: Settings,
    output: Output,
) -> None:
    """Compare several models on the same inputs: who reaches how far.

    Models share seed and input; a model with another number of input features gets its own input, with a warning.
    """
    if targets.count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    refuse_idle(context, settings, {*kinds_of(targets), *output.kinds}, Settings, Output)
    of_cells = [n for n in typed(context) if n in table(Settings) and {BUILT, DRAWN} & {*table(Settings)[n].where}]
    run(
        settings,
        output,
        lambda: [target_of(settings, target) for target in targets],
        comparison=True,
        notes=lambda: idle_notes(of_cells, targets),
    )
