"""How much longer? From what is told while a run goes on, and from what its parts take where the machine is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["Remaining", "duration"]

COUNTED = re.compile(r"\b(\d+) of (\d+)\b")
SURE = 1.0, 0.01  # seconds and share of a stage that have passed before its pace is known
TRUSTED = 4.0  # times that the pace of a run may differ from what was predicted
LEAST = 5  # seconds: what is less is said to be this


class Remaining:
    """An estimate of the seconds that are left, of the whole run where its parts are predicted, else of a stage.

    A stage is what counts up to its end: "products: 16 of 200 steps back". A part may have several of them.

    Args:
        now: returns seconds; time.monotonic.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._predicted: list[tuple[str, float]] = []
        self._at = -1  # number of the part that is being done
        self._spent = self._planned = 0.0  # seconds that the parts before took, and should have taken
        self._part_since = self._stage_since = now()
        self._stage, self._first, self._done, self._count = "", 0, 0, 0

    def expect(self, parts: Sequence[tuple[str, float]]) -> None:
        """Take the parts of the run in their order, each as what it is told to be ("products"), with its seconds."""
        self._predicted = list(parts)

    def heard(self, text: str) -> bool:
        """Take what is told, and say whether it counts."""
        counted = COUNTED.search(text)
        stage = COUNTED.sub("", text)
        done, count = (int(counted[1]), int(counted[2])) if counted else (0, 0)
        if stage != self._stage or done < self._done or count != self._count:
            self._stage, self._first, self._count, self._stage_since = stage, done, count, self._now()
        self._done = done
        later = range(self._at + 1, len(self._predicted))
        at = next((i for i in later if text.startswith(self._predicted[i][0])), None)
        if at is not None and not (self._at >= 0 and text.startswith(self._predicted[self._at][0])):
            self._begin(at)
        return counted is not None

    def _begin(self, at: int) -> None:
        """Go on to a part; those between are left out."""
        now = self._now()
        if self._at >= 0:
            self._spent += now - self._part_since
            self._planned += self._predicted[self._at][1]
        self._at, self._part_since = at, now

    @property
    def text(self) -> str:
        """The estimate in words, ", about 40 s left in all"; "" where there is none."""
        stage = self._stage_left()
        if self._at < 0:
            return "" if stage is None else f", {duration(stage)} left of this part"
        pace = min(max(self._spent / self._planned, 1 / TRUSTED), TRUSTED) if self._planned > 0 else 1.0
        part = pace * self._predicted[self._at][1] - (self._now() - self._part_since)
        if stage is None and part <= 0:
            return ""  # longer than was foreseen, and nobody knows how much
        later = sum(seconds for _, seconds in self._predicted[self._at + 1 :])
        return f", {duration(max(stage or 0.0, part) + pace * later)} left in all"

    def _stage_left(self) -> float | None:
        """Return the seconds that are left of the stage; None where its pace is not known yet."""
        passed, share = self._now() - self._stage_since, self._done - self._first
        if not self._count or passed < SURE[0] or share < max(1, SURE[1] * self._count):
            return None
        return passed * max(0, self._count - self._done) / share


def duration(seconds: float) -> str:
    """Write a duration as what is known of it: "about 40 s", "about 3 min", "about 2.5 h"."""
    if seconds < 57.5:
        return f"about {max(LEAST, 5 * round(seconds / 5))} s"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {seconds / 3600:.2g} h" if seconds < 100 * 3600 else f"about {round(seconds / 86400)} days"
