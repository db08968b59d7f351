"""--fail-on: a list of verdicts, or an expression over the metrics."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from gradscope import plugins
from gradscope.cli._progress import note
from gradscope.errors import UsageError

if TYPE_CHECKING:
    from gradscope.result import Result

TRIPPED = 3  # the exit code
STATES = ("vanishing", "stable", "exploding", "inconclusive", "nonfinite")
MEMORY_STATES = ("remembers", "latched", "forgets", "chaotic")
EXAMPLE = "example: 'reach < 50 or rate > 0.05'"
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Condition:
    """A test of a document of kind "analysis".

    Attributes:
        text: as it was written.
        holds: the test.
        names: the metrics that it asks for.
    """

    text: str
    holds: Callable[[dict[str, Any]], bool]
    names: tuple[str, ...] = ()

    def check_measured(self, lags: int) -> None:
        """Refuse what the other options leave out: it could never hold.

        Raises:
            UsageError: it is asked for.
        """
        sections = _metrics()
        spectral = [n for n in self.names if plugins.outline("analysis", sections[n]).constants.get("SPECTRAL")]
        if spectral and not lags:
            asked = spectral
            raise UsageError(f"--fail-on uses {asked[0]}, which --lags 0 does not measure", "omit --lags 0")

    def unmeasured(self, document: dict[str, Any]) -> list[str]:
        """Return the metrics that are asked for and are not there, or not determined."""
        return [name for name in self.names if document["metrics"].get(name) is None]

    def end_if_it_holds(self, results: Mapping[str, Result]) -> None:
        """Say on standard error what could not be tested, and where the condition holds.

        Raises:
            typer.Exit: it holds for one of {name: result}; code 3.
        """
        for name, r in results.items():
            if missing := self.unmeasured(r.document):
                note(f"--fail-on: {', '.join(missing)}: not measured, or not determined, for {name}")
        if names := [name for name, r in results.items() if self.holds(r.document)]:
            note(f"--fail-on {self.text}: holds for {', '.join(names)}")
            raise typer.Exit(TRIPPED)


def parse(text: str) -> Condition:
    """Read a list of verdicts, or an expression.

    Raises:
        UsageError: an unknown verdict or metric, or an expression that is not one.
    """
    if re.fullmatch(r"[a-zA-Z_]+(\s*,\s*[a-zA-Z_]+)*", text.strip()):
        wanted = [w.strip() for w in text.split(",")]
        for word in wanted:
            if word not in (*STATES, *MEMORY_STATES):
                raise UsageError(
                    f"--fail-on: there is no verdict '{word}'",
                    f"{plugins.suggest(word, (*STATES, *MEMORY_STATES))}known: {', '.join((*STATES, *MEMORY_STATES))}; "
                    "or write an expression such as 'reach < 50'",
                )
        return Condition(text, lambda document: bool({*wanted} & _states(document["verdict"])))
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"--fail-on: '{text[:80]}' is not an expression", EXAMPLE) from None
    _check_condition(tree)
    names = tuple(sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}))
    if not names:
        raise UsageError(f"--fail-on: '{text[:80]}' names no metric", EXAMPLE)
    return Condition(text, lambda document: bool(_value(tree, document["metrics"])), names)


def _states(verdict: Mapping[str, Any]) -> set[str]:
    """Return what the gradient does, and what the state remembers where that was measured."""
    return {verdict["state"], verdict.get("memory", {}).get("state", "")}


def _metrics() -> dict[str, str]:
    """Return {metric: its section} of the metrics that are single numbers; loads numpy, so BLAS is set before."""
    from gradscope.report.section import single_numbers

    return single_numbers()


def _check_condition(node: ast.AST) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_condition(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand)
    elif isinstance(node, ast.Compare) and all(type(op) in COMPARE for op in node.ops):
        for value in (node.left, *node.comparators):
            _check_number(value)
    else:
        raise UsageError("--fail-on takes comparisons, joined by and, or, not", EXAMPLE)


def _check_number(node: ast.AST) -> None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_number(node.operand)
    elif isinstance(node, ast.Name):
        if node.id not in _metrics():
            raise UsageError(
                f"--fail-on: there is no metric '{node.id}'",
                f"{plugins.suggest(node.id, [*_metrics()])}known: {', '.join(_metrics())}",
            )
    elif isinstance(node, ast.Attribute):
        raise UsageError("--fail-on compares single numbers", f"known: {', '.join(_metrics())}")
    elif not (isinstance(node, ast.Constant) and _is_number(node.value)):
        raise UsageError("--fail-on compares metrics with finite numbers", EXAMPLE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _value(node: ast.AST, metrics: dict[str, Any]) -> Any:
    """Evaluate a checked expression; a comparison with a number that is not determined is false."""
    if isinstance(node, ast.BoolOp):
        values = (_value(v, metrics) for v in node.values)
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, metrics)
        if isinstance(node.op, ast.Not):
            return not value
        return None if value is None else -value
    if isinstance(node, ast.Compare):
        terms = [_value(v, metrics) for v in (node.left, *node.comparators)]
        return None not in terms and all(
            COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, terms[:-1], terms[1:], strict=True)
        )
    if isinstance(node, ast.Name):
        return metrics.get(node.id)
    return node.value if isinstance(node, ast.Constant) else None
