"""Which plug-ins does a room have?  A folder is a registry; entry points of other packages add to it.

`names` lists files and entry points and imports nothing, so that help and completion stay fast. `load` imports
one plug-in. Files whose name begins with an underscore are shared parts of a room, not plug-ins.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from gradscope.errors import UsageError

if TYPE_CHECKING:
    import ast
    from importlib.metadata import EntryPoint

__all__ = [
    "NO_PLUGINS",
    "ROOMS",
    "Outline",
    "PluginWarning",
    "Room",
    "disabled_module",
    "folder_of",
    "load",
    "loaded",
    "module_of",
    "names",
    "outline",
    "pictures",
    "suffixes",
    "suggest",
    "warn_shadowed",
]

NO_PLUGINS = "GRADSCOPE_NO_PLUGINS"  # an environment variable: it also holds where gradscope is imported


class Room(NamedTuple):
    """A folder of plug-ins.

    Attributes:
        folder: path within the package.
        group: entry-point group through which other packages add plug-ins.
        noun: what one plug-in is called in messages.
        aliases: other names that people use for a plug-in, and the name it has here.
    """

    folder: str
    group: str
    noun: str
    aliases: Mapping[str, str] = {}


CELL_ALIASES = {
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

# A new room is one line.
ROOMS = {
    "cells": Room("cells", "gradscope.cells", "cell", CELL_ALIASES),
    "inits": Room("inits", "gradscope.inits", "initialisation"),
    "checkpoints": Room("files/checkpoints", "gradscope.readers", "checkpoint reader"),
    "layouts": Room("files/layouts", "gradscope.layouts", "checkpoint layout"),
    "data": Room("files/data", "gradscope.data", "data format"),
    "analysis": Room("analysis", "gradscope.analyses", "analysis"),
    "sections": Room("report/sections", "gradscope.sections", "section of a report"),
    "render": Room("render", "gradscope.renderers", "output format"),
}


class PluginWarning(UserWarning):
    """A plug-in of another package is ignored; the message says why."""


class Outline(NamedTuple):
    """Docstrings and constants of a plug-in's file, read without importing it.

    Attributes:
        summary: first line of the file's docstring.
        doc: the file's docstring.
        class_doc: docstring of the last public class.
        constants: literals assigned in the file, and in that class, which takes precedence.
        settings: those of the class that are fields of an instance and have a default other than None.
    """

    summary: str
    doc: str
    class_doc: str
    constants: dict[str, Any]
    settings: dict[str, Any] = {}


def folder_of(room: str) -> Path:
    """Return the folder of a room."""
    return Path(__file__).parent / ROOMS[room].folder


def module_of(room: str, name: str) -> str:
    """Return the dotted name of a built-in plug-in's module."""
    return f"gradscope.{ROOMS[room].folder.replace('/', '.')}.{name}"


def names(room: str, *, builtin: bool = False) -> tuple[str, ...]:
    """Return the names of a room's plug-ins: built-in ones first, then, unless `builtin`, those of other packages."""
    return _builtin(room) if builtin else (*_builtin(room), *sorted(_external(room)))


@lru_cache
def _builtin(room: str) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in folder_of(room).glob("[!_]*.py")))


def _external(room: str) -> dict[str, EntryPoint]:
    return {} if os.environ.get(NO_PLUGINS) else _entries(room)[0]


@lru_cache
def _entries(room: str) -> tuple[dict[str, EntryPoint], dict[str, list[str]]]:
    """Return {name: entry point}, and {name: warnings on entry points that are ignored since it is taken}.

    A built-in plug-in takes precedence, then the first entry point in the order of their modules' names.
    """
    entries: dict[str, EntryPoint] = {}
    shadowed: dict[str, list[str]] = {}
    for entry in sorted(_installed().select(group=ROOMS[room].group), key=lambda e: e.value):
        if entry.name in _builtin(room) or entry.name in entries:
            winner = entries[entry.name].value if entry.name in entries else "the built-in one"
            text = f"the plug-in '{entry.name}' of {entry.value} is ignored: {winner} has the same name"
            shadowed.setdefault(entry.name, []).append(text)
        else:
            entries[entry.name] = entry
    return entries, shadowed


@lru_cache
def _installed() -> Any:  # SelectableGroups before Python 3.12, EntryPoints since; both have `select`
    """Return the entry points of all packages: reading their lists takes milliseconds, and eight rooms ask."""
    from importlib.metadata import entry_points  # slow to import, and help of most commands needs none

    return entry_points()


def disabled_module(room: str, name: str) -> str:
    """Return the module of an installed plug-in that `NO_PLUGINS` turns off; "" for any other name."""
    disabled = bool(os.environ.get(NO_PLUGINS)) and name in _entries(room)[0]
    return _entries(room)[0][name].value if disabled else ""


