"""Which document tells the result of checking a cell? That of kind "check"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.checking.formulas import Derivative
from gradscope.checking.function import Fact
from gradscope.report.build import envelope


def right_sentence(name: str, *, surrogate: bool = False) -> str:
    """Return the verdict on a cell that keeps all rules."""
    what = "a declared surrogate" if surrogate else "the derivative of the step"
    return f"{name}: the Jacobian is {what}, and every check of the cell passes"


def check_document(
    model: Mapping[str, Any],
    rows: Sequence[Derivative | Fact],
    wrong: str,
    config: dict[str, Any],
    *,
    surrogate: bool = False,
) -> dict[str, Any]:
    """Build the document of kind "check".

    Args:
        model: `cell`, its name; `function`, whether it is a step function; `path` and `sha256` of its file.
        rows: derivatives of a class, or facts about a step function.
        wrong: what is wrong with the cell, in one sentence; "" for nothing.
        config: settings.
        surrogate: whether the Jacobian of a step function is meant to be another one than the derivative.
    """
    return envelope("check", config) | {
        "model": dict(model),
        "verdict": {"passed": not wrong, "sentence": wrong or right_sentence(str(model["cell"]), surrogate=surrogate)},
        "derivatives": [_derivative(r) for r in rows if isinstance(r, Derivative)],
        "facts": [{"what": r.what, "found": r.answer, "right": r.right} for r in rows if isinstance(r, Fact)],
    }


def _derivative(r: Derivative) -> dict[str, Any]:
    number, colon, part = r.part.rpartition(": ")
    return {
        "map": int(number) if colon else 1,
        "part": part,
        "road": r.path,
        "of": r.of,
        "error": r.error if math.isfinite(r.error) else None,
        "allowed": r.allowed,
        "right": r.right,
        "remark": r.remark,
    }
