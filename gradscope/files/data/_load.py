"""What input sequences does a file hold, whatever its format?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gradscope import plugins
from gradscope.errors import InputError, ResourceError, UsageError
from gradscope.files.data import npy
from gradscope.files.data._base import DataOptions, RawData
from gradscope.files.data._prepare import Inputs, converted, prepare, shaped
from gradscope.files.display import printable
from gradscope.files.opening import head_of, reading_error
from gradscope.files.recognise import plugin_errors, reader_of
from gradscope.numerics.nonfinite import nonfinite_in

SPECIAL = {  # options that only some readers take: what a format has that does not take them
    "key": "has no arrays to choose from",
    "delimiter": "takes no --delimiter: that is for text tables",
    "decimal": "takes no --decimal: that is for text tables",
}


def load_inputs(
    path: str | Path,
    *,
    input_size: int,
    layout: str | None = None,
    columns: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    nan: str = "keep",
    dtype: DTypeLike = np.float64,
    key: str | None = None,
    max_bytes: int = 4 << 30,
) -> Inputs:
    """Read input sequences of shape (B, T, m) from a file.

    Args:
        path: the file; 'FILE.npz:KEY' picks one of its arrays, as `key` does.
        input_size: numbers per step that the model takes, m.
        layout: axes of a 3-D array: 'btf' (default) or 'tbf'.
        columns: which columns, by name or 0-based index, separated by commas.
        delimiter: of a text table; detected if not given.
        decimal: decimal sign of a text table; detected if not given.
        nan: what to do with numbers that are not finite: 'keep', 'drop' (their steps), 'zero' or 'error'.
        dtype: float64 or float32.
        key: which array of an .npz.
        max_bytes: size of the largest array that may be allocated.

    Raises:
        InputError: the file cannot be read, is not safe, or does not fit.
        ResourceError: it is over the memory limit.
        UsageError: an option cannot be.
    """
    if input_size < 1:
        raise UsageError(f"the input size must be at least 1, not {input_size}")
    if key is None:
        path, key = split_key(path)
    path = Path(path)
    what = f"'{printable(path.name)}'"

    def check(raw: RawData) -> None:
        shaped(raw, input_size, what, layout, [])

    options = DataOptions(input_size, key, columns, delimiter, decimal, max_bytes, check)
    try:
        with np.errstate(all="ignore"):  # overflow is reported, and signalling NaNs are data
            raw = _read(path, options)
            return prepare(raw, options, what, layout, nan, dtype)
    except MemoryError as error:
        raise ResourceError(f"there is not enough memory to read {what}", "use fewer steps or sequences") from error


def load_tokens(path: str | Path, *, key: str | None = None) -> NDArray[np.int64]:
    """Read sequences of token numbers, (B, T), from a file of (T,) or (B, T) integers.

    Raises:
        InputError: the file cannot be read, or holds something else.
        ResourceError: it is over the memory limit.
        UsageError: an option cannot be.
    """
    path, key = split_key(path) if key is None else (Path(path), key)
    what = f"'{printable(path.name)}'"
    array = _read(path, DataOptions(1, key)).array
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool(np.isfinite(array).all()) and bool((array == np.rint(array)).all())
    )
    if array.ndim not in (1, 2) or not array.size or not whole:
        raise InputError(
            f"{what} holds {array.dtype} of shape {array.shape}", "tokens are whole numbers of shape (T,) or (B, T)"
        )
    if array.ndim == 2 and array.shape[1] == 1:  # one column of a table is one sequence
        array = array.T
    return np.atleast_2d(array).astype(np.int64)


def width_of(
    path: str | Path,
    *,
    key: str | None = None,
    columns: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
) -> int:
    """Return the number of inputs that a file has: the last axis of its array, 1 for a single series.

    Args:
        path: the file, as for `load_inputs`.
        key: likewise.
        columns: likewise.
        delimiter: likewise.
        decimal: likewise.

    Raises:
        InputError: the file cannot be read, or is not safe.
        ResourceError: it is over the memory limit.
        UsageError: an option cannot be.
    """
    path, key = split_key(path) if key is None else (Path(path), key)
    shape = _read(path, DataOptions(1, key, columns, delimiter, decimal)).array.shape
    return shape[-1] if len(shape) > 1 else 1


def load_array(
    path: str | Path, *, dtype: DTypeLike = np.float64, max_bytes: int = 4 << 30
) -> NDArray[np.floating[Any]]:
    """Read one plain .npy array of finite real numbers, such as the gradient of a loss.

    Raises:
        InputError: the file cannot be read, is not a .npy of real numbers, or holds nan or inf.
        ResourceError: it is over the memory limit.
        UsageError: `dtype` is not float32 or float64.
    """
    path = Path(path)
    what = f"'{printable(path.name)}'"
    try:
        if not npy.sniff(head_of(path, "data file"), path):
            raise InputError(f"{what} is not a .npy file", "write it with numpy.save")
        raw = npy.read(path, DataOptions(1, max_bytes=max_bytes))
        with np.errstate(all="ignore"):
            values = converted(raw.array, dtype, what, [])
    except MemoryError as error:
        raise ResourceError(f"there is not enough memory to read {what}") from error
    if bad := nonfinite_in("data", values):
        counts = " and ".join(f"{r.count} {r.kind}" for r in bad)
        raise InputError(f"{what} holds {counts}; the first is at {bad[0].first}")
    return values


def split_key(path: str | Path) -> tuple[Path, str | None]:
    """Split 'FILE.npz:KEY', unless a file of that whole name exists; likewise for every format with keys."""
    text = str(path)
    if ":" not in text or _exists(Path(text)):
        return Path(path), None
    suffixes = [s for _, reader in plugins.loaded("data") if "key" in _options(reader) for s in reader.SUFFIXES]
    places = [(at, at + len(s)) for s in suffixes if (at := text.lower().find(f"{s}:")) >= 0]
    if not places:
        return Path(path), None
    _, end = min(places)
    return Path(text[:end]), text[end + 1 :]


def _options(reader: ModuleType) -> Collection[str]:
    """Return the options of `SPECIAL` that a reader takes."""
    return getattr(reader, "OPTIONS", ())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _read(path: Path, options: DataOptions) -> RawData:
    name, reader = reader_of("data", head_of(path, "data file"), path)
    shown = f"'{printable(path.name)}'"
    for option in SPECIAL:
        if getattr(options, option) is not None and option not in _options(reader):
            raise UsageError(f"{shown} is {name}, which {SPECIAL[option]}")
    try:
        with plugin_errors("data", name):
            raw: RawData = reader.read(path, options)
            if not isinstance(raw, RawData):
                raise TypeError(f"read returns {type(raw).__name__}, not gradscope.files.RawData")
    except OSError as error:
        raise reading_error(path, error) from error
    if path.name.lower().endswith(tuple(reader.SUFFIXES)):
        return raw
    note = f"{shown} was recognised as {name} by its content, despite its suffix"
    return replace(raw, notes=(note, *raw.notes))
