"""gradscope check-cell: test a cell of your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope import plugins
from gradscope.cli._check import checked, derivative_table, fault
from gradscope.cli._files import exists
from gradscope.cli._options import Output
from gradscope.cli._output import write_stdout
from gradscope.cli._run import one_blas_thread
from gradscope.cli._signature import complete_cells, typed, with_options
from gradscope.cli._user_cell import aside, fetch, is_own, refuse_idle_settings, refuse_settings
from gradscope.errors import InputError
from gradscope.options import Count, option
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.checking.user_file import Own

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
    own = _user_cell(cell)
    if own is not None and own.cell_class is None:
        refuse_idle_settings(own, typed(context))
    with aside():
        found = checked(cell, own, sizes.hidden, sizes.input_size, settings.set)
    from gradscope.report.check import check_document, right_sentence
    from gradscope.report.present import from_document

    faults = [fault(r) for r in found.rows if not r.right]
    wrong = f"{found.name}: {'; '.join(faults)}" if faults else found.broken
    if output.json:
        model = {"cell": found.name, "function": found.function}
        model |= {"path": own.path.name, "sha256": own.sha256} if own else {}
        config = {"cell": f"{own.path.name}:{own.name}" if own else cell} | _sizes(own, sizes.hidden, sizes.input_size)
        document = check_document(model, found.rows, wrong, config | {"set": settings.set}, surrogate=found.surrogate)
        write_stdout(plugins.load("render", "json").render(from_document(document)))
    elif found.rows and not output.quiet:
        write_stdout(f"{found.name}\n{derivative_table(found.rows)}\n")
    if wrong:
        raise InputError(f"not a right cell: {wrong}", OF_FUNCTIONS if found.function else OF_CLASSES)
    if not output.json:
        write_stdout(right_sentence(found.name, surrogate=found.surrogate) + "\n")


def _user_cell(cell: str) -> Own | None:
    """Run the file that is named; None for the name of a cell.

    Raises:
        UsageError: there is no such cell.
        InputError: another file than a Python file is named.
    """
    if is_own(cell):
        with aside():
            return fetch(cell)
    if cell not in plugins.names("cells"):
        refuse_settings(cell)
        if exists(Path(cell)) or Path(cell).suffix:
            raise InputError(f"{cell} is not a Python file", "its name has to end in .py")
        plugins.load("cells", cell)  # raises, and names the known ones
    return None


def _sizes(own: Own | None, hidden: int, inputs: int) -> dict[str, int]:
    """Return the sizes that were asked for, where the file does not set them."""
    fixed = (
        [] if own is None or own.cell_class else [k for k in ("state_size", "input_size") if own.size(k) is not None]
    )
    sizes = {"state_size": ("hidden", hidden), "input_size": ("input_size", inputs)}
    return dict(pair for k, pair in sizes.items() if k not in fixed)
