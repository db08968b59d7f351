"""What members does a zip file have?  Its directory and its uncompressed bytes, with plain error messages."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError
from gradscope.files.display import printable

AGAIN = "download or save it again"
LOCAL = struct.Struct("<4s5H3L2H")  # local file header, APPNOTE 4.3.7


@contextmanager
def zip_errors() -> Iterator[None]:
    """Turn everything that `zipfile` raises on a damaged file into an `InputError`."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(f"an unsupported kind of zip file ({printable(error)})", AGAIN) from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, OverflowError) as error:
        reason = printable(error) or "it is truncated"
        raise InputError(f"not a complete zip file ({reason})", AGAIN) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # An offset in the directory that no file can have: `zipfile` seeks there, and the system refuses.
        raise InputError("not a complete zip file (a member is not where the directory says)", AGAIN) from None


def first_member(head: bytes) -> bytes | None:
    """Return the name of the first member of a zip file, cut where `head` ends; None if it is no zip file."""
    size = int.from_bytes(head[26:28], "little")
    return head[LOCAL.size : LOCAL.size + size] if head.startswith(b"PK\x03\x04") else None


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return {name: entry} of a zip file; names are only keys, nothing is ever extracted.

    Raises:
        InputError: a member is encrypted, or two have the same name.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = printable(entry.filename)
        if entry.flag_bits & 0x1:
            raise InputError(f"the zip member {name} is encrypted", "save it without a password")
        if entry.filename in entries:
            raise InputError(f"two zip members have the name {name}", AGAIN)
        entries[entry.filename] = entry
    return entries


def stored(data: NDArray[np.uint8], entry: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """Return the bytes of an uncompressed member in place.

    Raises:
        InputError: the member is compressed, or does not lie in the file.
    """
    name = printable(entry.filename)
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise InputError(f"the zip member {name} is compressed, which torch.save never does", "save the file again")
    start = entry.header_offset
    header = data[start : start + LOCAL.size].tobytes() if 0 <= start < len(data) else b""
    if len(header) < LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise InputError(f"not a complete zip file: the member {name} is not where the directory says", AGAIN)
    *_, name_size, extra_size = LOCAL.unpack(header)
    start += LOCAL.size + name_size + extra_size
    if start + entry.file_size > len(data):
        raise InputError(f"not a complete zip file: the member {name} goes past its end", AGAIN)
    content = data[start : start + entry.file_size]
    if entry.CRC not in (0, zlib.crc32(content.data)):  # 0: torch wrote no checksums
        raise InputError(f"the zip member {name} is damaged: its checksum differs", AGAIN)
    return content
