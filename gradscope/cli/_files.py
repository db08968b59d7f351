"""Files that a user names: which exist, saved results, and what comes on standard input."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gradscope.errors import InputError, ResourceError, UsageError, shown

LARGEST_RESULT_BYTES = 2 << 30


def exists(path: Path) -> bool:
    """Return whether a file exists; no file has a name that the system refuses."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_saved(path: Path) -> dict[str, Any]:
    """Return the JSON document in a file; "-" is standard input.

    Raises:
        InputError: it cannot be read, or is not a result.
        UsageError: standard input is a terminal.
    """
    what = "standard input" if str(path) == "-" else shown(path)
    try:
        if str(path) == "-":
            data = piped("pipe a result into it: gradscope analyze ... --json | gradscope report -").read(
                LARGEST_RESULT_BYTES + 1
            )
        else:
            with path.open("rb") as f:
                data = f.read(LARGEST_RESULT_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror}") from error
    if not data.strip():
        raise InputError(f"{what} is empty", "did the previous command fail?")
    if len(data) > LARGEST_RESULT_BYTES:
        raise InputError(f"{what} is too large for a result")
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


@contextmanager
def seekable(target: Path) -> Iterator[Path]:
    """Yield the path of a checkpoint; standard input is copied to a file, since readers seek.

    Raises:
        InputError: standard input is empty.
        ResourceError: the copy cannot be written.
    """
    from gradscope.report.advice import PIPED

    if str(target) != "-":
        yield target
        return
    source = piped("pipe a file into it, or name a file instead of -")
    with tempfile.TemporaryDirectory(prefix="gradscope-") as folder:
        path = Path(folder) / PIPED
        try:
            with path.open("wb") as f:
                shutil.copyfileobj(source, f, 1 << 20)
                size = f.tell()
        except OSError as error:
            raise ResourceError(f"cannot copy standard input to {folder}: {error.strerror}") from error
        if not size:
            raise InputError("standard input is empty", "did the previous command fail?")
        yield path
