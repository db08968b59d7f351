"""NumPy's .npz: several named arrays in a zip; FILE.npz:KEY picks one."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.files.data._base import Array, DataOptions, RawData, check_size, pick
from gradscope.files.display import listing, printable
from gradscope.files.npy import check_npz, read_header, read_member
from gradscope.files.opening import opened
from gradscope.files.zipped import first_member, members, zip_errors
from gradscope.plugins import suggest

SUFFIXES = (".npz",)
OPTIONS = ("key",)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file is a zip whose first member is a .npy array, or an empty zip."""
    return (first_member(head) or b"").endswith(b".npy") or head.startswith(b"PK\x05\x06")


def read(path: Path, options: DataOptions) -> RawData:
    """Read the array that was asked for, or the only one that fits.

    Raises:
        InputError: the file cannot be read, is damaged, or leaves a choice.
        ResourceError: it would unpack to more than the limit.
        UsageError: there is no such array, or no such columns.
    """
    what = f"'{printable(path.name)}'"
    with opened(path, "data file") as (stream, size):
        try:
            with zip_errors(), zipfile.ZipFile(stream) as archive:
                entries = members(archive)
                check_npz(entries, size)
                arrays = {n.removesuffix(".npy"): entry for n, entry in entries.items() if n.endswith(".npy")}
                if not arrays:
                    raise InputError("it holds no .npy arrays", "write it with np.savez(file, inputs=x)")
                key = _choose(archive, arrays, options, path.name)
                array = _read(archive, arrays[key], options, f"the array '{printable(key)}'")
        except GradscopeError as error:
            raise type(error)(f"{what}: {error.message}", error.hint) from error
    others = [name for name in arrays if name != key]
    notes = (f"array '{printable(key)}' was used; the file also holds {listing(others)}",) if others else ()
    return RawData(pick(array, options), notes=notes)


def _choose(archive: zipfile.ZipFile, arrays: dict[str, zipfile.ZipInfo], options: DataOptions, file: str) -> str:
    """Return the key that was asked for, or that of the only array whose last axis has the model's input size."""
    if options.key is not None:
        key = options.key if options.key in arrays else options.key.removesuffix(".npy")
        if key not in arrays:
            hint = f"{printable(suggest(key, list(arrays)))} it holds: {listing(arrays)}".strip()
            raise UsageError(f"there is no array '{printable(key)}'", hint)
        return key
    if len(arrays) == 1:
        return next(iter(arrays))
    shown, fitting = [], []
    for key, entry in arrays.items():
        try:
            with archive.open(entry) as stream:
                shape = read_header(stream, key).shape
        except InputError:
            shown.append(f"{key} (not numbers)")
            continue
        shown.append(f"{key} {shape}")
        if 1 <= len(shape) <= 3 and (shape[1:] or (1,))[-1] == options.input_size:
            fitting.append(key)
    if len(fitting) == 1:
        return fitting[0]
    count = len(fitting) or "none"
    message = f"{count} of its arrays fit the input size {options.input_size}; it holds {listing(shown)}"
    raise InputError(message, f"choose one: {printable(file)}:KEY")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, options: DataOptions, what: str) -> Array:
    with archive.open(entry) as stream:
        header = read_header(stream, what)
        check_size(header, entry.file_size - header.bytes, options, what)
        return read_member(stream, header, entry, what)
