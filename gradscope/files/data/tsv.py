"""Tab-separated values."""

from __future__ import annotations

from pathlib import Path

from gradscope.files.data._base import DataOptions, RawData
from gradscope.files.data._delimited import read_table

SUFFIXES = (".tsv", ".tab")


def sniff(head: bytes, path: Path) -> bool:
    """Return False: any text may be a table, so the name decides."""
    return False


def read(path: Path, options: DataOptions) -> RawData:
    """Read the table: one sequence, a row for every step.

    Raises:
        InputError: the file cannot be read, or is not a table of numbers.
        ResourceError: the table is over the memory limit.
        UsageError: there are no such columns, or the delimiter and decimal sign cannot be.
    """
    return read_table(path, options, options.delimiter or "\t")
