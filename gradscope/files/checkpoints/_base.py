"""What every reader of a checkpoint shares: the arrays it returns, safe names, and opening a file.

Nothing of a file is ever executed, and no size that a file claims is believed before it was compared
with the bytes that are there. Messages name tensors and files through `printable`.
"""

from __future__ import annotations

import difflib
import errno
import mmap
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope import plugins
from gradscope.errors import GradscopeError, InputError

__all__ = ["Array", "Tensors", "decode", "mapped", "open_checkpoint", "printable", "type_name"]

Array = NDArray[Any]
HEAD = 4096  # bytes that `sniff` sees

STATE_DICT = 'save only the weights: torch.save(model.state_dict(), "weights.pt")'
KERAS = (
    'save the weights of its recurrent layer: numpy.savez("weights.npz", weight_ih_l0=kernel.T, '
    "weight_hh_l0=recurrent_kernel.T, bias_ih_l0=bias); for a GRU bias_ih_l0=bias[0], bias_hh_l0=bias[1] "
    "and --gate-order zrn"
)
ONNX = (
    'save the weights from where the model was made: torch.save(model.state_dict(), "weights.pt"), '
    'or numpy.savez("weights.npz", weight_ih_l0=..., weight_hh_l0=...)'
)
FLAX = (
    'save the weights with PyTorch\'s names: numpy.savez("weights.npz", weight_ih_l0=..., weight_hh_l0=...), '
    "gates stacked as rows"
)


@dataclass(frozen=True)
class Tensors:
    """What a checkpoint holds.

    Attributes:
        arrays: {name: array}; nested dictionaries are joined with dots. Arrays may be read-only.
        notes: sentences on what was converted or left out.
        format: name of the reader.
        states: prefixes of the state dicts in `arrays`, as "state_dict" or "ema"; "" for no prefix.
    """

    arrays: dict[str, Array]
    notes: list[str] = field(default_factory=list)
    format: str = ""
    states: tuple[str, ...] = ("",)


def printable(name: object, limit: int = 120) -> str:
    """Return an untrusted name with control characters escaped, cut to `limit` characters."""
    text = str(name)
    if len(text) <= limit and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return safe if len(safe) <= limit and len(text) <= limit else safe[: limit - 3] + "..."


def _shown(path: Path) -> str:
    return printable(path, 400)


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


def _os_error(path: Path, error: OSError | ValueError) -> InputError:
    number = getattr(error, "errno", None)
    return InputError(f"cannot read {_shown(path)}: {os.strerror(number) if number else error}")


def _missing(path: Path) -> InputError:
    try:
        near = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    except (OSError, ValueError):
        return InputError(f"there is no file {_shown(path)}", "its directory cannot be read either")
    close = difflib.get_close_matches(path.name, near, n=3, cutoff=0.4)
    listed = ", ".join(printable(n) for n in close or near[:5])
    hint = f"did you mean {listed}?" if close else f"the directory holds {listed}" if listed else ""
    return InputError(f"there is no file {_shown(path)}", hint)


def _checked(path: Path) -> bytes:
    """Return the head of a regular, non-empty file that can be read."""
    try:
        path.stat()
        if path.is_dir():
            files = sorted(p.name for p in path.iterdir() if p.is_file())[:5]
            hint = f"it holds {', '.join(map(printable, files))}: name one of them" if files else "name a file"
            raise InputError(f"{_shown(path)} is a directory, not a checkpoint file", hint)
        if not path.is_file():
            raise InputError(f"{_shown(path)} is not a regular file", "copy it to a file first")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise _missing(path) from None
        raise _os_error(path, error) from None
    if not head:
        raise InputError(f"{_shown(path)}: the file is empty", "download or save it again")
    return head


def _first_zip_name(head: bytes) -> bytes:
    return head[30 : 30 + int.from_bytes(head[26:28], "little")] if head.startswith(b"PK\x03\x04") else b""


def _unsupported(head: bytes, path: Path) -> tuple[str, str] | None:
    """Recognise what is no checkpoint, or one of a kind that is not read; return (what it is, what to do)."""
    start = head[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    first = _first_zip_name(head)
    if start.startswith((b"<!doctype html", b"<html")):
        return "this is an HTML page, not a checkpoint", "the download went wrong: open the address in a browser"
    if start.startswith(b"<?xml"):
        return "this is an XML page, not a checkpoint", "the download went wrong"
    if head.startswith(b"version https://git-lfs"):
        return "this is a git-lfs pointer, not the file itself", "run git lfs pull"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5 files (.h5, .weights.h5) are not supported yet", KERAS
    if first in (b"metadata.json", b"config.json", b"model.weights.h5"):
        return "Keras files (.keras) are not supported yet", KERAS
    if re.match(rb"\x08[\x01-\x20]\x12.(pytorch|tf2onnx|keras|onnx|skl|mx)", head, re.S) or (
        path.suffix == ".onnx" and head[0] == 8
    ):
        return "ONNX files are not supported yet", ONNX
    if head[6:9] != b"\0\0{" and re.match(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9]", head, re.S):
        return "flax msgpack files are not supported yet", FLAX
    if head.startswith(b"\x93NUMPY"):
        return "one .npy array has no name", 'save all weights by name: numpy.savez("weights.npz", weight_ih_l0=...)'
    if head[257:262] == b"ustar":
        return "tar archives, torch.save of before 2017 among them, are not supported", STATE_DICT
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")):
        return "this file is compressed", "decompress it first"
    return None


def open_checkpoint(path: str | os.PathLike[str]) -> Tensors:
    """Read a checkpoint of any supported format, recognised by its content.

    Raises:
        InputError: the file is missing, damaged, not supported, or not safe.
        ResourceError: a compressed file grows beyond what is allowed.
    """
    path = Path(path)
    head = _checked(path)
    shown = printable(path.name)
    known = _unsupported(head, path)
    if known is not None:
        raise InputError(f"{shown}: {known[0]}", known[1])
    suffixes = []
    for name, reader in plugins.loaded("checkpoints"):
        own = tuple(getattr(reader, "SUFFIXES", ()))
        suffixes.append(f"{name} ({', '.join(own)})" if own else name)
        if not reader.sniff(head, path):
            continue
        try:
            tensors: Tensors = reader.read(path)
        except GradscopeError as error:
            raise type(error)(f"{shown}: {error.message}", error.hint) from None
        except OSError as error:
            raise _os_error(path, error) from None
        if own and not path.name.endswith(own):
            tensors.notes.append(f"{shown} is a {name} file in spite of its name")
        return tensors
    raise InputError(f"{shown} is of no known format", f"supported: {'; '.join(suffixes)}")
