"""Options that would do nothing are refused: who gives one counts on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from gradscope.cli._mine import refuse_idle_settings
from gradscope.errors import UsageError

if TYPE_CHECKING:
    from gradscope.checking.user_file import Own

__all__ = ["idle_among", "refuse_idle", "typed_of_cells"]

OF_CELLS = ("hidden", "input_size", "layers", "residual", "norm", "bidirectional", "init", "gain", "settings")
OF_CHECKPOINTS = ("layer", "key", "activation", "gate_order", "embedding", "readout")
OF_DATA = ("embedding", "data_key", "columns", "delimiter", "decimal", "layout", "nan")
OF_MADE_UP_INPUT = ("input_scale",)


def refuse_idle(
    context: typer.Context,
    *,
    cells: bool,
    checkpoints: bool,
    data: bool,
    loss: bool,
    drive: str,
    pictures: bool = True,
) -> None:
    """Refuse options of the command line that have nothing to act on; those of a file may be for several uses.

    Args:
        context: of the command.
        cells: whether there are cells with random weights.
        checkpoints: whether there are checkpoints.
        data: whether there is real input.
        loss: whether the loss gradient is the user's own.
        drive: what made-up input there is; "self" goes with data, which the network reads first.
        pictures: whether something is drawn.

    Raises:
        UsageError: there is such an option.
    """
    groups = (
        (cells, OF_CELLS, "is for cells with random weights, and a checkpoint has its own", "leave it out"),
        (checkpoints, OF_CHECKPOINTS, "is for checkpoints, and there is none", "name a file, or leave it out"),
        (data, OF_DATA, "is for real input, and there is none", "give --data FILE, or leave it out"),
        (drive == "self", ("readout",), "is for a network that feeds itself", "give --drive self, or leave it out"),
        (not data or drive == "self", ("drive",), "is for made-up input, and --data is real", "leave one of them out"),
        (not data, OF_MADE_UP_INPUT, "is for made-up input, and --data is real", "leave one of them out"),
        (cells or checkpoints, ("remedies",), "runs models again, and a saved result is none", "name a cell or a file"),
        (pictures, ("diagram",), "is for pictures, and none is asked for", "give -o FILE.png, or leave it out"),
        (not loss, ("loss",), "is for a random readout, and --loss-gradient is your own", "leave one of them out"),
    )
    given = {p.name: p.opts[0] for p in context.command.params if _on_command_line(context, str(p.name))}
    for used, names, why, hint in groups:
        idle = [given[n] for n in names if n in given]
        if idle and not used:
            raise UsageError(f"{idle[0]} {why}", hint)


def typed_of_cells(context: typer.Context) -> list[str]:
    """Return the options of the command line that are for cells with random weights."""
    return [f"--{n.replace('_', '-')}" for n in OF_CELLS if _on_command_line(context, n)]


def idle_among(typed: list[str], functions: Sequence[tuple[str, Own]], *, drawn: bool) -> list[dict[str, Any]]:
    """Return notes on options that have no effect on some of several models.

    Args:
        typed: options for cells with random weights.
        functions: names of models, and the functions of files that they are.
        drawn: whether there are cells with random weights beside them.

    Raises:
        UsageError: an option has an effect on none.
    """
    notes = []
    for option in typed:
        idle: dict[str, UsageError] = {}
        affected = drawn
        for name, own in functions:
            try:
                refuse_idle_settings(own, {option: True})
            except UsageError as error:
                idle[name] = error
            else:
                affected = True
        if idle and not affected:
            raise next(iter(idle.values()))
        if idle:
            text = f"{option} has no effect on {', '.join(idle)}: the file decides on that."
            notes.append({"code": "GS-NO-EFFECT", "message": text, "where": "model"})
    return notes


def _on_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
