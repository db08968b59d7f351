"""Options that would do nothing are refused: who gives one counts on it."""

from __future__ import annotations

import typer

from gradscope.errors import UsageError

__all__ = ["refuse_idle"]

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


def _on_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
