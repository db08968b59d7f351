"""What tensors does a file of torch.save hold that is a stream of pickles?

Five pickles in a row (a magic number, a version, facts on the machine, the tensors, the keys of their
storages), then for each storage its length and its elements, little-endian. Before PyTorch 1.6, and since then
with `_use_new_zipfile_serialization=False`. Source: `torch/serialization.py`, `_legacy_save`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Tensors, mapped
from gradscope.files.checkpoints._pickle import unpickle
from gradscope.files.checkpoints._torch import TorchWorld, read_tree, tensors_of
from gradscope.files.display import printable
from gradscope.files.unsupported import SAVE_STATE_DICT

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
MAGIC = 0x1950A86A20F9469CFC6C


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file begins as a pickle of any origin: `read` explains why one is refused."""
    binary = head[:1] == b"\x80" and len(head) > 2 and head[1] <= 5 and head[2] != 0
    return binary or re.match(rb"[(\]}]{0,4}[ci][\w.]+\n[\w.]+\n", head) is not None


def read(path: Path) -> Tensors:
    """Read every tensor of the file.

    Raises:
        InputError: not complete, not of torch.save, or a tensor does not fit its bytes.
    """
    stream = mapped(path)
    world = TorchWorld()
    magic = unpickle(stream, world)
    if type(magic) is not int or magic != MAGIC:
        raise InputError("it is a Python pickle that torch.save did not write", SAVE_STATE_DICT)
    for _ in range(2):
        unpickle(stream, world)
    tree = read_tree(stream, world)
    keys = unpickle(stream, world)
    if not isinstance(keys, list):
        raise InputError("its pickle is damaged (no list of storages)", "download or save it again")
    data = np.frombuffer(stream, np.uint8)
    storages: dict[str, NDArray[np.uint8]] = {}
    start = stream.tell()
    for key in keys:
        known = world.storages.get(str(key)) if isinstance(key, (str, int)) else None
        if known is None:
            raise InputError(f"its pickle is damaged (nothing uses the storage {printable(type(key).__name__)})")
        count = int.from_bytes(data[start : start + 8].tobytes(), "little", signed=True)
        size = {"bfloat16": 2, "?": 1}.get(known.kind) or int(known.kind[1:])
        start, end = start + 8, start + 8 + count * size
        if count < 0 or end > len(data):
            have = max(len(data) - start, 0)
            raise InputError(f"not complete: a storage claims {count} elements, the file holds {have} bytes more")
        storages[known.key] = data[start:end]
        start = end

    def storage(key: str) -> NDArray[np.uint8]:
        if key not in storages:
            raise InputError(f"not complete: the storage {printable(key)} is missing", "download or save it again")
        return storages[key]

    return tensors_of(tree, storage, world)
