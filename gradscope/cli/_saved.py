"""Read a saved result, from a file or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, BinaryIO

from gradscope.cli._output import shown
from gradscope.errors import InputError, UsageError

__all__ = ["piped", "read_saved"]

LARGEST = 2 << 30


def read_saved(path: Path) -> dict[str, Any]:
    """Return the JSON document in a file; "-" is standard input.

    Raises:
        InputError: it cannot be read, or is not a result.
        UsageError: standard input is a terminal.
    """
    what = "standard input" if str(path) == "-" else shown(path)
    try:
        if str(path) == "-":
            data = piped("pipe a result into it: gradscope analyze ... --json | gradscope report -").read(LARGEST + 1)
        else:
            with path.open("rb") as f:
                data = f.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror}") from error
    if not data.strip():
        raise InputError(f"{what} is empty", "was there an error before it?")
    if len(data) > LARGEST:
        raise InputError(f"{what} is larger than any result")
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{what} is not JSON: {str(error)[:120]}", "gradscope analyze ... -o result.json writes one"
        ) from error
    if not isinstance(document, dict) or "kind" not in document:
        raise InputError(f"{what} is not a result of gradscope", "gradscope analyze ... -o result.json writes one")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number in JSON")


def piped(hint: str) -> BinaryIO:
    """Return standard input.

    Raises:
        UsageError: it is a terminal or closed; the hint says what to do.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint)
    return sys.stdin.buffer
