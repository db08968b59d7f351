"""Plug-in rooms: a folder is a registry, and a new plug-in is one new file in it.

`names` lists files and entry points and imports nothing, so that help texts and completion stay
quick. `load` imports one plug-in. Files that begin with an underscore are shared parts.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "NO_PLUGINS",
    "Outline",
    "PluginWarning",
    "load",
    "loaded",
    "names",
    "outline",
    "suggest",
    "tell_hidden",
    "turned_off",
]

# Which entry-point group adds outsiders to which room.
GROUPS = {"cells": "gradscope.cells", "checkpoints": "gradscope.readers", "render": "gradscope.renderers"}
NO_PLUGINS = "GRADSCOPE_NO_PLUGINS"  # an environment variable, so that worker processes know it too


class PluginWarning(UserWarning):
    """A plug-in of another package is left out, and why."""


class Outline(NamedTuple):
    """What a plug-in's file says of itself, read without importing it."""

    summary: str
    doc: str
    class_doc: str
    constants: dict[str, Any]
    settings: dict[str, Any] = {}


# Where a room lies, if it is not a folder of the package itself.
WITHIN = {"checkpoints": "files", "layouts": "files", "data": "files"}


def path_of(room: str) -> str:
    """Return the folder of a room within the package."""
    return f"{WITHIN[room]}/{room}" if room in WITHIN else room


def _folder(room: str) -> Path:
    return Path(__file__).parent / path_of(room)


def names(room: str, *, own: bool = False) -> tuple[str, ...]:
    """List the plug-ins of a room: its own files first, then, unless `own`, entry points of other packages."""
    return _own(room) if own else (*_own(room), *sorted(_foreign(room)))


@lru_cache
def _own(room: str) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in _folder(room).glob("[!_]*.py")))


def _foreign(room: str) -> dict[str, EntryPoint]:
    return {} if os.environ.get(NO_PLUGINS) or room not in GROUPS else _entries(room)[0]


@lru_cache
def _entries(room: str) -> tuple[dict[str, EntryPoint], dict[str, list[str]]]:
    """Return entry points by name, and {name: why each that has another's name is left out}.

    A file of the room wins, then the first package by name of its module.
    """
    from importlib.metadata import entry_points  # as slow to load as all that lists the commands

    found: dict[str, EntryPoint] = {}
    hidden: dict[str, list[str]] = {}
    for entry in sorted(entry_points(group=GROUPS[room]), key=lambda e: e.value):
        if entry.name in _own(room) or entry.name in found:
            winner = found[entry.name].value if entry.name in found else "the built-in one"
            text = f"the plug-in '{entry.name}' of {entry.value} is left out: {winner} has the same name"
            hidden.setdefault(entry.name, []).append(text)
        else:
            found[entry.name] = entry
    return found, hidden


def turned_off(room: str, name: str) -> str:
    """Return the module of a plug-in that is there and was asked to be left out; "" for anything else."""
    off = bool(os.environ.get(NO_PLUGINS)) and room in GROUPS and name in _entries(room)[0]
    return _entries(room)[0][name].value if off else ""


def tell_hidden(room: str, name: str | None = None) -> None:
    """Warn, once, of plug-ins that are left out since others have their names: of one name, or of all."""
    if os.environ.get(NO_PLUGINS) or room not in GROUPS:
        return
    for key, texts in _entries(room)[1].items():
        for text in texts if name in (None, key) else ():
            _warn(text)


@lru_cache  # each of them once
def _warn(text: str) -> None:
    warnings.warn(text, PluginWarning, stacklevel=3)


def load(room: str, name: str) -> ModuleType:
    """Import one plug-in; a file of the room wins over an entry point of the same name.

    Raises:
        UsageError: there is no such plug-in, or one of another package fails on import.
    """
    tell_hidden(room, name)
    if name in _own(room):
        return importlib.import_module(f"gradscope.{path_of(room).replace('/', '.')}.{name}")
    entry = _foreign(room).get(name)
    if entry is None:
        kind = {"cells": "cell", "inits": "initialisation", "render": "output format"}.get(room, room)
        known = ", ".join(names(room))
        off = os.environ.get(NO_PLUGINS) and room in GROUPS and _entries(room)[0].get(name)
        why = f" without plug-ins: it is one, of {off.value}" if off else ""
        hint = f"--no-plugins, or the variable {NO_PLUGINS}, leaves them out; " if off else _meant(room, name)
        raise UsageError(f"there is no {kind} named '{name}'{why}", f"{hint}known: {known}")
    try:
        module = entry.load()
    except Exception as error:  # a plug-in of another package may fail in any way
        what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise UsageError(f"the plug-in '{name}' ({entry.value}) fails on import: {what}") from error
    if not isinstance(module, ModuleType):
        raise UsageError(f"the plug-in '{name}' ({entry.value}) is not a module")
    return module


def loaded(room: str) -> Iterator[tuple[str, ModuleType]]:
    """Import the plug-ins of a room one after another; warn of those of other packages that cannot be, and go on."""
    tell_hidden(room)
    for name in _own(room):
        yield name, load(room, name)
    for name in sorted(_foreign(room)):
        try:
            module = load(room, name)
        except UsageError as error:
            warnings.warn(f"{error.message}; it is left out", PluginWarning, stacklevel=2)
        else:
            yield name, module


# What people call cells that have another name here.
ALSO_CALLED = {
    "ctrnn": "leaky",
    "elman": "rnn",
    "griffin": "rglru",
    "hawk": "rglru",
    "lstmp": "lstm with --set projection=N",
    "mamba": "selective_ssm",
    "projected_lstm": "lstm with --set projection=N",
    "rg_lru": "rglru",
    "s6": "selective_ssm",
    "vanilla": "rnn",
    "xlstm": "slstm or mlstm",
}


def _meant(room: str, name: str) -> str:
    other = ALSO_CALLED.get(name.lower().replace("-", "_")) if room == "cells" else None
    return f"it is {other} here; " if other else suggest(name, names(room))


def suggest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return 'did you mean gru? ' or an empty string."""
    import difflib

    close = difflib.get_close_matches(str(name).lower()[:80], known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


@lru_cache
def outline(room: str, name: str) -> Outline:
    """Read a plug-in's docstrings and constants; one of this package is not imported for it.

    Raises:
        UsageError: it is of another package and fails on import.
    """
    import ast

    tell_hidden(room, name)
    path = _folder(room) / f"{name}.py"
    if name not in _own(room):
        module = load(room, name)
        if not module.__file__:
            doc = (module.__doc__ or "").strip()
            return Outline(doc.split("\n")[0], doc, "", {})
        path = Path(module.__file__)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    public = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    constants: dict[str, Any] = {}
    settings: dict[str, Any] = {}  # what an instance may have otherwise: arrays, which begin as None, are none
    for node in public[-1].body if public else tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            try:
                constants[target.id] = ast.literal_eval(value)
            except ValueError:  # not a literal: nothing that can be known without importing
                continue
            own = isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
            if own and constants[target.id] is not None:
                settings[target.id] = constants[target.id]
    class_doc = (ast.get_docstring(public[-1]) or "") if public else ""
    return Outline(doc.split("\n")[0], doc, class_doc, constants, settings)
