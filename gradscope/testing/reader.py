"""Does a reader of checkpoints, or of data, keep the contract of its room?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gradscope.errors import GradscopeError
from gradscope.files.checkpoints._base import Tensors
from gradscope.files.data._base import DataOptions, RawData
from gradscope.files.opening import head_of
from gradscope.files.unsupported import refuse_by_content
from gradscope.testing.plugin import check_call, check_docstring, require

__all__ = ["check_reader"]

CUTS = 16  # truncated copies of the example, evenly spread
CHANGES = 32  # copies of it with four bytes changed
STRANGERS = {  # heads of files that no reader may claim
    "an empty head": b"",
    "zeros": bytes(64),
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(16),
    "text": b"hello, world\n",
}


def check_reader(
    reader: ModuleType, example: str | Path, *, room: str = "checkpoints", input_size: int = 1, seed: int = 0
) -> None:
    """Check a reader's module: what it defines, what it answers, and that damaged files end in a plain error.

    Args:
        reader: the module of the plug-in.
        example: a complete file of the format, which is copied and damaged, never changed.
        room: "checkpoints", or "data".
        input_size: numbers per step that data are read for.
        seed: of the damage.

    Raises:
        AssertionError: a rule of the room is broken; the message says which.
    """
    example = Path(example)
    data = room == "data"
    check_docstring(reader)
    check_call(reader, "sniff", "head", "path")
    check_call(reader, "read", *(("path", "options") if data else ("path",)))
    suffixes = getattr(reader, "SUFFIXES", None)
    well_formed = isinstance(suffixes, tuple) and all(
        isinstance(s, str) and s.startswith(".") and s == s.lower() for s in suffixes
    )
    require(well_formed and bool(suffixes), f"SUFFIXES must be a tuple such as ('.h5',), not {suffixes!r}")
    _check_sniff(reader, example, data)
    content = example.read_bytes()
    first, second = (_read(reader, example, input_size if data else None) for _ in range(2))
    _check_equal(first, second)
    require(example.read_bytes() == content, "read must not change the file")
    with tempfile.TemporaryDirectory(prefix="gradscope-") as folder:
        damaged = Path(folder) / f"damaged{suffixes[0]}"  # type: ignore[index]
        for what, raw in _damage(content, seed):
            damaged.write_bytes(raw)
            _check_damaged(reader, damaged, what, input_size if data else None)


def _check_sniff(reader: ModuleType, example: Path, data: bool) -> None:
    """Check that the reader is asked to read the example, by its content or its name, and no file of another kind."""
    head = head_of(example, "file")
    nowhere = Path("no-such-folder") / "file.other"
    known = reader.sniff(head, example) is True
    named = example.name.lower().endswith(reader.SUFFIXES)
    require(known or named, f"neither sniff nor SUFFIXES recognise {example.name}")
    if not known and reader.__name__.startswith("gradscope."):  # of a built-in reader only `sniff` precedes that table
        try:
            refuse_by_content(head, example, data=data)
        except GradscopeError as error:
            text = f"sniff must recognise {example.name}: files.unsupported refuses its content ({error.message})"
            raise AssertionError(text) from error
    for what, other in STRANGERS.items():
        try:
            answer = reader.sniff(other, nowhere)
        except Exception as error:  # whatever a plug-in does
            raise AssertionError(f"sniff must not fail on {what}: {type(error).__name__}: {error}") from error
        require(answer is False, f"sniff must return False for {what} with another suffix, not {answer!r}")


def _read(reader: ModuleType, path: Path, input_size: int | None) -> Tensors | RawData:
    """Return what the reader makes of a file, checked."""
    if input_size is not None:
        raw = reader.read(path, DataOptions(input_size))
        require(isinstance(raw, RawData), f"read must return gradscope.files.RawData, not {type(raw).__name__}")
        _check_array("the array", raw.array)
        _check_sentences(raw.notes)
        return raw  # type: ignore[no-any-return]
    tensors = reader.read(path)
    require(isinstance(tensors, Tensors), f"read must return gradscope.files.Tensors, not {type(tensors).__name__}")
    for name, array in tensors.arrays.items():
        require(isinstance(name, str), f"names of tensors are strings, not {name!r}")
        _check_array(name, array)
    require(isinstance(tensors.notes, list), "notes must be a list, to which the caller adds")
    _check_sentences(tensors.notes)
    return tensors  # type: ignore[no-any-return]


def _check_array(name: str, array: Any) -> None:
    require(isinstance(array, np.ndarray), f"{name} must be a numpy array, not {type(array).__name__}")
    require(array.dtype.kind != "O", f"{name} must not hold Python objects")


def _check_sentences(notes: Any) -> None:
    for note in notes:
        require(isinstance(note, str) and note.isprintable(), f"a note must be printable text, not {note!r}")


def _check_equal(first: Tensors | RawData, second: Tensors | RawData) -> None:
    """Check that reading a file twice gives the same arrays."""
    one = first.arrays if isinstance(first, Tensors) else {"": first.array}
    two = second.arrays if isinstance(second, Tensors) else {"": second.array}
    same = list(one) == list(two) and all(one[k].tobytes() == two[k].tobytes() for k in one)
    require(same, "reading a file twice must give the same arrays in the same order")


def _damage(content: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield damaged copies of a file, each with what was done to it."""
    rng = np.random.default_rng(seed)
    for size in np.linspace(1, max(len(content) - 1, 1), CUTS, dtype=int):
        yield f"the file cut after {size} bytes", content[:size]
    for _ in range(CHANGES):
        changed = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, len(changed), 4)
        changed[places] = rng.integers(0, 256, 4, dtype=np.uint8)
        yield f"bytes {sorted(places.tolist())} changed", changed.tobytes()


def _check_damaged(reader: ModuleType, path: Path, what: str, input_size: int | None) -> None:
    """Check that a damaged file is read or refused, and that nothing else happens."""
    try:
        _read(reader, path, input_size)
    except GradscopeError as error:
        require(bool(error.message) and str(error).isprintable(), f"with {what}, the message is not printable text")
    except AssertionError:
        raise
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
        text = f"with {what}, {reader.__name__} must raise gradscope.errors.InputError, not {raised}"
        raise AssertionError(text) from error
