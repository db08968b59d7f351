"""How far is a run? The one form in which long work reports that while it goes on."""

from __future__ import annotations

from typing import Protocol

REPORT_STEPS = 16  # between two reports of a loop over steps: milliseconds, in which a thread notices an interrupt


class Progress(Protocol):
    """A function that is called when a part of a run begins, and while it goes on."""

    def __call__(self, name: str, done: int, total: int, /) -> None:
        """Show, or note, how far a part is.

        Args:
            name: of the part: "products".
            done: number of its units of work that are done.
            total: number of them; 0 where they are not counted.
        """


def of_part(progress: Progress, part: int, parts: int, name: str, done: int, total: int, /) -> None:
    """Report how far one of several parts of equal size is, as a part of all."""
    progress(name, part * total + done, parts * total)


def no_progress(name: str, done: int, total: int, /) -> None:
    """Report to nobody."""
