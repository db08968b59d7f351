"""What does `check-cell` find? A cell's derivatives one by one, and the first rule that the cell breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope.cli._user_cell import user_cell_of
from gradscope.errors import GradscopeError, InputError

if TYPE_CHECKING:
    from gradscope.checking.formulas import Derivative
    from gradscope.checking.function import Fact
    from gradscope.checking.user_file import UserFile


class Checked(NamedTuple):
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


def checked(name: str, user_file: UserFile | None, hidden: int, inputs: int, settings: dict[str, Any]) -> Checked:
    """Build the cell, and check its derivatives one by one, and the rules of a cell.

    Raises:
        InputError: the file's own code fails.
        UsageError: a setting is not known.
    """
    from gradscope.checking.create import create
    from gradscope.checking.user_file import error_in_file
    from gradscope.networks.function import FunctionCell
    from gradscope.testing import check_cell, derivatives

    if user_file is not None and user_file.cell_class is None:
        network = user_cell_of(user_file, hidden, inputs, settings=settings, examine=False)
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
    function = isinstance(network, FunctionCell)
    return Checked(name, rows, fault, function, function and network.surrogate)


def table_of(rows: Sequence[Any]) -> str:
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
