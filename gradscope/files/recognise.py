"""Which reader reads this file?  Every reader is asked, before a file is called unsupported.

1. By content: `sniff` of each reader, built-in ones first, then those of other packages.
2. By name: the one reader of another package with this suffix. It may read a format of the table that follows.
3. By content: the table of formats that are known and not read, which says how to convert such a file.
4. By name: the one reader with this suffix; it says what is wrong with the content.
5. By name: the same table.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gradscope import plugins
from gradscope.errors import GradscopeError, InputError
from gradscope.files.display import printable
from gradscope.files.unsupported import refuse_by_content, refuse_by_name


def reader_of(room: str, head: bytes, path: Path) -> tuple[str, ModuleType]:
    """Return name and module of the reader of a file.

    Args:
        room: "checkpoints" or "data".
        head: first bytes of the file.
        path: the file; only its name is used.

    Raises:
        InputError: no reader recognises it.
    """
    data = room == "data"
    readers: list[tuple[str, ModuleType]] = []
    for name, reader in plugins.loaded(room):
        recognised = _recognises(room, name, reader, head, path)
        if recognised:
            return name, reader
        if recognised is not None:
            readers.append((name, reader))
    named = [(name, reader) for name, reader in readers if path.name.lower().endswith(tuple(reader.SUFFIXES))]
    if len(named) == 1 and named[0][0] not in plugins.names(room, builtin=True):
        return named[0]
    refuse_by_content(head, path, data=data)
    if len(named) == 1:
        return named[0]
    refuse_by_name(path, data=data)
    supported = "; ".join(f"{name} ({', '.join(reader.SUFFIXES)})" for name, reader in readers)
    raise InputError(f"{printable(path.name)} has no supported format", f"supported: {supported}")


def _recognises(room: str, name: str, reader: ModuleType, head: bytes, path: Path) -> bool | None:
    """Return what `sniff` answers; None, with a warning, for a plug-in of another package that fails: it is ignored."""
    try:
        return bool(reader.sniff(head, path))
    except Exception as error:
        if name in plugins.names(room, builtin=True):
            raise
        text = f"the plug-in '{name}' ({reader.__name__}) fails in sniff: {_reason(error)}; it is ignored"
        warnings.warn(text, plugins.PluginWarning, stacklevel=2)
        return None


@contextmanager
def plugin_errors(room: str, name: str) -> Iterator[None]:
    """Turn any error of another package's reader into an `InputError` that names the plug-in.

    Raises:
        InputError: the plug-in failed otherwise than by an error of gradscope.
    """
    try:
        yield
    except (GradscopeError, MemoryError, OSError):  # whoever asked for the file has a sentence for each
        raise
    except Exception as error:
        if name in plugins.names(room, builtin=True):  # a bug of this package keeps its traceback
            raise
        message = f"the plug-in '{name}' fails to read it: {_reason(error)}"
        raise InputError(message, "report this to the authors of the plug-in") from error


def _reason(error: Exception) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":"), 200)
