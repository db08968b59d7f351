"""Errors that a user can act on; everything else is a bug and keeps its traceback."""

from __future__ import annotations

from pathlib import Path

__all__ = ["GradscopeError", "InputError", "Interrupted", "ResourceError", "UsageError", "shown"]


class GradscopeError(Exception):
    """An error with one sentence for the user, a hint on what to do, and an exit code.

    Args:
        message: what is wrong, in one sentence.
        hint: what to do about it; empty when the message says so already.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GradscopeError):
    """The request itself is wrong: an unknown name, a bad number, options that conflict."""

    exit_code = 2


class InputError(GradscopeError):
    """A file or array that cannot be read, is not supported, or is not safe."""

    exit_code = 4


class ResourceError(GradscopeError):
    """Not enough memory or disk, or an output that cannot be written."""

    exit_code = 5


class Interrupted(BaseException):
    """Somebody asked to stop; what has been measured by then is kept.

    Raised by whoever catches the signal, not here: in a program of your own Ctrl-C is KeyboardInterrupt, as always.

    Args:
        exit_code: what the command ends with.
    """

    def __init__(self, exit_code: int = 130) -> None:
        super().__init__()
        self.exit_code = exit_code


def shown(path: Path | str) -> str:
    """Return a path for a message: quoted, control characters escaped, not too long."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
    return f"'{text if len(text) <= 160 else text[:80] + '...' + text[-77:]}'"