def warn_shadowed(room: str, name: str | None = None) -> None:
    """Warn, once each, of plug-ins that are ignored since another has their name: this name, or any."""
    if os.environ.get(NO_PLUGINS):
        return
    for key, texts in _entries(room)[1].items():
        for text in texts if name in (None, key) else ():
            _warn(text)


@lru_cache  # each text once
def _warn(text: str) -> None:
    warnings.warn(text, PluginWarning, stacklevel=3)


def load(room: str, name: str) -> ModuleType:
    """Import one plug-in; a built-in one takes precedence over an entry point of the same name.

    Raises:
        UsageError: there is no such plug-in, or one of another package fails on import.
    """
    warn_shadowed(room, name)
    if name in _builtin(room):
        return importlib.import_module(module_of(room, name))
    entry = _external(room).get(name)
    if entry is None:
        raise _unknown(room, name)
    try:
        module = entry.load()
    except Exception as error:  # a plug-in of another package may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise UsageError(f"the plug-in '{name}' ({entry.value}) fails on import: {reason}") from error
    if not isinstance(module, ModuleType):
        hint = "an entry point of gradscope names a module, without a colon"
        raise UsageError(f"the plug-in '{name}' ({entry.value}) is not a module", hint)
    return module


def _unknown(room: str, name: str) -> UsageError:
    """Return the error for a name that no plug-in has, with the nearest name or the reason."""
    message = f"there is no {ROOMS[room].noun} named '{name}'"
    known = ", ".join(names(room))
    if module := disabled_module(room, name):
        hint = f"--no-plugins, or the variable {NO_PLUGINS}, turns plug-ins off; known: {known}"
        return UsageError(f"{message} without plug-ins: it is provided by the plug-in {module}", hint)
    alias = ROOMS[room].aliases.get(name.lower().replace("-", "_"))
    meant = f"it is {alias} here; " if alias else suggest(name, names(room))
    return UsageError(message, f"{meant}known: {known}")


def loaded(room: str) -> Iterator[tuple[str, ModuleType]]:
    """Import the plug-ins of a room one by one, built-in ones first; warn of one that fails on import, and go on."""
    warn_shadowed(room)
    for name in names(room):
        try:
            module = load(room, name)
        except UsageError as error:
            warnings.warn(f"{error.message}; it is ignored", PluginWarning, stacklevel=2)
        else:
            yield name, module


def suggest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return 'did you mean gru? ' for the nearest known name, or ''."""
    import difflib

    close = difflib.get_close_matches(str(name).lower()[:80], known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


@lru_cache
def outline(room: str, name: str) -> Outline:
    """Return docstrings and constants of a plug-in; a built-in one is parsed and not imported.

    Raises:
        UsageError: the plug-in is of another package and fails on import.
    """
    import ast

    warn_shadowed(room, name)
    path = folder_of(room) / f"{name}.py"
    if name not in _builtin(room):
        module = load(room, name)
        if not module.__file__:
            doc = (module.__doc__ or "").strip()
            return Outline(doc.split("\n")[0], doc, "", {})
        path = Path(module.__file__)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    public = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    constants, _ = _literals(tree.body)
    of_class, settings = _literals(public[-1].body if public else [])
    class_doc = (ast.get_docstring(public[-1]) or "") if public else ""
    return Outline(doc.split("\n")[0], doc, class_doc, constants | of_class, settings)


def suffixes(room: str) -> tuple[str, ...]:
    """Return the suffixes of the files that the built-in readers of a room read, without importing them."""
    stated = (suffix for name in _builtin(room) for suffix in outline(room, name).constants["SUFFIXES"])
    return tuple(dict.fromkeys(stated))


def pictures() -> tuple[str, ...]:
    """Return the names of the built-in output formats that draw, without importing them."""
    return tuple(name for name in _builtin("render") if outline("render", name).constants.get("PICTURE"))


def _literals(body: list[ast.stmt]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the constants and the settings of an `Outline`: names that are assigned a literal."""
    import ast

    constants: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if not isinstance(target, ast.Name) or value is None:
            continue
        try:
            constants[target.id] = _named_records(value) or ast.literal_eval(value)
        except ValueError:  # no literal: its value is known only after import
            continue
        is_field = isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
        if is_field and constants[target.id] is not None:  # None: an array, which is no setting
            settings[target.id] = constants[target.id]
    return constants, settings


def _named_records(node: ast.expr) -> dict[str, str]:
    """Return {key: first argument} of a dict of records, as {"f": Gate("forget", (0, 1))} is; {} of anything else."""
    import ast

    if not isinstance(node, ast.Dict) or not all(isinstance(v, ast.Call) for v in node.values):
        return {}
    first = [v.args[0] if isinstance(v, ast.Call) and v.args else ast.Constant("") for v in node.values]
    return {ast.literal_eval(k): ast.literal_eval(v) for k, v in zip(node.keys, first, strict=True) if k is not None}
