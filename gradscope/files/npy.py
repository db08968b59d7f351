"""How is an array read from .npy or .npz without trusting the file?  One reader and one set of limits.

A .npy file is a header with type, order and shape, then the elements; a .npz file is a zip of them. The header is
matched, never evaluated; Python objects are refused; every size is compared with the bytes that are there
before memory is allocated; compressed members may not grow beyond what a file of numbers reasonably holds.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError, ResourceError
from gradscope.files.display import amount, printable

MAGIC = b"\x93NUMPY"
VERSIONS = (b"\x01", b"\x02", b"\x03")
MAX_HEADER_BYTES = 1 << 16  # all that version 1 can say; plain arrays need about 100 bytes
MAX_AXES = 32
MAX_SHAPE_BITS = 60  # of all axes and of the element, so that no index overflows, even where an axis is zero
CHUNK_BYTES = 1 << 20
MAX_RATIO = 200  # deflate packs weights by 1.1, zeros by 1000
FREE_BYTES = 1 << 24  # up to this size any ratio goes
MAX_UNPACKED_BYTES = 4 << 30  # all compressed members of a file together
AGAIN = "the file is cut off or damaged; save or download it again"

# The three fields that numpy writes, in any order; other spellings would need a parser of Python expressions.
DESCR = r"""(?:'descr'|"descr")\s*:\s*(?:'(?P<descr{i}>[^'"\\]{{1,64}})'|"(?P<descr{i}b>[^'"\\]{{1,64}})")"""
ORDER = r"""(?:'fortran_order'|"fortran_order")\s*:\s*(?P<fortran{i}>True|False)"""
SHAPE = r"""(?:'shape'|"shape")\s*:\s*\((?P<shape{i}>[0-9L,\s]*)\)"""
FIELD = "|".join(part.format(i="") for part in (DESCR, ORDER, SHAPE))
FIELDS = re.compile(FIELD)
UNNAMED = re.sub(r"\(\?P<\w+>", "(?:", FIELD)
HEADER = re.compile(rf"\{{\s*(?:{UNNAMED})(?:\s*,\s*(?:{UNNAMED})){{2}}\s*(?:,\s*)?\}}\s*")
RECORDS = re.compile(r"""['"]descr['"]\s*:\s*\[""")
AXIS = re.compile(r"\s*([0-9]{1,20})L?\s*")
NUMBER = re.compile(r"[<>=|]?(?:[biufc][0-9]{1,2}|\?)")
TEXT = re.compile(r"[<>=|]?[SU][0-9]{1,6}")
NOUNS = {"S": "text", "U": "text", "a": "text", "M": "dates", "m": "time spans"}


class Header(NamedTuple):
    """What an array says of itself.

    Attributes:
        shape: length of each axis.
        dtype: type of the elements, in the byte order of the file.
        fortran: whether the first axis varies fastest.
        bytes: length of the header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    bytes: int

    @property
    def claimed(self) -> int:
        """Bytes that the elements should take, as an exact integer."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], what: str, *, text: bool = False) -> Header:
    """Read the header of an array; the stream then stands at the first element.

    Args:
        stream: at the beginning of the array.
        what: what the array is called in messages.
        text: whether arrays of text are allowed.

    Raises:
        InputError: the header is damaged, or the elements are not numbers.
    """
    raw, length = _raw_header(stream, what)
    header = raw.decode("latin-1")
    if RECORDS.search(header):
        raise InputError(f"{what} holds records (a structured array), not plain numbers", "save one plain array")
    fields: dict[str, str] = {}
    for match in FIELDS.finditer(header) if HEADER.fullmatch(header) else ():
        fields |= {key.rstrip("b"): value for key, value in match.groupdict().items() if value is not None}
    if len(fields) < 3:
        raise InputError(f"{what} has a header that is not supported: {printable(header.strip(), 80)}")
    dtype = _dtype(fields["descr"], what, text)
    return Header(_shape(fields["shape"], what), dtype, fields["fortran"] == "True", length)


def _raw_header(stream: IO[bytes], what: str) -> tuple[bytes, int]:
    """Return the text of a header, and the bytes before the first element.

    Raises:
        InputError: it is not that of a .npy array, too long, or cut off.
    """
    start = stream.read(8)
    digits = 2 if start[6:7] == b"\x01" else 4  # versions 2 and 3 have four bytes for the length of the header
    size = stream.read(digits)
    if not start.startswith(MAGIC) or start[6:7] not in VERSIONS or len(start) + len(size) < 8 + digits:
        raise InputError(f"{what} is not a complete .npy array: its first bytes are wrong", AGAIN)
    length = int.from_bytes(size, "little")
    if length > MAX_HEADER_BYTES:
        raise InputError(f"{what} is damaged: its header claims {amount(length)}, a plain array needs about 100 bytes")
    raw = stream.read(length)
    if len(raw) < length:
        raise InputError(f"{what} is not a complete .npy array: its header is cut off", AGAIN)
    return raw, len(start) + len(size) + length


def _shape(text: str, what: str) -> tuple[int, ...]:
    axes = [AXIS.fullmatch(axis) for axis in text.split(",") if axis.strip()]
    if len(axes) > MAX_AXES or not all(axes):
        raise InputError(f"{what} is damaged: its shape cannot be read")
    return tuple(int(axis[1]) for axis in axes if axis)


def _dtype(descr: str, what: str, text: bool) -> np.dtype[Any]:
    kind = descr.lstrip("<>=|")[:1]
    if kind == "O":
        message = f"{what} is an object array, which is refused, because reading it can run code"
        raise InputError(message, "save plain numbers: np.save(file, np.asarray(x, dtype=float))")
    if descr.lstrip("<>=|") == "V2":
        raise InputError(f"{what} has dtype V2 (probably bfloat16), which is not supported", "save it as float32")
    try:
        if NUMBER.fullmatch(descr) or (text and TEXT.fullmatch(descr)):
            return np.dtype(descr)
    except TypeError:  # such as f3
        pass
    raise InputError(f"{what} holds {NOUNS.get(kind, 'the dtype ' + printable(descr, 20))}, not plain numbers")


def read_values(stream: IO[bytes], header: Header, held: int, what: str) -> NDArray[Any]:
    """Read the elements after a header, once its claim was compared with the bytes that are there.

    Args:
        stream: where `read_header` left it.
        header: the header.
        held: bytes after the header.
        what: what the array is called in messages.

    Returns:
        the array, in the byte order and axis order of the file.

    Raises:
        InputError: the file holds less than the header claims.
    """
    if held < header.claimed:
        claim = f"its header claims {amount(header.claimed)} (shape {header.shape})"
        raise InputError(f"{what} is damaged: {claim}, the file holds {amount(max(held, 0))}", AGAIN)
    if sum(n.bit_length() for n in header.shape) + header.dtype.itemsize.bit_length() > MAX_SHAPE_BITS:
        raise InputError(f"{what} is damaged: its shape {printable(header.shape)} is too large for any memory")
    data = np.empty(header.claimed, dtype=np.uint8)
    done = 0
    while done < data.size:
        chunk = stream.read(min(CHUNK_BYTES, data.size - done))
        if not chunk:
            raise InputError(f"{what} ends after {amount(done)} of {amount(header.claimed)}", AGAIN)
        data[done : done + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        done += len(chunk)
    if not data.size:
        return np.zeros(header.shape, header.dtype)
    return data.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def check_npz(entries: Mapping[str, zipfile.ZipInfo], file_bytes: int) -> None:
    """Check the sizes in the directory of a .npz file, before anything is unpacked.

    Args:
        entries: members of the zip file.
        file_bytes: size of the file.

    Raises:
        InputError: a member is compressed in another way than numpy does, or larger than the file.
        ResourceError: a compressed member, or all together, are over the limit.
    """
    unpacked = 0
    for name, entry in entries.items():
        shown = printable(name)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"the array {shown} is compressed in a way that numpy does not use", "save it with numpy.savez"
            )
        if entry.compress_type == zipfile.ZIP_STORED:
            if entry.file_size > file_bytes:
                raise InputError(f"not a complete zip file: {shown} is larger than the file", AGAIN)
            continue
        unpacked += entry.file_size
        if entry.file_size > max(FREE_BYTES, MAX_RATIO * entry.compress_size):
            sizes = f"from {amount(entry.compress_size)} to {amount(entry.file_size)}, more than {MAX_RATIO}:1"
            raise ResourceError(f"over the limit: {shown} unpacks {sizes}", "save it uncompressed, with numpy.savez")
    if unpacked > MAX_UNPACKED_BYTES:
        sizes = f"{amount(unpacked)}; the limit is {amount(MAX_UNPACKED_BYTES)}"
        raise ResourceError(f"over the limit: the file unpacks to {sizes}", "save it uncompressed, with numpy.savez")


def read_member(stream: IO[bytes], header: Header, entry: zipfile.ZipInfo, what: str) -> NDArray[Any]:
    """Read the elements of a member of a .npz file, to its end, where the checksum is compared.

    Raises:
        InputError: the member does not hold as much as its header claims.
    """
    held = entry.file_size - header.bytes
    array = read_values(stream, header, held, what)
    if held != header.claimed:
        claim = f"its header claims {amount(header.claimed)}, the member holds {amount(held)}"
        raise InputError(f"{what} is damaged: {claim}", AGAIN)
    stream.read(1)  # zipfile compares the checksum where it meets the end
    return array
