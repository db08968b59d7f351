"""NumPy's .npy: one array, as np.save writes it."""

from __future__ import annotations

from pathlib import Path

from gradscope.files.data._base import Options, Raw, amount, fit, opened, printable
from gradscope.files.data._numpy_format import MAGIC_BYTES, read_header, read_values, select

SUFFIXES = (".npy",)
MAGIC = (MAGIC_BYTES,)


def read(path: Path, options: Options) -> Raw:
    """Read the array.

    Raises:
        InputError: the file cannot be read, is damaged, or does not hold numbers.
        ResourceError: the array is over the memory limit.
        UsageError: there are no such columns.
    """
    what = f"'{printable(path.name)}'"
    with opened(path) as (stream, size):
        header = read_header(stream, what)
        held = size - header.length
        if held >= header.claimed:  # a lie about the size is the file's fault, not the memory's
            fit(header.claimed, options, what)
        array = read_values(stream, header, held, what)
    extra = held - header.claimed
    notes = (f"{amount(extra)} after the end of the array were ignored",) if extra else ()
    return Raw(select(array, options), notes=notes)
