r"""Cells in a Python file of the user: FILE.py, FILE.py:NAME, and in `compare` FILE.py:NAME:KEY=VALUE,...

The path ends at the first ".py" after which the rest is nothing else than a name and settings, so that it may hold
colons, as a drive letter does: C:\cells\mine.py:Mine.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope import plugins
from gradscope.errors import InputError, UsageError
from gradscope.options import table
from gradscope.settings import FOR_RANDOM_CELL, Settings

if TYPE_CHECKING:
    from gradscope.checking.user_file import UserFile

# in compare options, and no settings of the cell
OF_INIT = ("init", "gain", "hidden", "input_size", "layers", "residual", "norm", "seed")

SIZES = {"hidden": "state_size", "input_size": "input_size"}  # settings, and the constants of a file that fix them
GRAMMAR = re.compile(
    r"(?P<path>.*?\.py)(?::(?P<name>[^\W\d]\w*))?(?::(?P<settings>[^:=]+=.*))?", re.IGNORECASE | re.DOTALL
)


class Named(NamedTuple):
    """A cell of a file, as typed."""

    path: Path
    name: str | None
    settings: str

    @property
    def cell(self) -> str:
        """File and name."""
        return f"{self.path}:{self.name}" if self.name else str(self.path)

    @property
    def label(self) -> str:
        """What was typed, without the folder."""
        return ":".join(filter(None, (self.path.name, self.name, self.settings)))


def named(text: str) -> Named | None:
    """Split the name of a cell in a file; None for the name of a built-in cell, or another file.

    Raises:
        UsageError: the text begins with a Python file and goes on with neither a name nor settings.
    """
    if text in plugins.names("cells"):
        return None
    if match := GRAMMAR.fullmatch(text):
        return Named(Path(match["path"]), match["name"], match["settings"] or "")
    if ".py:" in text.lower():
        hint = "write FILE.py or FILE.py:NAME, and in compare also FILE.py:NAME:KEY=VALUE"
        raise UsageError(f"'{text}' does not name a cell of a file", hint)
    return None


def is_user_file(text: str | None) -> bool:
    """Return whether a cell of a file is named."""
    return text is not None and named(text) is not None


@contextmanager
def aside() -> Iterator[None]:
    """Redirect what the code of a cell prints to standard error: standard output is for the result alone.

    A terminal's progress line replaces both streams while it is shown, so this begins and ends within it.
    """
    if sys.stderr is not None:
        with redirect_stdout(sys.stderr):
            yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def fetch(text: str) -> UserFile:
    """Run the file, and return the named cell; what the file prints goes to standard error.

    Raises:
        InputError: the file cannot be read, or fails.
        UsageError: there is no such cell.
    """
    from gradscope.checking.user_file import load

    what = named(text)
    assert what is not None
    if what.settings:
        raise _two_settings_error(text, what.cell, what.settings)
    try:
        with aside():
            return load(what.path, what.name)
    except SystemExit as end:
        hint = 'put code that runs only as a program under if __name__ == "__main__":'
        raise InputError(f"{what.path} exits when it is run", hint) from end


def refuse_settings(text: str) -> None:
    """Refuse "lstm:forget_bias=1" where only a name can be.

    Raises:
        UsageError: it is a name with settings.
    """
    name, colon, settings = text.partition(":")
    if colon and name in plugins.names("cells"):
        raise _two_settings_error(text, name, settings)


def _two_settings_error(text: str, cell: str, settings: str) -> UsageError:
    pairs = [p.partition("=") for p in settings.split(",") if p.partition("=")[1]]
    rows = table(Settings)
    options = [f"{rows[k].flag} {v}".removesuffix(" true") if k in OF_INIT else f"--set {k}={v}" for k, _, v in pairs]
    hint = f"analyze --cell {' '.join([cell, *options])}; compare takes them as they are here"
    return UsageError(f"'{text}': settings go to --set", hint)


def refuse_idle_settings(user_file: UserFile, given: Collection[str]) -> None:
    """Refuse options that have no effect on a function of a file.

    Args:
        user_file: the function.
        given: names of settings that were given.

    Raises:
        UsageError: one has no effect.
    """
    for name, row in table(Settings).items():
        if name in given and FOR_RANDOM_CELL in row.where:
            hint = "omit it; --set changes keyword-only arguments of the function"
            reason = f"applies only to cells with random weights, and {user_file.name} is a function"
            raise UsageError(f"{row.flag} {reason}", hint)
    if "dtype" in given:
        raise UsageError("--dtype float32 applies only to cells with weights; a function runs in float64", "omit it")
    if "drive" in given:
        raise UsageError("a user-defined function cannot run in a closed loop", "omit --drive self")
    for name, constant in SIZES.items():
        if name in given and (size := user_file.size(constant)) is not None:
            flag = table(Settings)[name].flag
            raise UsageError(f"{flag} has no effect: {user_file.path} sets {constant} = {size}", "omit it")


def idle_among(typed: Collection[str], functions: Mapping[str, UserFile], *, drawn: bool) -> list[dict[str, Any]]:
    """Return notes on options that have no effect on some of several models.

    Args:
        typed: names of the settings for cells that were typed.
        functions: {name of a model: the function of a file that it is}.
        drawn: whether there are cells with random weights beside them.

    Raises:
        UsageError: an option has an effect on none.
    """
    notes = []
    for option in typed:
        idle: dict[str, UsageError] = {}
        for name, user_file in functions.items():
            try:
                refuse_idle_settings(user_file, {option})
            except UsageError as error:
                idle[name] = error
        if idle and len(idle) == len(functions) and not drawn:
            raise next(iter(idle.values()))
        if idle:
            text = f"{table(Settings)[option].flag} has no effect on {', '.join(idle)}: the file determines it."
            notes.append({"code": "GS-NO-EFFECT", "message": text, "where": "model"})
    return notes
