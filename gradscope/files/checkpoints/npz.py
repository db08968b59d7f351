"""What arrays does a file of numpy.savez hold?  A zip of .npy members (`gradscope.files.npy`)."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gradscope.files.checkpoints._base import Array, Tensors
from gradscope.files.display import listing, printable
from gradscope.files.npy import check_npz, read_header, read_member
from gradscope.files.zipped import first_member, members, zip_errors

SUFFIXES = (".npz",)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file is a zip whose first member is a .npy array, or an empty zip."""
    return (first_member(head) or b"").endswith(b".npy") or head.startswith(b"PK\x05\x06")


def read(path: Path) -> Tensors:
    """Read every array of the file; arrays of text and members that are no arrays are left out.

    Raises:
        InputError: the file is damaged, or holds Python objects.
        ResourceError: a compressed array is too large for its file.
    """
    arrays: dict[str, Array] = {}
    others: list[str] = []
    with zip_errors(), zipfile.ZipFile(path) as archive:
        entries = members(archive)
        check_npz(entries, path.stat().st_size)
        for name, entry in entries.items():
            key = name.removesuffix(".npy")
            if key == name:
                others.append(name)
                continue
            what = f"the array {printable(key)}"
            with archive.open(entry) as member:
                header = read_header(member, what, text=True)
                if header.dtype.kind in "US":
                    others.append(name)
                    continue
                array = read_member(member, header, entry, what)
            arrays[key] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Tensors(arrays, [f"left out {listing(others, 5)}"] if others else [])
