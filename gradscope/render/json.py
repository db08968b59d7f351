"""JSON, strict: the whole document, with every array of numbers on one line."""

from __future__ import annotations

import json
from typing import Any

from gradscope.report.model import Report

BINARY = False


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> str:
    """Write the document; without what belongs to this one run if it is to be reproducible.

    Raises:
        ValueError: a number is not finite.
    """
    document = report.document
    if reproducible:
        document = {k: v for k, v in document.items() if k != "run"}
        if isinstance(document.get("results"), list):
            document["results"] = [_without_run(r) for r in document["results"]]
    return _encode(document, "") + "\n"


def _without_run(result: Any) -> Any:
    return {k: v for k, v in result.items() if k != "run"} if isinstance(result, dict) else result


def _encode(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        if not all(isinstance(k, str) for k in value):
            raise TypeError("keys of a JSON object are strings")
        rows = [f"{inner}{_scalar(k)}: {_encode(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and value:
        if all(v is None or isinstance(v, int | float) for v in value):
            return json.dumps(value, allow_nan=False)
        return "[\n" + ",\n".join(inner + _encode(v, inner) for v in value) + f"\n{indent}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    # A lone surrogate cannot be written as UTF-8, and a control character would reach the terminal.
    return text if text.isprintable() else json.dumps(value, allow_nan=False)
