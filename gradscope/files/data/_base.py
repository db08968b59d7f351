"""What do all data formats share?  Their options, the array that they return, and the choice of columns."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError, ResourceError, UsageError
from gradscope.files.display import amount, listing, printable
from gradscope.files.npy import Header
from gradscope.plugins import suggest

Array = NDArray[Any]


@dataclass(frozen=True)
class DataOptions:
    """What the user said of a file; None: it is detected.

    `key`, `delimiter` and `decimal` are for readers that name them in OPTIONS; the others refuse them.

    Attributes:
        input_size: numbers per step that the model takes.
        key: which array of a file with several.
        columns: names or 0-based indices, separated by commas.
        delimiter: what stands between the cells of a text table.
        decimal: the decimal sign of a text table, '.' or ','.
        max_bytes: size of the largest array that may be allocated.
        check: raises if an array of this shape and type does not fit; called before elements are read, if the
            file says its shape.
    """

    input_size: int
    key: str | None = None
    columns: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    max_bytes: int = 4 << 30
    check: Callable[[RawData], object] | None = None


@dataclass(frozen=True, eq=False)
class RawData:
    """A file's numbers as they are.

    Attributes:
        array: of any shape and any numeric dtype.
        columns: names of the last axis; empty where the file has none.
        notes: sentences on what was assumed.
        warnings: (code, sentence).
        hint: what to try when the shape turns out wrong.
    """

    array: Array
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    hint: str = ""


def fit(size: int, options: DataOptions, what: str) -> None:
    """Check the size of an array, in bytes, before it is allocated.

    Raises:
        ResourceError: it is over the limit.
    """
    if size > options.max_bytes:
        message = f"{what} needs {amount(size)}; the limit is {amount(options.max_bytes)}"
        raise ResourceError(message, "use fewer steps, sequences or columns, or raise the limit with --max-memory")


def check_size(header: Header, held: int, options: DataOptions, what: str) -> None:
    """Check the size that the header of an array claims; a claim beyond the file is left to `read_values`.

    Raises:
        InputError: an axis has length zero, or the shape does not fit the model.
        ResourceError: the array is over the memory limit.
    """
    if 0 in header.shape:
        raise InputError(f"{what} has shape {header.shape}: it is empty (an axis has length zero)")
    if held >= header.claimed:
        fit(header.claimed, options, what)
        if options.check is not None and options.columns is None:
            options.check(RawData(np.broadcast_to(np.zeros((), header.dtype), header.shape)))  # without memory


def pick(array: Array, options: DataOptions) -> Array:
    """Return the columns that were asked for; the last axis of an array has indices and no names.

    Raises:
        UsageError: the array has no columns, or not those.
    """
    if options.columns is None:
        return array
    if array.ndim < 2:
        raise UsageError("--columns needs data with two or more axes", f"this array has shape {array.shape}")
    return array[..., pick_columns(options.columns, (), array.shape[-1])]


def pick_columns(wanted: str, names: Sequence[str], width: int) -> list[int]:
    """Return the indices of the columns that `--columns` names: each by name if there is one, else 0-based index.

    Raises:
        UsageError: a column is unknown, ambiguous or named twice.
    """
    try:
        fields = [f.strip() for f in next(csv.reader([wanted], skipinitialspace=True), [])]
    except csv.Error as error:
        raise UsageError(f"--columns '{printable(wanted)}': {error}") from error
    picked: list[int] = []
    for field in fields:
        index = _column(field, names, width)
        if index in picked:
            raise UsageError(f"--columns: '{printable(field)}' is named twice")
        picked.append(index)
    if not picked:
        raise UsageError("--columns is empty", "give names or 0-based indices: --columns a,b")
    return picked


def _column(field: str, names: Sequence[str], width: int) -> int:
    """Return the index of one column.

    Raises:
        UsageError: no column has that name, or several have.
    """
    if names.count(field) > 1:
        raise UsageError(f"--columns: several columns are called '{printable(field)}'", "give the 0-based index")
    if field in names:
        return names.index(field)
    if field.isascii() and field.isdigit() and len(field) < 10 and int(field) < width:
        return int(field)
    hint = f"columns are numbered 0 to {width - 1}"
    if names:
        hint = f"{printable(suggest(field, [n.lower() for n in names]))} known: {listing(names)}".strip()
    raise UsageError(f"--columns: there is no column '{printable(field)}'", hint)
