"""NumPy's .npz: several named arrays in a zip; FILE.npz:KEY picks one."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from gradscope.errors import InputError, ResourceError, UsageError
from gradscope.files.data._base import Array, Options, Raw, amount, fit, listing, opened, printable
from gradscope.files.data._numpy_format import Header, read_header, read_values, select
from gradscope.plugins import suggest

SUFFIXES = (".npz",)
MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

MAX_TOTAL = 4 << 30
RATIO = 1000  # deflate reaches 1032:1, and only on constant data
RATIO_FROM = 64 << 20
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
          OverflowError, IndexError, KeyError)  # fmt: skip


def read(path: Path, options: Options) -> Raw:
    """Read the array that was asked for, or the only one that fits.

    Raises:
        InputError: the file cannot be read, is damaged, or leaves a choice.
        ResourceError: it would unpack to more than the limit.
        UsageError: there is no such array, or no such columns.
    """
    what = f"'{printable(path.name)}'"
    with opened(path) as (stream, _):
        try:
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive, what)
                key = _choose(archive, members, options, what)
                array = _read(archive, members[key], options, f"{what}, array '{printable(key)}'")
        except DAMAGE as error:
            hint = "the file is cut off or damaged; save or download it again"
            reason = printable(error) or "it ends too early"
            raise InputError(f"{what} is not a complete zip file: {reason}", hint) from error
    others = [name for name in members if name != key]
    notes = (f"array '{printable(key)}' was used; the file also holds {listing(others)}",) if others else ()
    return Raw(select(array, options), notes=notes)


def _members(archive: zipfile.ZipFile, what: str) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays by key; a key is only a name, nothing is ever extracted."""
    infos = archive.infolist()
    if any(i.filename == "xl/workbook.xml" for i in infos):
        raise InputError(f"{what} is an Excel workbook, which is not supported", "save the sheet as .csv")
    arrays = [i for i in infos if i.filename.endswith(".npy")]
    if not arrays:
        raise InputError(f"{what} holds no .npy arrays", "write it with np.savez(file, inputs=x)")
    total, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if total > MAX_TOTAL:
        raise ResourceError(f"{what} would unpack to {amount(total)}; the limit is {amount(MAX_TOTAL)}",
                            "save the one array that is needed as .npy")  # fmt: skip
    if total > RATIO_FROM and total > RATIO * packed:
        raise ResourceError(f"{what} would unpack from {amount(packed)} to {amount(total)}, over {RATIO}:1: refused",
                            "save the array as .npy, uncompressed")  # fmt: skip
    members: dict[str, zipfile.ZipInfo] = {}
    for info in arrays:
        key = info.filename.removesuffix(".npy")
        if key in members:
            raise InputError(f"{what} holds two arrays called '{printable(key)}'")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{what}: array '{printable(key)}' is packed in a way that numpy does not use")
        members[key] = info
    return members


def _choose(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], options: Options, what: str) -> str:
    if options.key is not None:
        key = options.key if options.key in members else options.key.removesuffix(".npy")
        if key not in members:
            hint = f"{printable(suggest(key, list(members)))} it holds: {listing(members)}".strip()
            raise UsageError(f"{what} holds no array '{printable(key)}'", hint)
        return key
    if len(members) == 1:
        return next(iter(members))
    shown, fitting = [], []
    for key, info in members.items():
        try:
            shape = _header(archive, info, key).shape
        except InputError:
            shown.append(f"{key} (not numbers)")
            continue
        shown.append(f"{key} {shape}")
        if 1 <= len(shape) <= 3 and (shape[1:] or (1,))[-1] == options.input_size:
            fitting.append(key)
    if len(fitting) == 1:
        return fitting[0]
    count = len(fitting) or "none"
    message = f"{what}: {count} of its arrays fit an input size of {options.input_size}; it holds {listing(shown)}"
    raise InputError(message, f"say which: {what[1:-1]}:KEY")


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> Header:
    with archive.open(info) as stream:
        return read_header(stream, what)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, options: Options, what: str) -> Array:
    with archive.open(info) as stream:
        header = read_header(stream, what)
        held = info.file_size - header.length
        if held >= header.claimed:
            fit(header.claimed, options, what)
        array = read_values(stream, header, held, what)
        while stream.read(1 << 20):  # to the end, where the checksum is compared
            pass
        return array
