"""What tensors does a file of torch.save hold?

A zip of uncompressed members: `<root>/data.pkl` describes the tensors, `<root>/data/<n>` are their storages,
`<root>/byteorder` says how they were written. Since PyTorch 1.6.
Source: `torch/serialization.py`; `caffe2/serialize/inline_container.h`.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Tensors, mapped
from gradscope.files.checkpoints._torch import TorchWorld, read_tree, tensors_of
from gradscope.files.display import listing, printable
from gradscope.files.unsupported import SAVE_STATE_DICT
from gradscope.files.zipped import first_member, members, stored, zip_errors

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")


# First member of such a file: of torch.save, of TorchScript, or of torch.export.
FIRST_MEMBER = re.compile(
    rb"[^/]+/(data\.pkl|constants\.pkl|bytecode\.pkl|version|byteorder|archive_format|\.format_version"
    rb"|data/|code/|extra/|models/|\.data/).*|serialized_exported_program\.json",
    re.DOTALL,
)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file is a zip that begins as PyTorch's do, or is named as they are."""
    name = first_member(head)
    return (
        name is not None
        and not name.endswith(b".npy")
        and (FIRST_MEMBER.fullmatch(name) is not None or path.suffix.lower() in SUFFIXES)
    )


def read(path: Path) -> Tensors:
    """Read every tensor of the file.

    Raises:
        InputError: the file is not complete, not of torch.save, or a tensor does not fit its bytes.
    """
    with zip_errors(), zipfile.ZipFile(path) as archive:
        entries = members(archive)
    root = _root(entries)
    data = np.frombuffer(mapped(path), np.uint8)
    for entry in entries.values():
        if entry.compress_type:
            stored(data, entry)  # raises, naming the member
    storages: dict[str, NDArray[np.uint8]] = {}

    def storage(key: str) -> NDArray[np.uint8]:
        if key not in storages:
            entry = entries.get(f"{root}/data/{key}")
            if entry is None:
                raise InputError(f"not complete: the storage {printable(key)} is missing", "download or save it again")
            storages[key] = stored(data, entry)
        return storages[key]

    order = entries.get(f"{root}/byteorder")
    big_endian = order is not None and stored(data, order).tobytes().strip() == b"big"
    world = TorchWorld()
    tree = read_tree(io.BytesIO(stored(data, entries[f"{root}/data.pkl"]).tobytes()), world)
    return tensors_of(tree, storage, world, big_endian)


def _root(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return the folder in which all members of a file of torch.save lie.

    Raises:
        InputError: it is another kind of file.
    """
    parts = [tuple(name.split("/")) for name in entries]
    inside = {p[1] for p in parts if len(p) > 1}
    if inside & {"code", "constants.pkl", "bytecode.pkl"}:
        recipe = f"load it with torch.jit.load, then {SAVE_STATE_DICT}"
        raise InputError("it is a TorchScript archive, a program with its weights", recipe)
    if inside & {"archive_format", "models"} or "serialized_exported_program.json" in entries:
        recipe = f"load it with torch.export.load, then {SAVE_STATE_DICT}"
        raise InputError("it is a torch.export archive (.pt2)", recipe)
    roots = [p[0] for p in parts if len(p) == 2 and p[1] == "data.pkl"]
    if len(roots) != 1:
        message = f"it is a zip file, but not one of torch.save; it holds {listing(entries, 5) or 'nothing'}"
        raise InputError(message, SAVE_STATE_DICT)
    return roots[0]
