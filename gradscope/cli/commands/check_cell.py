"""gradscope check-cell: test the derivatives of a cell of your own one by one, and the rules that cells keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gradscope import plugins
from gradscope.cli._blas import one_blas_thread
from gradscope.cli._files import exists
from gradscope.cli._options import Output
from gradscope.cli._output import write_stdout
from gradscope.cli._signature import complete_cells, typed, with_options
from gradscope.cli._user_cell import aside, fetch, is_user_file, refuse_idle_settings, refuse_settings
from gradscope.errors import GradscopeError, InputError
from gradscope.options import Count, option
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.checking.formulas import Derivative
    from gradscope.checking.function import Fact
    from gradscope.checking.user_file import UserFile

EPILOG = "Example: gradscope check-cell my_cell.py"
OF_CLASSES = "see docs/howto/write-a-cell.md for the requirements of a cell"
OF_FUNCTIONS = "a step must be a function of x and s alone: see docs/howto/write-a-cell.md"


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
            help="A Python file, with the class or function if it defines several; or the name of a cell.",
            autocompletion=complete_cells(".py"),
        ),
    ],
    *,
    sizes: Sizes,
    settings: Settings,
    output: Output,
) -> None:
    """Check the Jacobian of a user-defined cell against the derivative of its step. Executes the file."""
    one_blas_thread()
    user_file = _user_cell(cell)
    if user_file is not None and user_file.cell_class is None:
        refuse_idle_settings(user_file, typed(context))
    with aside():
        result = _checked(cell, user_file, sizes.hidden, sizes.input_size, settings.set)
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
        write_stdout(f"{result.name}\n{_table(result.rows)}\n")
    if result.fault:
        raise InputError(f"invalid cell: {result.fault}", OF_FUNCTIONS if result.function else OF_CLASSES)
    if not output.json:
        write_stdout(right_sentence(result.name, surrogate=result.surrogate) + "\n")


def _user_cell(cell: str) -> UserFile | None:
    """Run the file that is named; None for the name of a cell.

    Raises:
        UsageError: there is no such cell.
        InputError: another file than a Python file is named.
    """
    if is_user_file(cell):
        return fetch(cell)
    if cell not in plugins.names("cells"):
        refuse_settings(cell)
        if exists(Path(cell)) or Path(cell).suffix:
            raise InputError(f"{cell} is not a Python file", "its name must end in .py")
        plugins.load("cells", cell)  # raises, and names the known ones
    return None


def _sizes(user_file: UserFile | None, hidden: int, inputs: int) -> dict[str, int]:
    """Return the sizes that were asked for, where the file does not set them."""
    sizes = {"state_size": ("hidden", hidden), "input_size": ("input_size", inputs)}
    function = user_file if user_file and user_file.cell_class is None else None
    return dict(pair for k, pair in sizes.items() if function is None or function.size(k) is None)


class _Checked(NamedTuple):
    """What was checked.

    Attributes:
        name: of the cell.
        rows: derivatives of a class, or facts about a function.
        fault: what is wrong, in one sentence; "" for nothing.
        function: whether the cell is a step function.
        surrogate: whether its Jacobian is meant to be another one than the derivative.
    """

    name: str
    rows: Sequence[Derivative | Fact]
    fault: str
    function: bool
    surrogate: bool


def _checked(name: str, user_file: UserFile | None, hidden: int, inputs: int, settings: dict[str, Any]) -> _Checked:
    """Build the cell, and check its derivatives one by one, and the rules of a cell.

    Raises:
        InputError: the file's own code fails.
        UsageError: a setting is not known.
    """
    from gradscope.checking.create import create
    from gradscope.checking.user_file import build, error_in_file
    from gradscope.networks.function import FunctionCell
    from gradscope.testing import check_cell, derivatives

    if user_file is not None and user_file.cell_class is None:
        network = build(user_file, hidden, inputs, settings=settings, examine=False)
    else:
        what = user_file.cell_class if user_file and user_file.cell_class else name
        network = create(what, hidden_size=hidden, input_size=inputs, **settings)
    name = user_file.name if user_file else name
    rows: Sequence[Derivative | Fact] = ()
    broken = ""
    try:
        rows = derivatives(network)
        check_cell(network)
    except AssertionError as error:
        broken = str(error)
    except GradscopeError:
        raise
    except Exception as error:  # a user's formulas may fail in any way
        broken = error_in_file(error)
        if all(r.right for r in rows):
            if not broken:
                raise
            raise InputError(broken, "gradscope --debug shows the traceback") from error
    wrong = "; ".join(r.sentence for r in rows if not r.right)
    fault = f"{name}: {wrong}" if wrong else broken
    surrogate = isinstance(network, FunctionCell) and network.surrogate
    return _Checked(name, rows, fault, isinstance(network, FunctionCell), surrogate)


def _table(rows: Sequence[Any]) -> str:
    """Return derivatives or facts as a table."""
    if hasattr(rows[0], "answer"):
        width = max(len(r.what) for r in rows)
        return "".join(f"{r.what:<{width}}  {'' if r.right else 'WRONG: '}{r.answer}\n" for r in rows)
    lines = [("derivative", "path", "error", "allowed", "")]
    for r in rows:
        verdict = f"{'ok' if r.right else 'WRONG'}{': ' * bool(r.remark)}{r.remark}"
        lines.append((r.quotient, r.path, f"{r.error:.1e}", f"{r.allowed:.0e}", verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ("  ".join(f"{w:<{k}}" for w, k in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in text)
