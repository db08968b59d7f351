"""gradscope check-cell: test a cell of your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope import plugins
from gradscope.cli._blas import one_blas_thread
from gradscope.cli._check import checked, table_of
from gradscope.cli._files import exists
from gradscope.cli._options import Output
from gradscope.cli._output import write_stdout
from gradscope.cli._signature import complete_cells, typed, with_options
from gradscope.cli._user_cell import aside, fetch, is_user_file, refuse_idle_settings, refuse_settings
from gradscope.errors import InputError
from gradscope.options import Count, option
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.checking.user_file import UserFile

EPILOG = "Example: gradscope check-cell my_cell.py"
OF_CLASSES = "docs/howto/write-a-cell.md says what a cell has to be"
OF_FUNCTIONS = "docs/howto/write-a-cell.md says what a step has to be: a function of x and s alone"


@dataclass(frozen=True)
class Sizes:
    """Small ones, no two alike, so that a transposed matrix does not fit."""

    hidden: int = option(5, "Hidden units", Count(), "Model", commands=("check-cell",))
    input_size: int = option(3, "Number of input features", Count(), "Model", commands=("check-cell",))


@with_options
def command(
    context: typer.Context,
    cell: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:NAME]|NAME",
            help="Your file, and the class or function where it has several; or a cell of the list, or a plug-in.",
            autocompletion=complete_cells(".py"),
        ),
    ],
    *,
    sizes: Sizes,
    settings: Settings,
    output: Output,
) -> None:
    """Check that a cell's Jacobian is the derivative of its step. Runs the file: it is your own code."""
    one_blas_thread()
    user_file = _user_cell(cell)
    if user_file is not None and user_file.cell_class is None:
        refuse_idle_settings(user_file, typed(context))
    with aside():
        result = checked(cell, user_file, sizes.hidden, sizes.input_size, settings.set)
    from gradscope.report.check import check_document, right_sentence
    from gradscope.report.present import from_document

    if output.json:
        model = {"cell": result.name, "function": result.function}
        model |= {"path": user_file.path.name, "sha256": user_file.sha256} if user_file else {}
        config: dict[str, Any] = {"cell": f"{user_file.path.name}:{user_file.name}" if user_file else cell}
        config |= _sizes(user_file, sizes.hidden, sizes.input_size) | {"set": settings.set}
        document = check_document(model, result.rows, result.fault, config, surrogate=result.surrogate)
        write_stdout(plugins.load("render", "json").render(from_document(document)))
    elif result.rows and not output.quiet:
        write_stdout(f"{result.name}\n{table_of(result.rows)}\n")
    if result.fault:
        raise InputError(f"not a right cell: {result.fault}", OF_FUNCTIONS if result.function else OF_CLASSES)
    if not output.json:
        write_stdout(right_sentence(result.name, surrogate=result.surrogate) + "\n")


def _user_cell(cell: str) -> UserFile | None:
    """Run the file that is named; None for the name of a cell.

    Raises:
        UsageError: there is no such cell.
        InputError: another file than a Python file is named.
    """
    if is_user_file(cell):
        with aside():
            return fetch(cell)
    if cell not in plugins.names("cells"):
        refuse_settings(cell)
        if exists(Path(cell)) or Path(cell).suffix:
            raise InputError(f"{cell} is not a Python file", "its name has to end in .py")
        plugins.load("cells", cell)  # raises, and names the known ones
    return None


def _sizes(user_file: UserFile | None, hidden: int, inputs: int) -> dict[str, int]:
    """Return the sizes that were asked for, where the file does not set them."""
    sizes = {"state_size": ("hidden", hidden), "input_size": ("input_size", inputs)}
    function = user_file if user_file and user_file.cell_class is None else None
    return dict(pair for k, pair in sizes.items() if function is None or function.size(k) is None)
