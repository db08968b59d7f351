"""Numbers as people type them: 1e3, 200k, 1_000, 2GiB; never nan or inf."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable

from gradscope.errors import UsageError

__all__ = ["count", "real", "size"]

SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def count(name: str, least: int = 1, *, full: bool = False) -> Callable[[str], int]:
    """Return a parser of whole numbers that are at least `least`; "full" means all there are, where allowed."""

    def parse(text: str) -> int:
        if full and text == "full":
            return sys.maxsize
        value = _whole(str(text))
        if value is None:
            raise UsageError(
                f"{name} must be a whole number{' or full' if full else ''}, not '{text}'",
                "1000, 1e3, 1k and 1_000 are the same",
            )
        if value < least:
            raise UsageError(f"{name} must be at least {least}, not {text}")
        return value

    parse.__name__ = "COUNT"
    return parse


def _whole(text: str) -> int | None:
    text = text.strip().replace("_", "")
    factor = SUFFIXES.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    if re.fullmatch(r"[+-]?[0-9]{1,40}", digits):
        return int(digits) * factor
    try:
        value = float(digits) * factor
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def real(name: str, low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """Return a parser of finite numbers between `low` and `high`, both left out."""

    def parse(text: str) -> float:
        try:
            value = float(str(text).replace("_", ""))
        except ValueError:
            raise UsageError(f"{name} must be a number, not '{text}'") from None
        if not math.isfinite(value):
            raise UsageError(f"{name} must be a finite number, not {text}")
        if not low < value < high:
            raise UsageError(f"{name} must lie between {low:g} and {high:g}, not {text}")
        return value

    parse.__name__ = "NUMBER"
    return parse


def size(text: str) -> int:
    """Parse an amount of memory in bytes: 500M, 2GiB, 1.5g.

    Raises:
        UsageError: it is not one.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([kmgt]i?)?b?\s*", str(text).lower())
    if not match:
        raise UsageError(f"--max-memory: '{text}' is not an amount of memory", "write 500M or 2GiB")
    return int(float(match[1]) * BYTES[match[2] or ""])
