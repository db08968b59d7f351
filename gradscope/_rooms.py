"""Plug-in rooms: a folder is a registry, and a new plug-in is one new file in it.

`names` lists files and entry points and imports nothing, so that help texts and completion stay
quick. `load` imports one plug-in. Files that begin with an underscore are shared parts.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gradscope.errors import UsageError

__all__ = ["Outline", "load", "names", "outline", "suggest"]

# Which entry-point group adds outsiders to which room.
GROUPS = {"cells": "gradscope.cells", "checkpoints": "gradscope.readers", "render": "gradscope.renderers"}


class Outline(NamedTuple):
    """What a plug-in's file says of itself, read without importing it."""

    summary: str
    doc: str
    class_doc: str
    constants: dict[str, Any]


def _folder(room: str) -> Path:
    return Path(__file__).parent / room


@lru_cache
def names(room: str) -> tuple[str, ...]:
    """List the plug-ins of a room: its own files first, then entry points of other packages."""
    own = sorted(p.stem for p in _folder(room).glob("[!_]*.py"))
    group = GROUPS.get(room)
    foreign = {e.name for e in entry_points(group=group)} - set(own) if group else set()
    return (*own, *sorted(foreign))


def load(room: str, name: str) -> ModuleType:
    """Import one plug-in; a file of the room wins over an entry point of the same name.

    Raises:
        UsageError: there is no such plug-in, or one of another package fails on import.
    """
    if name not in names(room):
        kind = {"cells": "cell", "inits": "initialisation", "render": "output format"}.get(room, room)
        known = ", ".join(names(room))
        raise UsageError(f"there is no {kind} named '{name}'", f"{suggest(name, names(room))}known: {known}")
    if (_folder(room) / f"{name}.py").exists():
        return importlib.import_module(f"gradscope.{room}.{name}")
    (entry,) = (e for e in entry_points(group=GROUPS[room]) if e.name == name)
    try:
        module = entry.load()
    except Exception as error:  # a plug-in of another package may fail in any way
        raise UsageError(f"the plug-in '{name}' ({entry.value}) fails on import: {error}") from error
    if not isinstance(module, ModuleType):
        raise UsageError(f"the plug-in '{name}' ({entry.value}) is not a module")
    return module


def suggest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return 'did you mean gru? ' or an empty string."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


@lru_cache
def outline(room: str, name: str) -> Outline:
    """Read a plug-in's docstrings and constants without importing it, where it is a file."""
    path = _folder(room) / f"{name}.py"
    if not path.exists():
        module = load(room, name)
        doc = (module.__doc__ or "").strip()
        return Outline(doc.split("\n")[0], doc, "", {})
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    public = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    constants: dict[str, Any] = {}
    for node in public[-1].body if public else tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            try:
                constants[target.id] = ast.literal_eval(value)
            except ValueError:  # not a literal: nothing that can be known without importing
                continue
    class_doc = (ast.get_docstring(public[-1]) or "") if public else ""
    return Outline(doc.split("\n")[0], doc, class_doc, constants)
