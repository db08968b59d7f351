"""--fail-on: a list of verdicts, or an expression over the metrics."""

from __future__ import annotations

import ast
import contextlib
import math
import operator
import re
from collections.abc import Callable
from typing import Any

from gradscope import _rooms
from gradscope.errors import UsageError

__all__ = ["check_measured", "parse", "unmeasured"]

STATES = ("vanishing", "stable", "exploding", "inconclusive", "nonfinite")
# Metrics that are single numbers.
METRICS = (
    "log10_gain",
    "log10_gain_sd",
    "rate",
    "half_life",
    "reach",
    "around_share",
    "lyapunov_1",
    "lyapunov_1_se",
    "kaplan_yorke_dimension",
    "entropy_rate",
    "product_condition",
    "surviving_directions",
)
EXAMPLE = "write for instance 'reach < 50 or rate > 0.05'"
SPECTRAL = METRICS[METRICS.index("lyapunov_1") :]  # those that take products and spectra
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

Test = Callable[[dict[str, Any]], bool]


def parse(text: str) -> Test:
    """Return a test of a document of kind "analysis".

    Raises:
        UsageError: an unknown verdict or metric, or an expression that is not one.
    """
    if re.fullmatch(r"[a-zA-Z_]+(\s*,\s*[a-zA-Z_]+)*", text.strip()):
        wanted = [w.strip() for w in text.split(",")]
        for word in wanted:
            if word not in STATES:
                raise UsageError(
                    f"--fail-on: there is no verdict '{word}'",
                    f"{_rooms.suggest(word, STATES)}known: {', '.join(STATES)}; "
                    "or write an expression such as 'reach < 50'",
                )
        return lambda document: document["verdict"]["state"] in wanted
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"--fail-on: '{text[:80]}' is not an expression", EXAMPLE) from None
    _check_condition(tree)
    if not _names(tree):
        raise UsageError(f"--fail-on: '{text[:80]}' names no metric", EXAMPLE)
    return lambda document: bool(_value(tree, document["metrics"]))


def check_measured(text: str | None, lags: int) -> None:
    """Refuse an expression that asks for what the other options leave out: it could never hold.

    Raises:
        UsageError: it does.
    """
    if text is None or lags:
        return
    with contextlib.suppress(SyntaxError, ValueError):
        asked = [n for n in _names(ast.parse(text, mode="eval").body) if n in SPECTRAL]
        if asked:
            raise UsageError(f"--fail-on asks for {asked[0]}, and --lags 0 leaves it out", "leave out --lags 0")


def unmeasured(text: str, metrics: dict[str, Any]) -> list[str]:
    """Return the metrics that an expression names and that are not there, or not determined."""
    try:
        names = _names(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError):
        return []
    return [n for n in names if n in METRICS and metrics.get(n) is None]


def _names(tree: ast.AST) -> list[str]:
    return sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})


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
        if node.id not in METRICS:
            raise UsageError(
                f"--fail-on: there is no metric '{node.id}'",
                f"{_rooms.suggest(node.id, METRICS)}known: {', '.join(METRICS)}",
            )
    elif isinstance(node, ast.Attribute):
        raise UsageError("--fail-on compares single numbers, none inside another", f"known: {', '.join(METRICS)}")
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
