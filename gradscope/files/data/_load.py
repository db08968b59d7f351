"""Read a user's input file, whatever its format.

The content decides where it can be recognised, the suffix where it cannot.
"""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gradscope.errors import InputError, ResourceError, UsageError
from gradscope.files.data._base import Options, Raw, listing, opened, printable
from gradscope.files.data._prepare import Inputs, NonFinite, converted, prepare, records
from gradscope.plugins import load, names

__all__ = ["Inputs", "NonFinite", "load_array", "load_inputs", "load_tokens", "split_key", "width_of"]

TEXT = ("csv", "tsv")
PANDAS = "convert it: python -c \"import pandas; pandas.{reader}('in{suffix}').to_csv('out.csv', index=False)\""
FOREIGN = {
    ".parquet": ("a Parquet file", PANDAS.format(reader="read_parquet", suffix=".parquet")),
    ".gz": ("compressed", "unpack it first: gunzip FILE"),
    ".mat": ("a MATLAB file", "convert it: scipy.io.loadmat, then numpy.save"),
    ".h5": ("an HDF5 file", "convert it: h5py, then numpy.save"),
}
MARKS = {b"PAR1\x15": ".parquet", b"\x1f\x8b": ".gz", b"\x89HDF\r\n\x1a\n": ".h5", b"MATLAB 5.0": ".mat"}


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
        delimiter: of a text table; found out when not given.
        decimal: decimal sign of a text table; found out when not given.
        nan: what to do with numbers that are not finite: 'keep', 'drop' (their steps), 'zero' or 'error'.
        dtype: float64 or float32.
        key: which array of an .npz.
        max_bytes: the largest array that may be made.

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
    options = Options(input_size, key, columns, delimiter, decimal, max_bytes)
    what = f"'{printable(path.name)}'"
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
    array = _read(path, Options(1, key)).array
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool(np.isfinite(array).all()) and bool((array == np.rint(array)).all())
    )
    if array.ndim not in (1, 2) or not array.size or not whole:
        found = f"{array.dtype} of shape {array.shape}"
        raise InputError(f"{what} holds {found}", "tokens are whole numbers of shape (T,) or (B, T)")
    if array.ndim == 2 and array.shape[1] == 1:  # one column of a table is one sequence
        array = array.T
    return np.atleast_2d(array).astype(np.int64)


def width_of(path: str | Path, *, key: str | None = None, columns: str | None = None) -> int:
    """Return the number of inputs that a file has: the last axis of its array, 1 for a single series.

    Raises:
        InputError: the file cannot be read, or is not safe.
        ResourceError: it is over the memory limit.
        UsageError: an option cannot be.
    """
    path, key = split_key(path) if key is None else (Path(path), key)
    shape = _read(path, Options(1, key, columns)).array.shape
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
        if _format(path, _head(path)) != "npy":
            raise InputError(f"{what} is not a .npy file", "write it with numpy.save")
        raw: Raw = load("data", "npy").read(path, Options(1, max_bytes=max_bytes))
        with np.errstate(all="ignore"):
            values = converted(raw.array, dtype, what, [])
    except MemoryError as error:
        raise ResourceError(f"there is not enough memory to read {what}") from error
    if bad := records(values):
        counts = " and ".join(f"{r['count']} {r['kind']}" for r in bad)
        raise InputError(f"{what} holds {counts}; the first is at {tuple(bad[0]['first'])}")
    return values


def split_key(path: str | Path) -> tuple[Path, str | None]:
    """Split 'FILE.npz:KEY', unless a file of that whole name exists."""
    text = str(path)
    place = text.lower().find(".npz:")
    if place < 0 or _exists(Path(text)):
        return Path(path), None
    return Path(text[: place + 4]), text[place + 5 :]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _read(path: Path, options: Options) -> Raw:
    name = _format(path, _head(path))
    if options.key is not None and name != "npz":
        raise UsageError(f"'{printable(path.name)}' is not an .npz file and has no arrays to choose from")
    if name not in TEXT and (options.delimiter is not None or options.decimal is not None):
        raise UsageError(f"--delimiter and --decimal are for text tables, and '{printable(path.name)}' is {name}")
    raw: Raw = load("data", name).read(path, options)
    suffix = path.suffix.lower()
    if suffix in load("data", name).SUFFIXES:
        return raw
    note = f"'{printable(path.name)}' was recognised as {name} by its content"
    return Raw(raw.array, raw.columns, (note, *raw.notes), raw.warnings, raw.hint)


def _head(path: Path) -> bytes:
    """Return the first bytes, or say what is nearby when there is no such file."""
    try:
        missing = not path.exists() and not path.is_symlink()
    except (OSError, ValueError):
        missing = False  # opening it gives the reason
    if missing:
        hint = f"did you mean {near}?" if (near := _neighbours(path)) else ""
        raise InputError(f"there is no file '{printable(path)}'", hint)
    with opened(path) as (stream, _):
        return stream.read(512)


def _neighbours(path: Path) -> str:
    try:
        known = [p.name for p in islice(path.parent.iterdir(), 10_000)]
    except OSError:
        return ""
    return listing(difflib.get_close_matches(path.name, known, n=3, cutoff=0.6))


def _format(path: Path, head: bytes) -> str:
    """Name the format by content, then by suffix.

    Raises:
        InputError: it is none that is known.
    """
    shown, suffix = f"'{printable(path.name)}'", path.suffix.lower()
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html")):
        raise InputError(f"{shown} is an HTML page, perhaps of a failed download", "download it again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{shown} is a git-lfs pointer, not the data", "run: git lfs pull")
    formats = {name: load("data", name) for name in names("data")}
    for name, module in formats.items():
        if head.startswith(tuple(module.MAGIC)):
            return name
    for mark, foreign in MARKS.items():
        suffix = foreign if head.startswith(mark) else suffix
    if suffix in FOREIGN:
        kind, hint = FOREIGN[suffix]
        raise InputError(f"{shown} is {kind}; this format is not supported yet", hint)
    for name, module in formats.items():
        if suffix in module.SUFFIXES:
            return name
    known = ", ".join(s for module in formats.values() for s in module.SUFFIXES)
    raise InputError(f"{shown}: the format is not known", f"supported: {known}")
