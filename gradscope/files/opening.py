"""Can this file be read at all?  One set of checks and messages, for checkpoints and for data."""

from __future__ import annotations

import difflib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gradscope.errors import InputError
from gradscope.files.display import listing, printable

HEAD_BYTES = 4096  # what `sniff` sees of a file
PATH_CHARACTERS = 400
NEIGHBOURS = 10_000  # names of a directory that are compared with a missing one


@contextmanager
def opened(path: Path, kind: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; yield the stream and its size in bytes.

    Args:
        path: the file.
        kind: what it should be, for messages: "checkpoint" or "data file".

    Raises:
        InputError: the file is missing, empty, not a regular file, or the system refuses.
    """
    name = f"'{printable(path, PATH_CHARACTERS)}'"
    try:
        if path.is_dir():
            raise _directory(path, name, kind)
        # Without O_NONBLOCK opening a named pipe waits for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
        stream = path.open("rb") if os.name == "nt" else os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte or a lone surrogate in the path
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise _missing(path, name) from None
        raise reading_error(path, error) from error
    try:
        with stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{name} is not a regular file", "copy it to a file first")
            if status.st_size == 0:
                raise InputError(f"{name}: the file is empty", "download or save it again")
            yield stream, status.st_size
    except OSError as error:
        raise reading_error(path, error) from error


def head_of(path: Path, kind: str) -> bytes:
    """Return the first `HEAD_BYTES` of a file.

    Raises:
        InputError: as of `opened`.
    """
    with opened(path, kind) as (stream, _):
        return stream.read(HEAD_BYTES)


def reading_error(path: Path, error: Exception) -> InputError:
    """Return the error of the operating system as an `InputError`."""
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number else printable(error)
    return InputError(f"cannot read '{printable(path, PATH_CHARACTERS)}': {reason}")


def _directory(path: Path, name: str, kind: str) -> InputError:
    files = sorted(p.name for p in islice(path.iterdir(), NEIGHBOURS) if p.is_file())
    hint = f"it holds {listing(files, 5)}: name one of them" if files else "give the path of a file"
    return InputError(f"{name} is a directory, not a {kind}", hint)


def _missing(path: Path, name: str) -> InputError:
    """Return the error for a missing file, with names in its directory that are similar."""
    try:
        present = sorted(p.name for p in islice(path.parent.iterdir(), NEIGHBOURS) if not p.name.startswith("."))
    except (OSError, ValueError):
        return InputError(f"there is no file {name}", "its directory cannot be read either")
    similar = difflib.get_close_matches(path.name, present, n=3, cutoff=0.4)
    if similar:
        return InputError(f"there is no file {name}", f"did you mean {listing(similar)}?")
    return InputError(f"there is no file {name}", f"its directory holds {listing(present, 5)}" if present else "")
