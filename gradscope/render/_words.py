"""Text that is safe to show: names in a report come from files and may hold anything."""

from __future__ import annotations

import unicodedata

# What is written instead where only ASCII can be shown.
ASCII = {"−": "-", "–": "-", "—": "-", "×": "x", "·": "|", "…": "...", "σ": "sigma", "λ": "lambda", "∂": "d", "→": "->"}
ASCII |= {"‖": "|", "≤": "<=", "≥": ">=", "≈": "~", "±": "+/-", "ρ": "rho", "²": "^2", "’": "'", "“": '"', "”": '"'}


def clean(text: object) -> str:
    """Turn every kind of space into a space, and escape what cannot be printed."""
    shown = "".join(" " if unicodedata.category(c) == "Zs" else c for c in str(text))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


def cut(text: object, limit: int = 60) -> str:
    """Clean a name and clip it, with an ellipsis where something is missing."""
    shown = clean(text)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def plain(text: str) -> str:
    """Write a text in ASCII."""
    spelt = unicodedata.normalize("NFKD", "".join(ASCII.get(c, c) for c in text))
    letters = "".join(c for c in spelt if not unicodedata.combining(c))
    return letters.encode("ascii", "replace").decode("ascii")


def split_state(sentence: str, state: str) -> tuple[str, str, str]:
    """Return what stands before the verdict's state in a sentence, the state itself, and what follows."""
    start = sentence.lower().find(state.lower()) if state else -1
    if start < 0:
        return sentence, "", ""
    return sentence[:start], sentence[start : start + len(state)], sentence[start + len(state) :]
