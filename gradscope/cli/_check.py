"""What `check-cell` looks at: the derivatives of a cell and the rules it has to keep, as rows, a table and sentences.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope.cli._user_cell import made
from gradscope.errors import GradscopeError, InputError

if TYPE_CHECKING:
    from gradscope.checking.user_file import Own

__all__ = ["Checked", "checked", "derivative_table", "fault"]


class Checked(NamedTuple):
    """A cell whose derivatives were compared.

    Attributes:
        name: of the cell.
        rows: `Derivative` or `Fact`, one by one.
        broken: which rule of a cell is broken, or "".
        function: whether it is a step function.
        surrogate: whether its Jacobian is a surrogate, not the derivative.
    """

    name: str
    rows: Sequence[Any]
    broken: str
    function: bool
    surrogate: bool


def checked(name: str, own: Own | None, hidden: int, inputs: int, settings: dict[str, Any]) -> Checked:
    """Create the cell, and compare its derivatives one by one; then check the rules of a cell.

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
    return Checked(own.name if own else name, rows, broken, function, function and made_cell.surrogate)


def derivative_table(rows: Sequence[Any]) -> str:
    """Return a line for each row."""
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


def fault(r: Any) -> str:
    """Return what is wrong with a row, in words."""
    if hasattr(r, "road"):
        remark = f" ({r.remark})" if r.remark else ""
        return f"{_quotient(r)} {r.road} has relative error {r.error:.2g}{remark}"
    return f"{r.what}: {r.found}"
