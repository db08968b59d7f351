"""Progress on standard error: a line that changes on a terminal, plain lines when asked for, else nothing."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["Progress", "note", "progress", "silence"]

COUNTED = re.compile(r"\b(\d+) of (\d+)\b")
EVERY = 5.0  # seconds between plain lines that only count on


class Progress:
    """Takes words on what is going on, and shows them.

    Args:
        show: is given each line to show; None: nothing is shown.
        plain: whether lines stay, so that a few will do.
        now: returns seconds.
    """

    def __init__(
        self, show: Callable[[Any], None] | None, *, plain: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._show, self._plain, self._now = show, plain, now
        self._text, self._last = "", -EVERY

    def __call__(self, text: str) -> None:
        """Take a word."""
        if self._show is None:
            return
        self._text = text
        counts = COUNTED.search(text)
        if not self._plain:
            self._show(self)
        elif not counts or self._now() - self._last >= EVERY:
            self._last = self._now()
            self._show(f"{text} ...")

    def __rich__(self) -> Any:
        """Return the text that a terminal shows; called whenever it is redrawn."""
        from rich.text import Text

        return Text(self._text)


@contextmanager
def progress(choice: str, quiet: bool = False) -> Iterator[Progress]:
    """Yield the progress display."""
    if sys.stderr is None or quiet or choice == "none" or (choice == "auto" and not sys.stderr.isatty()):
        yield Progress(None)
        return
    if choice == "plain":
        yield Progress(note, plain=True)
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("reading")) as status:
        yield Progress(status.update)


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
