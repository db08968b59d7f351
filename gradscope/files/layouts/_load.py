"""From a file to its recurrent networks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope import plugins
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.files.checkpoints._base import Array, Tensors, open_checkpoint, type_name
from gradscope.files.checkpoints._state import choose_state
from gradscope.files.display import printable
from gradscope.files.layouts._base import Found, Options, find_layers, search
from gradscope.networks.interface import BaseCell

__all__ = ["Network", "choose_layers", "load", "read_embedding", "read_network", "read_readout"]


@dataclass(frozen=True, eq=False)
class Network:
    """What a checkpoint holds, as far as recurrent layers go.

    Attributes:
        path: the file.
        found: its recurrent networks, in the order of the file.
        format: name of the reader.
        key: the state dict that they lie in, "" for the whole file.
        sha256: of the file.
        size_bytes: of the file.
        notes: what was converted, stripped or left out.
        others: {name: (shape, type)} of the tensors that belong to none of them.
    """

    path: Path
    found: list[Found]
    format: str
    key: str
    sha256: str
    size_bytes: int
    notes: list[str]
    others: dict[str, tuple[tuple[int, ...], str]]


def read_network(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    activation: str | None = None,
    gate_order: str | None = None,
    dtype: Any = None,
) -> Network:
    """Read a checkpoint and find its recurrent networks.

    Args:
        path: a checkpoint of any supported format.
        key: which of several state dicts, such as "ema".
        activation: of vanilla networks, "tanh" or "relu"; the files do not say.
        gate_order: order of the gates in the rows, as "ifog", where it is not that of the convention.
        dtype: type of the weights; by default that of the file.

    Raises:
        InputError: the file cannot be read, or holds no recurrent layers, or several state dicts with some.
        UsageError: an option is wrong.
    """
    path = Path(path)
    tensors = open_checkpoint(path)
    options = Options(activation, gate_order, dtype, root=printable(path.name.split(".")[0]) or "(root)")
    try:
        state, chosen, found = _search(tensors, key, options)
    except GradscopeError as error:
        raise type(error)(f"{printable(path.name)}: {error.message}", error.hint) from None
    used = {name for f in found for name in f.parameters}
    others = {k: (tuple(v.shape), type_name(v)) for k, v in chosen.arrays.items() if k not in used}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Network(path, found, tensors.format, state, digest, path.stat().st_size, chosen.notes, others)


def _search(tensors: Tensors, key: str | None, options: Options) -> tuple[str, Tensors, list[Found]]:
    states = choose_state(tensors, key)
    hits = {state: search(chosen.arrays, options) for state, chosen in states.items()}
    hits = {state: found for state, found in hits.items() if found}
    if len(hits) > 1:
        listed = ", ".join(printable(k) or "the rest" for k in hits)
        first = printable(next(filter(None, hits)))
        raise InputError(f"several state dicts hold recurrent layers: {listed}", f"choose one, as --key {first}")
    for state, found in hits.items():
        return state, states[state], found
    merged = tensors if key is None else states[key.rstrip(".")]
    find_layers(merged.arrays)  # raises, saying what the file holds
    raise InputError("no recurrent layers")


def choose_layers(found: Sequence[Found], layer: str | None) -> list[Found]:
    """Return the networks that a name stands for: exact, or the only ones that end or begin with it.

    Raises:
        UsageError: it stands for none, or for several unrelated ones.
    """
    if layer is None:
        return list(found)
    dotted = layer.strip(".")
    exact = [f for f in found if f.name == dotted]
    suffix = [f for f in found if f.name.endswith(f".{dotted}")]
    prefix = [f for f in found if f.name.startswith(f"{dotted}.")]
    if len(exact) == 1 or len(suffix) == 1:
        return exact or suffix
    if prefix and not suffix:
        return prefix
    names = [f.name for f in found]
    what = "stands for several layers" if suffix else "is no layer of this file"
    raise UsageError(f"'{printable(layer)}' {what}", f"{plugins.suggest(layer, names)}known: {', '.join(names)}")


def load(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    key: str | None = None,
    activation: str | None = None,
    gate_order: str | None = None,
    dtype: Any = None,
) -> dict[str, BaseCell]:
    """Read the recurrent networks of a checkpoint: {name: cell}.

    Layers of one network make one `Stack`; a bidirectional one gives a `Direction` for each layer and
    direction. Nothing in the file is executed.

    Args:
        path: a checkpoint of any supported format.
        layer: only this one, by name or by the end of its name.
        key: which of several state dicts, such as "ema".
        activation: of vanilla networks, "tanh" or "relu"; the files do not say.
        gate_order: order of the gates in the rows, as "ifog", where it is not that of the convention.
        dtype: type of the weights; by default that of the file, half precision widened to float32.

    Raises:
        InputError: the file cannot be read, or holds no recurrent layers.
        UsageError: an option is wrong, or `layer` is not in the file.
    """
    network = read_network(path, key=key, activation=activation, gate_order=gate_order, dtype=dtype)
    return {f.name: f.cell for f in choose_layers(network.found, layer)}


def read_embedding(path: str | os.PathLike[str], name: str, *, key: str | None = None) -> Array:
    """Return the embedding matrix of a checkpoint, (tokens, width), by its tensor's name or the end of it.

    Raises:
        InputError: the file cannot be read, or the tensor is not a matrix of real numbers.
        UsageError: no tensor has that name, or several have.
    """
    arrays = _arrays(path, key)
    hits = [k for k in arrays if k == name] or [k for k in arrays if k.endswith(f".{name}") or k.startswith(f"{name}.")]
    return arrays[_matrix(arrays, hits, name, "--embedding", "an embedding")]


def read_readout(
    path: str | os.PathLike[str], name: str, *, key: str | None = None
) -> tuple[str, Array, str | None, Array | None]:
    """Return a linear readout of a checkpoint: name and matrix, (outputs, units), then name and vector of its bias.

    Args:
        path: a checkpoint of any supported format.
        name: of the module ("head", for head.weight and head.bias), or of the matrix; the end of it will do.
        key: which of several state dicts, such as "ema".

    Raises:
        InputError: the file cannot be read, or the tensor is not a matrix of real numbers.
        UsageError: no tensor has that name, or several have.
    """
    arrays = _arrays(path, key)
    name = name.strip(".")
    ways = (
        [k for k in arrays if k in (name, f"{name}.weight")],
        [k for k in arrays if k.endswith((f".{name}", f".{name}.weight"))],
        [k for k, v in arrays.items() if k.startswith(f"{name}.") and v.ndim == 2],
    )
    hits = next(filter(None, ways), [])
    found = _matrix(arrays, hits, name, "--readout", "a readout")
    bias = f"{found.removesuffix('weight')}bias" if found.split(".")[-1] == "weight" else ""
    return (found, arrays[found], bias, arrays[bias]) if bias in arrays else (found, arrays[found], None, None)


def _arrays(path: str | os.PathLike[str], key: str | None) -> dict[str, Array]:
    tensors = open_checkpoint(path)
    return {k: v for state in choose_state(tensors, key).values() for k, v in state.arrays.items()}


def _matrix(arrays: dict[str, Array], hits: list[str], name: str, option: str, what: str) -> str:
    """Return the one name that was found, if it is that of a matrix."""
    if len(hits) != 1:
        matrices = [printable(k) for k, v in arrays.items() if v.ndim == 2]
        wrong = "stands for several tensors" if hits else "is no tensor of this file"
        hint = f"{plugins.suggest(name, matrices)}matrices: {', '.join(matrices[:12])}"
        raise UsageError(f"{option}: '{printable(name)}' {wrong}", hint)
    matrix = arrays[hits[0]]
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise InputError(f"'{printable(hits[0])}' is {type_name(matrix)} of shape {matrix.shape}, not {what}")
    return hits[0]
