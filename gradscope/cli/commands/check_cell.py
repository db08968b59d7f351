"""gradscope check-cell: test a cell of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from gradscope.cli._output import write_stdout
from gradscope.cli._request import one_blas_thread
from gradscope.errors import InputError

EPILOG = "Example: gradscope check-cell my_cell.py"


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE.py[:NAME]", help="Your file, and the class where it has several.")
    ],
) -> None:
    """Check that a cell's Jacobian is the derivative of its step. Runs the file: it is your own code."""
    one_blas_thread()
    from gradscope.testing import check_cell, load_cell_file

    path, _, name = file.partition(".py:")
    cell = load_cell_file(f"{path}.py" if name else file, name or None)
    try:
        check_cell(cell)
    except AssertionError as error:
        raise InputError(f"not a right cell: {error}", "see the rules in gradscope.testing") from None
    write_stdout(f"{cell.__name__}: its Jacobian is the derivative of its step, and it keeps the rules of a cell\n")
