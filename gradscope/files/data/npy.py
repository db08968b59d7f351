"""NumPy's .npy: one array, as np.save writes it."""

from __future__ import annotations

from pathlib import Path

from gradscope.files.data._base import DataOptions, RawData, check_size, pick
from gradscope.files.display import amount, printable
from gradscope.files.npy import MAGIC, read_header, read_values
from gradscope.files.opening import opened

SUFFIXES = (".npy",)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file begins as .npy does."""
    return head.startswith(MAGIC)


def read(path: Path, options: DataOptions) -> RawData:
    """Read the array.

    Raises:
        InputError: the file cannot be read, is damaged, or does not hold numbers.
        ResourceError: the array is over the memory limit.
        UsageError: there are no such columns.
    """
    what = f"'{printable(path.name)}'"
    with opened(path, "data file") as (stream, size):
        header = read_header(stream, what)
        held = size - header.bytes
        check_size(header, held, options, what)
        array = read_values(stream, header, held, what)
    extra = held - header.claimed
    notes = (f"{amount(extra)} after the end of the array were ignored",) if extra else ()
    return RawData(pick(array, options), notes=notes)
