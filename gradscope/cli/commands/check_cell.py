"""gradscope check-cell: test a cell of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope.cli import _options as o
from gradscope.cli._mine import aside, fetch, is_own, made
from gradscope.cli._numbers import count
from gradscope.cli._output import write_stdout
from gradscope.cli._request import one_blas_thread, settings_of
from gradscope.errors import GradscopeError, InputError

if TYPE_CHECKING:
    from gradscope._own import Own

EPILOG = "Example: gradscope check-cell my_cell.py"
UNITS, INPUTS = 5, 3  # small, and no two sizes alike, so that a transposed matrix does not fit


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE.py[:NAME]", help="Your file, and the class or function where it has several.")
    ],
    hidden: Annotated[
        int, typer.Option("--hidden", metavar="N", parser=count("--hidden"), help="Units (5).", show_default=False)
    ] = UNITS,
    input_size: Annotated[
        int,
        typer.Option(
            "--input-size", metavar="N", parser=count("--input-size"), help="Number of inputs (3).", show_default=False
        ),
    ] = INPUTS,
    settings: o.Settings = None,
) -> None:
    """Check that a cell's Jacobian is the derivative of its step. Runs the file: it is your own code."""
    one_blas_thread()
    if not is_own(file):
        raise InputError(f"{file} is not a Python file", "its name has to end in .py")
    given: dict[str, Any] = dict(settings_of(settings))
    with aside():
        own = fetch(file)
        from gradscope._create import create

        if own.cell_class is None:
            cell = made(own, hidden, input_size, settings=given, prove=False)
        else:
            cell = create(own.cell_class, hidden_size=hidden, input_size=input_size, **given)
        rows, broken = _looked_at(own, cell)
    wrong = [r for r in rows if not r.right]
    if rows:
        write_stdout(f"{own.name}\n{_table(rows)}\n")
    if wrong or broken:
        what = f"{own.name}: {'; '.join(_in_words(r) for r in wrong)}" if wrong else broken
        raise InputError(f"not a right cell: {what}", "see the rules in gradscope.testing")
    write_stdout(f"{own.name}: its Jacobian is the derivative of its step, and it keeps the rules of a cell\n")


def _looked_at(own: Own, cell: Any) -> tuple[Sequence[Any], str]:
    """Return the derivatives one by one, and which rule of a cell is broken, or "".

    Raises:
        InputError: the file's own code fails.
    """
    from gradscope._own import blamed
    from gradscope.testing import check_cell, derivatives

    rows: Sequence[Any] = ()
    try:
        rows = derivatives(cell)
        check_cell(cell)
    except AssertionError as error:
        return rows, str(error)
    except GradscopeError:
        raise
    except Exception as error:  # a user's formulas may fail in any way
        told = blamed(error)
        if rows and not all(r.right for r in rows):
            return rows, told
        if not told:
            raise
        raise InputError(told, "gradscope --debug shows the traceback") from error
    return rows, ""


def _table(rows: Sequence[Any]) -> str:
    lines = [("derivative", "road", "error", "allowed", "")]
    for r in rows:
        if hasattr(r, "road"):
            verdict = "ok" if r.right else f"WRONG{': ' * bool(r.remark)}{r.remark}"
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
    by = {"through": f"a_{r.of}", "entry": f"v_{r.of}", "within": f"{r.of}'"}.get(r.road, r.of)
    return f"{f'map {number}: ' if colon else ''}d {part}'/d {by}"


def _in_words(r: Any) -> str:
    if hasattr(r, "road"):
        remark = f" ({r.remark})" if r.remark else ""
        return f"{_quotient(r)} {r.road} has relative error {r.error:.2g}{remark}"
    return f"{r.what}: {r.found}"
