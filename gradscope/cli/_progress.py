"""Progress on standard error: a line that changes on a terminal, plain lines when asked for, else nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["note", "progress", "silence"]


@contextmanager
def progress(choice: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Give a function that tells what is going on."""
    if sys.stderr is None or quiet or choice == "none" or (choice == "auto" and not sys.stderr.isatty()):
        yield lambda _: None
        return
    if choice == "plain":
        yield lambda text: note(f"{text} ...")
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("reading")) as status:
        yield lambda text: status.update(Text(text))


def note(text: str) -> None:
    """Write one line to standard error; where it cannot be written, there is nobody to tell."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write("".join(c if c.isprintable() or c == "\n" else "?" for c in text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Point a stream at nothing, so that the interpreter's last flush of it cannot fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
