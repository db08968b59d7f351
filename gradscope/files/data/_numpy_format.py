"""NumPy's array format, read without trusting the header and without unpickling.

The header is matched, not evaluated. Its layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import re
from typing import IO, NamedTuple

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.files.data._base import Array, Options, amount, pick_columns, printable

__all__ = ["MAGIC_BYTES", "Header", "read_header", "read_values", "select"]

MAGIC_BYTES = b"\x93NUMPY"
MAX_HEADER = 1 << 16  # of version 1; plain arrays need about 100 bytes
MAX_AXES = 32
CHUNK = 1 << 20
DESCR = re.compile(r"""['"]descr['"]\s*:\s*(?:['"]([^'"]{1,64})['"]|(\[))""")
ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\dL,\s]*)\)""", re.ASCII)
NUMBER = re.compile(r"[<>=|]?[biufc]\d{1,2}", re.ASCII)
OTHER = {"S": "text", "U": "text", "a": "text", "M": "dates", "m": "time spans"}


class Header(NamedTuple):
    """What an array file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool
    length: int  # bytes before the numbers

    @property
    def claimed(self) -> int:
        """Bytes that the numbers should take, as an exact integer."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], what: str) -> Header:
    """Read the header and leave the stream at the first number.

    Args:
        stream: at its beginning.
        what: the file's name, ready to be shown.

    Raises:
        InputError: it is damaged, or the array does not hold numbers.
    """
    broken = f"{what} is not a complete .npy array"
    start = stream.read(8)
    wide = start[6:7] != b"\x01"  # versions 2 and 3 have a 4-byte length
    size = stream.read(4 if wide else 2)
    if start[:6] != MAGIC_BYTES or len(start) < 8 or len(size) < (4 if wide else 2) or start[6] not in (1, 2, 3):
        raise InputError(f"{broken}: its first bytes are wrong")
    length = int.from_bytes(size, "little")
    if length > MAX_HEADER:
        raise InputError(f"{what}: its header claims {amount(length)}, more than any plain array needs")
    text = stream.read(length)
    if len(text) < length:
        raise InputError(f"{broken}: the header is cut off")
    header = text.decode("latin-1")
    descr, order, shape = DESCR.search(header), ORDER.search(header), SHAPE.search(header)
    if not (descr and order and shape):
        raise InputError(f"{broken}: the header cannot be understood")
    axes = tuple(int(n.strip(" L\n\t") or 0) for n in _axes(shape[1], broken))
    return Header(axes, _dtype(descr[1], what), order[1] == "True", len(start) + len(size) + length)


def _axes(text: str, broken: str) -> list[str]:
    axes = [n for n in text.split(",") if n.strip()]
    if len(axes) > MAX_AXES or not all(re.fullmatch(r"\s*\d{1,20}L?\s*", n, re.ASCII) for n in axes):
        raise InputError(f"{broken}: the header's shape cannot be understood")
    return axes


def _dtype(descr: str | None, what: str) -> np.dtype[np.generic]:
    if descr is None:
        raise InputError(f"{what} holds records (a structured array), not plain numbers", "save one plain array")
    kind = descr.lstrip("<>=|")[:1]
    if kind == "O":
        raise InputError(
            f"{what} is an object array; refused, because reading one can run code",
            "save plain numbers: np.save(file, np.asarray(x, dtype=float))",
        )
    if descr.lstrip("<>=|") == "V2":
        raise InputError(f"{what} has the dtype V2 (bfloat16?), which is not supported", "save it as float32")
    try:
        if NUMBER.fullmatch(descr) and (dtype := np.dtype(descr)).kind in "biufc" and dtype.itemsize:
            return dtype
    except TypeError:
        pass
    raise InputError(f"{what} holds {OTHER.get(kind, 'the dtype ' + printable(descr, 20))}, not plain numbers")


def read_values(stream: IO[bytes], header: Header, held: int, what: str) -> Array:
    """Read the numbers after the header, once the header is known to be honest.

    Args:
        stream: where `read_header` left it.
        header: the header.
        held: bytes that the file holds after the header.
        what: the file's name, ready to be shown.

    Raises:
        InputError: an axis has length zero, or the file holds less than the header claims.
    """
    if 0 in header.shape:
        raise InputError(f"{what} has shape {header.shape}: it holds no numbers (an axis has length zero)")
    if held < header.claimed:
        raise InputError(
            f"{what}: the header claims {amount(header.claimed)} (shape {header.shape}), "
            f"the file holds {amount(max(held, 0))}",
            "the file is cut off or damaged; save or download it again",
        )
    data = np.empty(header.claimed, dtype=np.uint8)
    done = 0
    while done < data.size:
        chunk = stream.read(min(CHUNK, data.size - done))
        if not chunk:
            raise InputError(f"{what}: the file ends after {amount(done)} of {amount(header.claimed)}")
        data[done : done + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        done += len(chunk)
    return data.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def select(array: Array, options: Options) -> Array:
    """Keep the columns that were asked for; the last axis of an array has indices and no names.

    Raises:
        UsageError: the array has no columns, or not those.
    """
    if options.columns is None:
        return array
    if array.ndim < 2:
        raise UsageError("--columns needs data with two or more axes", f"this array has shape {array.shape}")
    return array[..., pick_columns(options.columns, (), array.shape[-1])]
