"""How are names and sizes that come from a file shown in a message?  Escaped, and cut."""

from __future__ import annotations

import math
from collections.abc import Iterable

NAME_CHARACTERS = 120  # at most of a name; a path has up to 4096
LISTED = 8  # names in one message


def printable(name: object, limit: int = NAME_CHARACTERS) -> str:
    """Return an untrusted name with control characters escaped, at most `limit` characters long."""
    text = str(name)
    if len(text) <= limit and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return safe if len(safe) <= limit and len(text) <= limit else safe[: limit - 3] + "..."


def listing(names: Iterable[object], limit: int = LISTED) -> str:
    """Return untrusted names, joined by commas: at most `limit` of them, each at most 60 characters long."""
    shown = [printable(name, 60) for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest


def amount(size: int) -> str:
    """Return a number of bytes as '17 bytes', '1.5 MiB' or '8.0 PiB'."""
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, 8)
    scaled = size / 1024**power if size < 1 << 900 else math.inf
    return f"{scaled:.1f} {'KMGTPEZY'[power - 1]}iB" if scaled < 1e6 else "more than 10^6 YiB"
