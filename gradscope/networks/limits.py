"""Settings of a cell that are out of the question: a word that is not known, a number outside of its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradscope import plugins
from gradscope.errors import UsageError

__all__ = ["inside", "one_of"]


def one_of(setting: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that a setting does not have.

    Raises:
        UsageError: `value` is not in `known`.
    """
    if value not in known:
        hint = f"{plugins.suggest(str(value), list(known))}known: {', '.join(known)}"
        raise UsageError(f"{setting} '{value}' is not known", hint)


def inside(setting: str, interval: str, settings: Mapping[str, Any]) -> None:
    """Refuse a number outside of an interval.

    Raises:
        UsageError: it lies outside.
    """
    value, named = settings[setting], [end.strip() for end in interval[1:-1].split(",")]
    low, high = (settings[end] if end in settings else float(end) for end in named)
    above = value > low if interval[0] == "(" else value >= low
    below = value < high if interval[-1] == ")" else value <= high
    if not (above and below):
        raise UsageError(f"{setting} must lie in {interval}, not {value:g}")
