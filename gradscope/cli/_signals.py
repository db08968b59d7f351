"""Ctrl-C and SIGTERM: partial results are written; a second signal ends the program at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gradscope.cli._progress import note
from gradscope.errors import Interrupted

INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM


class Terminated(BaseException):
    """SIGTERM was received; unwinds like Ctrl-C, so that half-written files are removed."""


def terminate(number: int, frame: FrameType | None) -> None:
    """Exit, as at a second signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the clean-up is not to be interrupted
    raise Terminated


class Stop:
    """Whether a signal has interrupted the run.

    Attributes:
        code: exit code, 130 or 143; 0 without a signal.
    """

    def __init__(self) -> None:
        self.code = 0
        self._measuring = True

    def hold(self) -> None:
        """Ignore interrupts while a file is being written."""
        self._measuring = False

    def caught(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        again, self.code = bool(self.code), INTERRUPTED if number == signal.SIGINT else TERMINATED
        if again:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            terminate(number, frame)
        if self._measuring:
            raise Interrupted(self.code)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Raise `Interrupted` at the first signal; the handlers are restored afterwards."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield stop
        return
    before: dict[Any, Any] = {s: signal.signal(s, stop.caught) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_if_stopped(stop: Stop) -> None:
    """Exit with the code of the signal, if there was one: partial results have been written."""
    if stop.code:
        note(f"interrupted: partial results written, exit code {stop.code}")
        raise SystemExit(stop.code)  # typer.Exit(130) is taken for a Ctrl-C of which nobody has spoken yet
