"""Progress on standard error: bars on a terminal, plain lines when asked for, else nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from gradscope.dynamics.progress import Progress

LINE_SECONDS = 5.0  # between plain lines on how far a part is


@contextmanager
def progress(choice: str, quiet: bool = False) -> Iterator[Progress]:
    """Yield the function that shows progress.

    Args:
        choice: "auto", "plain" or "none".
        quiet: whether nothing is shown in any case.
    """
    if sys.stderr is None or quiet or choice == "none" or (choice == "auto" and not sys.stderr.isatty()):
        yield lambda *_: None
    elif choice == "plain":
        yield PlainLines(note)
    else:
        with _bars() as report:
            yield report


class PlainLines:
    """Writes a line when a part begins, and every few seconds how far it is.

    Args:
        write: is given each line.
        now: returns seconds.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write, self._now = write, now
        self._begun: set[str] = set()
        self._last = now()

    def __call__(self, name: str, done: int, total: int, /) -> None:
        """Take how far a part is."""
        if name not in self._begun:
            self._begun.add(name)
            self._write(f"{name} ...")
        elif self._now() - self._last >= LINE_SECONDS:
            self._write(f"{name}: {done} of {total} ...")
        else:
            return
        self._last = self._now()


@contextmanager
def _bars() -> Iterator[Progress]:
    """Yield a function that draws a bar for each thread, since each measures one model at a time."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)  # a name may have brackets
    columns = (SpinnerColumn(), text, BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        reading = bars.add_task("reading", total=None)
        tasks: dict[int, tuple[str, TaskID]] = {}

        def report(name: str, done: int, total: int, /) -> None:
            bars.update(reading, visible=False)
            thread = get_ident()
            before, task = tasks.get(thread, ("", None))
            if task is None or before != name:  # a new bar, so that the time left is estimated anew
                if task is not None:
                    bars.remove_task(task)
                task = bars.add_task(name, total=total or None)
                tasks[thread] = name, task
            bars.update(task, completed=done, total=total or None)

        yield report


def note(text: str) -> None:
    """Write one line to standard error; if that cannot be written, write nothing from then on."""
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
