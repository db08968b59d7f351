"""Which input sequences, of shape (B, T, m), are in the array of a file?  What is assumed becomes a note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gradscope.errors import InputError, UsageError
from gradscope.files.data._base import Array, DataOptions, RawData, fit
from gradscope.numerics.nonfinite import NonFinite, nonfinite_in

LAYOUTS = ("btf", "tbf")
POLICIES = ("keep", "drop", "zero", "error")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Input sequences, ready to drive a cell.

    Attributes:
        values: shape (B, T, m), C-contiguous.
        notes: sentences on what was assumed or converted.
        nonfinite: what is not finite in `values`; `first` is (sequence, step, column).
        warnings: (code, sentence).
        columns: names of the last axis; empty where the file has none.
    """

    values: NDArray[np.floating[Any]]
    notes: tuple[str, ...] = ()
    nonfinite: tuple[NonFinite, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()


def prepare(raw: RawData, options: DataOptions, what: str, layout: str | None, nan: str, dtype: DTypeLike) -> Inputs:
    """Shape, convert and check an array.

    Raises:
        InputError: the array does not fit the model, or holds what `nan` does not allow.
        ResourceError: it is over the memory limit.
        UsageError: `layout`, `nan` or `dtype` cannot be.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"--layout must be btf or tbf, not '{layout}'")
    if nan not in POLICIES:
        raise UsageError(f"--nan must be one of {', '.join(POLICIES)}, not '{nan}'")
    notes = list(raw.notes)
    array = shaped(raw, options.input_size, what, layout, notes)
    fit(array.size * np.dtype(dtype).itemsize, options, what)
    values = converted(array, dtype, what, notes)
    warnings = list(raw.warnings)
    if layout is not None and raw.array.ndim < 3:
        axes = "1 axis" if raw.array.ndim == 1 else f"{raw.array.ndim} axes"
        warnings.append(("GS-NO-EFFECT", f"--layout has no effect on an array with {axes}: it is one sequence."))
    if nan != "keep":
        values = _repaired(values, raw.columns, what, nan, warnings)
    warnings.extend(_no_drive(values, what))
    return Inputs(
        np.ascontiguousarray(values), tuple(notes), tuple(nonfinite_in("data", values)), tuple(warnings), raw.columns
    )


def shaped(raw: RawData, size: int, what: str, layout: str | None, notes: list[str]) -> Array:
    """Return an array as (sequences, steps, features); what is assumed goes to `notes`.

    Raises:
        InputError: it has too many axes, or not `size` features.
    """
    array = raw.array
    shape = array.shape
    if array.ndim == 0 or array.ndim > 3:
        hint = "give (steps, features), or (sequences, steps, features)"
        raise InputError(f"{what} has {array.ndim} axes (shape {shape}); 1 to 3 are supported", hint)
    if 0 in shape:
        raise InputError(f"{what} has shape {shape}: it is empty (an axis has length zero)")
    width = shape[-1] if array.ndim > 1 else 1
    if width != size:
        raise _misfit(raw, size, what)
    if array.ndim == 3:
        if layout is None:
            notes.append(f"shape {shape} was read as (sequence, step, feature); --layout tbf puts the steps first")
        return array.swapaxes(0, 1) if layout == "tbf" else array
    return array.reshape(1, shape[0], width)


def _misfit(raw: RawData, size: int, what: str) -> InputError:
    """Return the error for an array whose last axis is not the model's input size, with what may have been meant."""
    array, shape = raw.array, raw.array.shape
    if array.dtype.kind in "iu" and array.ndim < 3:
        message = f"{what} holds integers of shape {shape}; a model with input size {size} needs their embeddings"
        hint = f"pass --embedding KEY, a matrix of the checkpoint; or embed the tokens and save (steps, {size}) numbers"
        return InputError(message, hint)
    if array.ndim == 1:
        message = f"{what} is one column (shape {shape}), but the model's input size is {size}"
        return InputError(message, raw.hint or f"save it with shape (steps, {size})")
    message = f"{what} has {shape[-1]} features per step (shape {shape}), but the model's input size is {size}"
    hints = [raw.hint, _other_axis(shape, size, bool(raw.hint))]
    return InputError(message, "; or ".join(hint for hint in hints if hint))


def _other_axis(shape: tuple[int, ...], size: int, table: bool) -> str:
    """Return how to move an axis that has the model's input size to the end; "" if there is none."""
    axes = [axis for axis, n in enumerate(shape[:-1]) if n == size]
    if axes and len(shape) == 2:
        return f"the first axis has length {size}: transpose the array (x.T)"
    if axes:
        return f"axis {axes[-1]} has length {size}: move it to the end (numpy.moveaxis(x, {axes[-1]}, -1))"
    if size == 1 and len(shape) == 2 and not table:
        return f"if these are {shape[0]} sequences of single numbers, save them with shape {(*shape, 1)}"
    return ""


def converted(array: Array, dtype: DTypeLike, what: str, notes: list[str]) -> NDArray[np.floating[Any]]:
    """Convert to a real floating dtype in native byte order, C-contiguous, and say so in `notes`.

    Raises:
        InputError: the numbers are complex.
        UsageError: `dtype` is not float32 or float64.
    """
    wanted = np.dtype(dtype)
    if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise UsageError(f"inputs are float32 or float64, not {wanted}")
    if array.dtype.kind == "c":
        raise InputError(f"{what} holds complex numbers, not real ones", "save real and imaginary parts as columns")
    values = np.ascontiguousarray(array, dtype=wanted)
    if array.dtype.newbyteorder("=") != wanted:
        notes.append(f"converted from {array.dtype.newbyteorder('=')} to {wanted}")
        grew = int(np.count_nonzero(np.isinf(values))) - int(np.count_nonzero(np.isinf(array)))
        if grew:
            notes.append(f"{grew} numbers overflow {wanted} and became infinite")
    return values


def _repaired(
    values: NDArray[np.floating[Any]], columns: tuple[str, ...], what: str, nan: str, warnings: list[tuple[str, str]]
) -> NDArray[np.floating[Any]]:
    bad = nonfinite_in("data", values)
    if not bad:
        return values
    counts = " and ".join(f"{r.count} {r.kind}" for r in bad)
    sequence, step, column = min(r.first for r in bad)
    name = f" ('{columns[column]}')" if columns else ""
    message = f"{what} holds {counts}; the first is in sequence {sequence}, step {step}, column {column}{name}"
    if nan == "error":
        raise InputError(message, "clean the data, or pass --nan drop or --nan zero")
    finite = np.isfinite(values)
    if nan == "zero":
        warnings.append(("GS-DATA-NONFINITE", f"{message}; they were set to zero"))
        return np.where(finite, values, values.dtype.type(0))
    whole = finite.all(axis=2)
    if not (whole == whole[0]).all():
        raise InputError(f"{message}; the steps differ between sequences and cannot be dropped", "use --nan zero")
    if not whole[0].any():
        raise InputError(f"{message}; every step holds one, so no step is left", "clean the data, or use --nan zero")
    dropped = int(np.count_nonzero(~whole[0]))
    warnings.append(("GS-DATA-NONFINITE", f"{message}; {dropped} of {len(whole[0])} steps were dropped"))
    return values[:, whole[0]]


def _no_drive(values: Array, what: str) -> Iterable[tuple[str, str]]:
    if not values.any():
        return [("GS-NO-DRIVE", f"{what} is zero everywhere: the cell runs autonomously")]
    if values.shape[1] > 1 and (values == values[:, :1]).all():
        return [("GS-NO-DRIVE", f"{what} is constant in time: the cell runs autonomously with a fixed offset")]
    return []
