r"""Cells in Python files of the user's own: FILE.py, FILE.py:NAME, and in `compare` FILE.py:NAME:KEY=VALUE,...

The path ends at the first ".py" after which the rest is nothing else than a name and settings, so that it may hold
colons, as a drive letter does: C:\cells\mine.py:Mine.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope import plugins
from gradscope.errors import InputError, UsageError

if TYPE_CHECKING:
    from gradscope.checking.user_file import Own

__all__ = ["OF_INIT", "Named", "aside", "fetch", "is_own", "made", "named", "refuse_idle_settings", "refuse_settings"]

OF_INIT = ("init", "gain", "hidden", "layers", "residual", "norm", "seed")  # in compare options, and no settings

GRAMMAR = re.compile(
    r"(?P<path>.*?\.py)(?::(?P<name>[^\W\d]\w*))?(?::(?P<settings>[^:=]+=.*))?", re.IGNORECASE | re.DOTALL
)


class Named(NamedTuple):
    """A cell of a file, as it is typed."""

    path: Path
    name: str | None
    settings: str

    @property
    def cell(self) -> str:
        """File and name."""
        return f"{self.path}:{self.name}" if self.name else str(self.path)

    @property
    def label(self) -> str:
        """All that was typed but the folder."""
        return ":".join(filter(None, (self.path.name, self.name, self.settings)))


def named(text: str) -> Named | None:
    """Split what names a cell of a file; None for the name of a cell, or another file.

    Raises:
        UsageError: it begins as one, and goes on as none.
    """
    if text in plugins.names("cells"):
        return None
    if match := GRAMMAR.fullmatch(text):
        return Named(Path(match["path"]), match["name"], match["settings"] or "")
    if ".py:" in text.lower():
        hint = "it is written FILE.py or FILE.py:NAME, and in compare also FILE.py:NAME:KEY=VALUE"
        raise UsageError(f"'{text}' names no cell of a file", hint)
    return None


def is_own(text: str | None) -> bool:
    """Tell whether this is a cell of a file."""
    return text is not None and named(text) is not None


@contextmanager
def aside() -> Iterator[None]:
    """Send what the code of a cell prints to standard error: standard output is for the result alone.

    A terminal's progress line replaces both streams while it is shown, so this begins and ends within it.
    """
    if sys.stderr is not None:
        with redirect_stdout(sys.stderr):
            yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def fetch(text: str) -> Own:
    """Run the file, and return the cell that is named; what the file prints goes to standard error.

    Raises:
        InputError: the file cannot be read, or fails.
        UsageError: there is no such cell.
    """
    from gradscope.checking.user_file import own_in

    what = named(text)
    assert what is not None
    if what.settings:
        raise _set_apart(text, what.cell, what.settings)
    try:
        with aside():
            return own_in(what.path, what.name)
    except SystemExit as end:
        hint = 'what is to be done only when it is run as a program goes under if __name__ == "__main__":'
        raise InputError(f"{what.path} ends the program when it is run", hint) from end


def refuse_settings(text: str) -> None:
    """Refuse "lstm:forget_bias=1" where only a name can be.

    Raises:
        UsageError: it is a name with settings.
    """
    name, colon, settings = text.partition(":")
    if colon and name in plugins.names("cells"):
        raise _set_apart(text, name, settings)


def _set_apart(text: str, cell: str, settings: str) -> UsageError:
    pairs = [p.partition("=") for p in settings.split(",") if p.partition("=")[1]]
    options = [f"--{k} {v}".removesuffix(" true") if k in OF_INIT else f"--set {k}={v}" for k, _, v in pairs]
    hint = f"analyze --cell {' '.join([cell, *options])}; compare takes them as they are here"
    return UsageError(f"'{text}': settings go to --set", hint)


def made(
    own: Own, hidden: int, inputs: int, seed: int = 0, settings: dict[str, str] | None = None, *, prove: bool = True
) -> Any:
    """Make a cell of a function; what it prints goes to standard error. For `prove` see `made_of`.

    Raises:
        InputError: the function fails, or returns what it must not.
        UsageError: a setting is not known.
    """
    from gradscope.checking.user_file import made_of

    with aside():
        return made_of(own, hidden, inputs, seed, settings or {}, prove=prove)


def refuse_idle_settings(own: Own, given: dict[str, bool]) -> None:
    """Refuse what has no effect on a function of a file.

    Args:
        own: the function.
        given: what was asked for.

    Raises:
        UsageError: something is to no effect.
    """
    for option in ("--layers", "--residual", "--norm", "--bidirectional", "--init", "--gain"):
        if given.get(option):
            hint = "leave it out; --set changes keyword-only arguments of the function"
            raise UsageError(f"{option} is for cells whose weights are drawn here, and {own.name} is a function", hint)
    if given.get("--dtype"):
        raise UsageError("--dtype float32 is for cells with weights, and a function is run in float64", "leave it out")
    if given.get("--drive self"):
        raise UsageError("a function of your own cannot feed itself", "leave out --drive self")
    for option, constant in (("--hidden", "state_size"), ("--input-size", "input_size")):
        if given.get(option) and (size := own.size(constant)) is not None:
            raise UsageError(f"{option} has no effect: {own.path} says {constant} = {size}", "leave it out")
