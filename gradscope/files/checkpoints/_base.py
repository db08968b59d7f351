"""What do all readers of checkpoints share?  The arrays they return, and how bytes become numbers.

Nothing of a file is ever executed, and every size that a file claims is compared with the bytes that are
there before it is used. Messages name tensors and files through `printable`.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import GradscopeError, InputError
from gradscope.files.display import printable
from gradscope.files.opening import head_of, reading_error
from gradscope.files.recognise import plugin_errors, reader_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Tensors:
    """What a checkpoint holds.

    Attributes:
        arrays: {name: array}; nested dictionaries are joined with dots. Arrays may be read-only.
        notes: sentences on what was converted or left out.
        format: name of the reader; `open_checkpoint` enters it.
        states: prefixes of the state dicts in `arrays`, as "state_dict" or "ema"; "" for no prefix.
    """

    arrays: dict[str, Array]
    notes: list[str] = field(default_factory=list)
    format: str = ""
    states: tuple[str, ...] = ("",)


def type_name(array: Array) -> str:
    """Return the name of an array's element type, those included that numpy does not know."""
    return array.dtype.names[0] if array.dtype.names else array.dtype.name


def mapped(path: Path) -> mmap.mmap:
    """Map a file into memory; nothing is read before it is used."""
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # someone emptied it meanwhile
            raise InputError("the file is empty", "download or save it again") from None


def decode(raw: NDArray[np.uint8], kind: str, big_endian: bool = False) -> tuple[Array, str]:
    """Read bytes as elements of a type: a numpy code, "bfloat16", or a name that numpy does not know.

    Returns:
        the elements, (n,), in this machine's byte order, and a note on a conversion or "". bfloat16 becomes
        float32; a type that numpy does not know becomes a structured type that bears its name.
    """
    order = ">" if big_endian else "<"
    if kind == "bfloat16":
        wide = raw.view(f"{order}u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32), "bfloat16 weights were converted to float32"
    if not re.fullmatch(r"[fiuc]\d+|\?", kind):
        return raw.view(np.dtype([(kind, "u1")])), ""
    elements = raw.view(np.dtype(order + kind))
    native = elements.dtype.newbyteorder("=")
    return (elements.astype(native) if big_endian != (sys.byteorder == "big") else elements.view(native)), ""


def open_checkpoint(path: str | os.PathLike[str]) -> Tensors:
    """Read a checkpoint of any supported format.

    Raises:
        InputError: the file is missing, damaged, not supported, or not safe.
        ResourceError: a compressed file grows beyond the limit.
    """
    path = Path(path)
    name, reader = reader_of("checkpoints", head_of(path, "checkpoint"), path)
    shown = printable(path.name)
    try:
        with plugin_errors("checkpoints", name):
            tensors: Tensors = reader.read(path)
            if not isinstance(tensors, Tensors):
                raise TypeError(f"read returns {type(tensors).__name__}, not gradscope.files.Tensors")
    except GradscopeError as error:
        raise type(error)(f"{shown}: {error.message}", error.hint) from error
    except OSError as error:
        raise reading_error(path, error) from None
    if path.suffix and not path.name.lower().endswith(tuple(reader.SUFFIXES)):  # standard input has none
        tensors.notes.append(f"{shown} was recognised as {name} by its content, despite its suffix")
    return replace(tensors, format=name)
