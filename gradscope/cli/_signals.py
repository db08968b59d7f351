"""Ctrl-C and SIGTERM: what has been measured by then is written; who asks twice is obeyed at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gradscope.cli._progress import note
from gradscope.errors import Interrupted

__all__ = ["INTERRUPTED", "TERMINATED", "Stop", "Terminated", "end_if_stopped", "stoppable", "terminate"]

INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM


class Terminated(BaseException):
    """SIGTERM was received; unwinds like Ctrl-C, so that half-written files are removed."""


def terminate(number: int, frame: FrameType | None) -> None:
    """End, in the way of a second request."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the clean-up is not to be interrupted
    raise Terminated


class Stop:
    """Whether somebody has asked to stop.

    Attributes:
        code: 130 or 143, what the command ends with then; 0: nobody has.
    """

    def __init__(self) -> None:
        self.code = 0
        self._measuring = True

    def hold(self) -> None:
        """Go on when asked to: what is being written is whole in a moment."""
        self._measuring = False

    def caught(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        again, self.code = bool(self.code), INTERRUPTED if number == signal.SIGINT else TERMINATED
        if again:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            terminate(number, frame)
        if self._measuring:
            raise Interrupted(self.code)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Raise `Interrupted` where somebody asks to stop for the first time; signals are as before afterwards."""
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
    """End with the code of the signal, if there was one: what was measured has been written."""
    if stop.code:
        note(f"interrupted: partial results written, exit code {stop.code}")
        raise SystemExit(stop.code)  # typer.Exit(130) is taken for a Ctrl-C of which nobody has spoken yet
