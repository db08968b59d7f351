"""gradscope check-cell: test a cell of your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gradscope import plugins
from gradscope.cli._files import exists
from gradscope.cli._options import Output
from gradscope.cli._output import write_stdout
from gradscope.cli._run import one_blas_thread
from gradscope.cli._signature import complete_cells, typed, with_options
from gradscope.cli._user_cell import aside, fetch, is_own, made, refuse_idle_settings, refuse_settings
from gradscope.errors import GradscopeError, InputError
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


class _Checked(NamedTuple):
    """What was looked at.

    Attributes:
        name: of the cell.
        rows: what was found out, one by one: `Derivative` or `Fact`.
        broken: which rule of a cell is broken, or "".
        function: whether it is a step function.
        surrogate: whether its Jacobian is meant to be another one than the derivative.
    """

    name: str
    rows: Sequence[Any]
    broken: str
    function: bool
    surrogate: bool


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
    own = None
    if is_own(cell):
        with aside():
            own = fetch(cell)
    elif cell not in plugins.names("cells"):
        refuse_settings(cell)
        if exists(Path(cell)) or Path(cell).suffix:
            raise InputError(f"{cell} is not a Python file", "its name has to end in .py")
        plugins.load("cells", cell)  # says what is known
    if own is not None and own.cell_class is None:
        refuse_idle_settings(own, typed(context))
    with aside():
        found = _looked_at(cell, own, sizes.hidden, sizes.input_size, settings.set)
    from gradscope.report.check import check_document, right_sentence
    from gradscope.report.present import from_document

    faults = [_in_words(r) for r in found.rows if not r.right]
    wrong = f"{found.name}: {'; '.join(faults)}" if faults else found.broken
    if output.json:
        model = {"cell": found.name, "function": found.function}
        model |= {"path": own.path.name, "sha256": own.sha256} if own else {}
        config = {"cell": f"{own.path.name}:{own.name}" if own else cell} | _sizes(own, sizes.hidden, sizes.input_size)
        document = check_document(model, found.rows, wrong, config | {"set": settings.set}, surrogate=found.surrogate)
        write_stdout(plugins.load("render", "json").render(from_document(document)))
    elif found.rows and not output.quiet:
        write_stdout(f"{found.name}\n{_table(found.rows)}\n")
    if wrong:
        raise InputError(f"not a right cell: {wrong}", OF_FUNCTIONS if found.function else OF_CLASSES)
    if not output.json:
        write_stdout(right_sentence(found.name, surrogate=found.surrogate) + "\n")


def _sizes(own: Own | None, hidden: int, inputs: int) -> dict[str, int]:
    """Return the sizes that were asked for, where the file does not set them."""
    fixed = (
        [] if own is None or own.cell_class else [k for k in ("state_size", "input_size") if own.size(k) is not None]
    )
    sizes = {"state_size": ("hidden", hidden), "input_size": ("input_size", inputs)}
    return dict(pair for k, pair in sizes.items() if k not in fixed)


def _looked_at(name: str, own: Own | None, hidden: int, inputs: int, settings: dict[str, Any]) -> _Checked:
    """Make the cell, and look at its derivatives one by one and at the rules of a cell.

    Raises:
        InputError: the file's own code fails.
        UsageError: a setting is not known.
    """
    from gradscope.checking.user_file import blamed
    from gradscope.networks.create import create
    from gradscope.networks.function import FunctionCell
    from gradscope.testing import check_cell, derivatives

    if own is not None and own.cell_class is None:
        made_cell = made(own, hidden, inputs, settings=settings, prove=False)
        if isinstance(made_cell, FunctionCell) and made_cell.derivative is not None:
            made_cell.held.setdefault("surrogate", getattr(own.module, "surrogate", False) is True)
    else:
        made_cell = create(own and own.cell_class or name, hidden_size=hidden, input_size=inputs, **settings)
    rows: Sequence[Any] = ()
    broken = ""
    try:
        rows = derivatives(made_cell)
        check_cell(made_cell)
    except AssertionError as error:
        broken = str(error)
    except GradscopeError:
        raise
    except Exception as error:  # a user's formulas may fail in any way
        broken = blamed(error)
        if all(r.right for r in rows):
            if not broken:
                raise
            raise InputError(broken, "gradscope --debug shows the traceback") from error
    function = isinstance(made_cell, FunctionCell)
    return _Checked(own.name if own else name, rows, broken, function, function and made_cell.surrogate)


def _table(rows: Sequence[Any]) -> str:
    lines = [("derivative", "road", "error", "allowed", "")]
    for r in rows:
        if hasattr(r, "road"):
            verdict = f"{'ok' if r.right else 'WRONG'}{': ' * bool(r.remark)}{r.remark}"
            lines.append((_quotient(r), r.road, f"{r.error:.1e}", f"{r.allowed:.0e}", verdict))
    if len(lines) > 1:
        wide = [max(len(line[i]) for line in lines) for i in range(5)]
        return "".join(
            "  ".join(f"{w:<{k}}" for w, k in zip(line, wide, strict=True)).rstrip() + "\n" for line in lines
        )
    facts = [r for r in rows if not hasattr(r, "road")]
    most = max(len(r.what) for r in facts)
    return "".join(f"{r.what:<{most}}  {'' if r.right else 'WRONG: '}{r.found}\n" for r in facts)


def _quotient(r: Any) -> str:
    number, colon, part = r.part.rpartition(": ")
    by = {"through": f"p_{r.of}", "within": f"{r.of}'"}.get(r.road, r.of)
    return f"{f'map {number}: ' if colon else ''}d {part}'/d {by}"


def _in_words(r: Any) -> str:
    if hasattr(r, "road"):
        remark = f" ({r.remark})" if r.remark else ""
        return f"{_quotient(r)} {r.road} has relative error {r.error:.2g}{remark}"
    return f"{r.what}: {r.found}"
