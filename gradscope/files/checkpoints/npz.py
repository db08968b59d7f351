"""What arrays does a file of numpy.savez hold?

A zip of .npy members: a header with type, order and shape, then the elements. Objects (pickles) are refused,
and a member may not grow beyond what its file could reasonably hold.
Source: `numpy/lib/format.py`.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from gradscope.errors import InputError, ResourceError
from gradscope.files.checkpoints._base import Array, Tensors
from gradscope.files.checkpoints._zip import first_member, members, zip_errors
from gradscope.files.display import printable

SUFFIXES = (".npz",)
MAX_RATIO, FREE_SIZE = 200, 2**24  # deflate packs weights by 1.1, zeros by 1000; up to 16 MB anything goes
MAX_TOTAL = 2**34  # compressed members together
# What numpy writes; other spellings would need a parser of Python expressions.
HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=])?([a-zA-Z?])([0-9]{0,6})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([0-9L, ]*)\),?\s*\}\s*"
)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file is a zip whose first member is a .npy array, or an empty zip."""
    return (first_member(head) or b"").endswith(b".npy") or head.startswith(b"PK\x05\x06")


def _array(name: str, raw: bytes) -> Array:
    """Read one .npy member."""
    wide = raw[6:7] != b"\x01"  # version 2 and 3 have four bytes for the length of the header
    start = 12 if wide else 10
    stop = start + int.from_bytes(raw[8:start], "little")
    if not raw.startswith(b"\x93NUMPY") or stop > min(len(raw), 65536):
        raise InputError(f"the array {name} is damaged: it has no .npy header")
    text = raw[start:stop].decode("latin-1")
    match = HEADER.fullmatch(text)
    if match is None or (match[2] != "O" and match[2] not in "fiucb?US"):
        raise InputError(f"the array {name} has a header that is not supported: {printable(text, 80)}")
    order, letter, size, fortran, sizes = match.groups()
    if letter == "O":
        raise InputError(f"the array {name} holds Python objects, which would have to be executed", "save numbers only")
    shape = tuple(int(n.strip(" L")) for n in sizes.split(",") if n.strip(" L").isdigit() and len(n) < 25)
    if len(shape) > 32 or len(shape) != len([n for n in sizes.split(",") if n.strip()]):
        raise InputError(f"the array {name} is damaged: its shape is not a shape")
    try:
        dtype = np.dtype(f"{order or '|'}{letter}{size}")
    except (TypeError, ValueError):
        raise InputError(f"the array {name} has the type {letter}{size}, which is not supported") from None
    claim = dtype.itemsize
    for n in shape:
        claim *= n
    if claim != len(raw) - stop:
        sizes = f"its header claims {claim} bytes, the file holds {len(raw) - stop}"
        raise InputError(f"the array {name} is damaged: {sizes}")
    if sum(n.bit_length() for n in shape) + dtype.itemsize.bit_length() > 60:
        raise InputError(f"the array {name} is damaged: its shape is beyond reason")
    flat = np.frombuffer(raw, dtype, offset=stop) if claim else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran == "True" else "C").astype(dtype.newbyteorder("="), copy=False)


def read(path: Path) -> Tensors:
    """Read every array of the file.

    Raises:
        InputError: damaged, or it holds Python objects.
        ResourceError: a compressed array is too large for its file.
    """
    entries = members(path)
    total = 0
    for name, entry in entries.items():
        packed = entry.compress_type != zipfile.ZIP_STORED
        total += entry.file_size if packed else 0
        if packed and entry.file_size > max(FREE_SIZE, MAX_RATIO * entry.compress_size):
            sizes = f"{entry.compress_size} bytes to {entry.file_size}"
            raise ResourceError(f"over the limit: {printable(name)} unpacks from {sizes}", "save it with numpy.savez")
    if total > MAX_TOTAL:
        raise ResourceError(f"over the limit: it unpacks to {total} bytes", "save it with numpy.savez")
    arrays: dict[str, Array] = {}
    others: list[str] = []
    with zip_errors(), zipfile.ZipFile(path) as archive:
        for name, entry in entries.items():
            if not name.endswith(".npy"):
                others.append(printable(name))
                continue
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"the array {printable(name)} is compressed in an unusual way")
            if entry.file_size > path.stat().st_size and entry.compress_type == zipfile.ZIP_STORED:
                raise InputError(f"not a complete zip file: {printable(name)} is larger than the file")
            with archive.open(entry) as member:
                array = _array(printable(name.removesuffix(".npy")), member.read(entry.file_size))
            if array.dtype.kind in "US":
                others.append(printable(name))
            else:
                arrays[name.removesuffix(".npy")] = array
    notes = [f"left out {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}"] if others else []
    return Tensors(arrays, notes, "npz")
