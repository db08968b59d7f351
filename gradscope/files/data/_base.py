"""What every data format shares: its answer, its options, safe opening, and the choice of columns."""

from __future__ import annotations

import csv
import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from gradscope.errors import InputError, ResourceError, UsageError
from gradscope.plugins import suggest

__all__ = ["Array", "Options", "Raw", "amount", "fit", "listing", "opened", "pick_columns", "printable"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """What the user said of a file; None means 'find out'.

    Attributes:
        input_size: numbers per step that the model takes.
        key: which array of a file with several.
        columns: names or 0-based indices, separated by commas.
        delimiter: what stands between the cells of a text table.
        decimal: the decimal sign of a text table, '.' or ','.
        max_bytes: the largest array, in bytes, that may be made.
    """

    input_size: int
    key: str | None = None
    columns: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    max_bytes: int = 4 << 30


@dataclass(frozen=True, eq=False)
class Raw:
    """A file's numbers as they are.

    Attributes:
        array: of any shape and any numeric dtype.
        columns: names of the last axis; empty where the file has none.
        notes: sentences on what was assumed.
        warnings: (code, sentence).
        hint: what to try when the shape turns out wrong.
    """

    array: Array
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    hint: str = ""


def printable(text: object, limit: int = 120) -> str:
    """Escape control characters and clip, for text that came from a file."""
    shown = str(text)
    clipped = shown[:limit] + ("..." if len(shown) > limit else "")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in clipped)


def listing(items: Iterable[object], limit: int = 8) -> str:
    """Join names from a file for a message: at most `limit` of them, escaped."""
    names = [printable(item, 60) for item in items]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def amount(size: int) -> str:
    """Return '17 bytes', '1.5 MiB' or '8.0 PiB'."""
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, 8)
    scaled = size / 1024**power if size < 1 << 900 else math.inf
    return f"{scaled:.1f} {'KMGTPEZY'[power - 1]}iB" if scaled < 1e6 else "more than 10^6 YiB"


def fit(size: int, options: Options, what: str) -> None:
    """Check an array's size before it is made.

    Raises:
        ResourceError: it is over the limit.
    """
    if size > options.max_bytes:
        message = f"{what} needs {amount(size)}; the limit is {amount(options.max_bytes)}"
        raise ResourceError(message, "use fewer steps, sequences or columns, or raise the limit with --max-memory")


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; yield it and its size in bytes.

    Raises:
        InputError: the system refuses, or it is not a regular, non-empty file.
    """
    name = printable(path)
    # Without O_NONBLOCK a named pipe would hang here.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_dir():
            raise InputError(f"'{name}' is a directory, not a data file", "give one file in it")
        stream = path.open("rb") if os.name == "nt" else os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte or a lone surrogate in the path
        raise InputError(f"cannot read '{name}': {_reason(error)}") from error
    try:
        with stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"'{name}' is not a regular file", "write the data to a file first")
            if status.st_size == 0:
                raise InputError(f"'{name}': the file is empty")
            yield stream, status.st_size
    except OSError as error:
        raise InputError(f"cannot read '{name}': {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or error)


def pick_columns(wanted: str, names: Sequence[str], width: int) -> list[int]:
    """Turn '--columns' into indices: a name where there is one, else a 0-based index.

    Raises:
        UsageError: a column is unknown, ambiguous or named twice.
    """
    try:
        fields = [f.strip() for f in next(csv.reader([wanted], skipinitialspace=True), [])]
    except csv.Error as error:
        raise UsageError(f"--columns '{printable(wanted)}': {error}") from error
    picked: list[int] = []
    for field in fields:
        if names.count(field) > 1:
            raise UsageError(f"--columns: several columns are called '{printable(field)}'", "give the 0-based index")
        if field in names:
            index = names.index(field)
        elif field.isascii() and field.isdigit() and len(field) < 10 and int(field) < width:
            index = int(field)
        else:
            known = f"known: {listing(names)}" if names else f"columns are numbered 0 to {width - 1}"
            hint = printable(suggest(field, [n.lower() for n in names])) + " " if names else ""
            raise UsageError(f"--columns: there is no column '{printable(field)}'", f"{hint}{known}".strip())
        if index in picked:
            raise UsageError(f"--columns: '{printable(field)}' is named twice")
        picked.append(index)
    if not picked:
        raise UsageError("--columns is empty", "give names or 0-based indices: --columns a,b")
    return picked
