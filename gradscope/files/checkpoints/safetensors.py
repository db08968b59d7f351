"""What tensors does a safetensors file hold?

Eight bytes with the length of a JSON header, the header {name: {dtype, shape, data_offsets}}, then the
elements, little-endian, without holes. `*.safetensors.index.json` lists the files of a model in several parts.
Source: https://github.com/huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Array, Tensors, decode, mapped
from gradscope.files.display import printable

SUFFIXES = (".safetensors", ".safetensors.index.json")
MAX_HEADER_BYTES = 100_000_000  # as the safetensors library
MAX_AXES = 32
MAX_SHAPE_BITS = 60  # so that numpy can represent an empty tensor's shape
KINDS = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?", "C64": "c8",
    "F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0",
}  # fmt: skip
ITEMSIZES = {"bfloat16": 2, "?": 1}


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file begins with a length and a JSON object, or is named as an index of several files."""
    return path.name.endswith(".safetensors.index.json") or (head[8:9] == b"{" and head[6:8] == b"\0\0")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [k for k, _ in pairs]
        twice = next(k for k in table if keys.count(k) > 1)
        raise InputError(f"its header names {printable(twice)} twice")
    return table


def _json(raw: bytes) -> dict[str, Any]:
    try:
        table = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its header is not JSON ({printable(error)})", "download or save it again") from None
    if not isinstance(table, dict):
        raise InputError("its header is not a JSON object", "download or save it again")
    return table


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**60


def _entry(name: str, entry: Any, room: int) -> tuple[int, int, tuple[int, ...], str]:
    """Return begin, end, shape and type of one tensor, once they agree with each other and with the file.

    Args:
        name: of the tensor, for messages.
        entry: what the header says of it.
        room: bytes of the file after the header.

    Raises:
        InputError: they do not agree.
    """
    fields = entry if isinstance(entry, dict) else {}
    begin, end, shape = _sizes(name, fields.get("data_offsets"), fields.get("shape"))
    dtype = fields.get("dtype")
    kind = KINDS.get(dtype) if isinstance(dtype, str) else None
    if kind is None:
        raise InputError(f"the tensor {name} has the type {printable(dtype, 40)}, which is not supported")
    if end > room:
        raise InputError(f"the tensor {name} ends at byte {end}, past the end of the file ({room} bytes of data)")
    itemsize = ITEMSIZES.get(kind) or (int(kind[1:]) if kind[1:].isdigit() else 1)
    size = itemsize * math.prod(shape)
    if begin > end or size != end - begin:
        raise InputError(f"the tensor {name} is damaged: its shape needs {size} bytes, its offsets span {end - begin}")
    if sum(n.bit_length() for n in shape) > MAX_SHAPE_BITS:
        raise InputError(f"the tensor {name} is damaged: its shape is too large for any memory")
    return begin, end, shape, kind


def _sizes(name: str, offsets: Any, shape: Any) -> tuple[int, int, tuple[int, ...]]:
    """Return begin, end and shape of a tensor, once all are sizes.

    Raises:
        InputError: they are not.
    """
    lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2 and len(shape) <= MAX_AXES
    if not (lists and all(map(_is_size, [*shape, *offsets]))):
        raise InputError(f"the tensor {name} is damaged: its shape or its offsets are not sizes")
    return offsets[0], offsets[1], tuple(shape)


def _arrays(data: NDArray[np.uint8]) -> tuple[dict[str, Array], list[str]]:
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or length > len(data) - 8 or length > MAX_HEADER_BYTES:
        claims = f"its header claims {length} bytes, the file holds {max(len(data) - 8, 0)}"
        raise InputError(f"not a complete safetensors file: {claims}", "download or save it again")
    header = _json(data[8 : 8 + length].tobytes())
    data = data[8 + length :]
    header.pop("__metadata__", None)
    entries = {name: _entry(printable(name), entry, len(data)) for name, entry in header.items()}
    last, before = 0, ""
    for name, (begin, end, *_) in sorted(entries.items(), key=lambda item: item[1][:2]):
        if begin < last:
            raise InputError(f"the tensors {printable(before)} and {printable(name)} overlap")
        if begin > last:
            raise InputError(f"there is a hole of {begin - last} bytes before the tensor {printable(name)}")
        last, before = end, name
    if last != len(data):
        raise InputError(f"{len(data) - last} bytes follow the last tensor, {printable(before)}", "the file is damaged")
    arrays: dict[str, Array] = {}
    notes: dict[str, None] = {}
    for name, (begin, end, shape, kind) in entries.items():
        flat, note = decode(data[begin:end], kind)
        arrays[name] = flat.reshape(shape)
        notes |= {note: None} if note else {}
    return arrays, list(notes)


def _parts(path: Path) -> list[Path]:
    """Return the files of a model in several parts; only plain names of the same directory count.

    Raises:
        InputError: the index is damaged, names a file elsewhere, or a file is missing.
    """
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise InputError("its index is larger than 100 MB")
    table = _json(path.read_bytes()).get("weight_map")
    names = sorted({n for n in table.values() if isinstance(n, str)}) if isinstance(table, dict) else []
    if not names:
        raise InputError("its index has no weight_map", "name one of the .safetensors files")
    for name in names:
        if not _is_beside(name):
            raise InputError(f"refused: its index names {printable(name)}, not a file of the same directory")
        if not (path.parent / name).is_file():
            raise InputError(f"its index names {printable(name)}, which is missing", "download every part")
    return [path.parent / name for name in names]


def _is_beside(name: str) -> bool:
    return Path(name).name == name and not {"/", "\\"} & set(name) and name.endswith(SUFFIXES[0])


def read(path: Path) -> Tensors:
    """Read every tensor of the file, or of all the files that an index names.

    Raises:
        InputError: the header and the bytes of the file do not agree.
    """
    parts = _parts(path) if path.name.endswith(SUFFIXES[1]) else [path]
    arrays: dict[str, Array] = {}
    notes: dict[str, None] = {}
    for part in parts:
        more, lines = _arrays(np.frombuffer(mapped(part), np.uint8))
        twice = next((name for name in more if name in arrays), None)
        if twice is not None:
            raise InputError(f"two files hold the tensor {printable(twice)}")
        arrays |= more
        notes |= dict.fromkeys(lines)
    return Tensors(arrays, list(notes))
