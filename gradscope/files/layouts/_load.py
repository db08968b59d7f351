"""Which recurrent networks does a checkpoint hold?  From a file to cells."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope import plugins
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.files.checkpoints._base import Array, Tensors, open_checkpoint, type_name
from gradscope.files.checkpoints._state import choose_state
from gradscope.files.display import printable
from gradscope.files.layouts._base import LayoutOptions, RecurrentLayer, find_layers, refuse_idle, search
from gradscope.networks.network import Network


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The recurrent layers of a file, and what else it holds.

    Attributes:
        path: the file.
        layers: its recurrent layers, in the order of the file.
        format: name of the reader.
        key: the state dict that holds the layers, "" for the whole file.
        sha256: of the file.
        size_bytes: of the file.
        notes: what was converted, stripped or left out.
        others: {name: (shape, type)} of the tensors that belong to no recurrent layer.
    """

    path: Path
    layers: list[RecurrentLayer]
    format: str
    key: str
    sha256: str
    size_bytes: int
    notes: list[str]
    others: dict[str, tuple[tuple[int, ...], str]]


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    activation: str | None = None,
    gate_order: str | None = None,
    dtype: Any = None,
) -> Checkpoint:
    """Read a checkpoint and its recurrent layers.

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
    options = LayoutOptions(activation, gate_order, dtype, root=printable(path.name.split(".")[0]) or "(root)")
    try:
        state, chosen, layers = _search(tensors, key, options)
    except GradscopeError as error:
        raise type(error)(f"{printable(path.name)}: {error.message}", error.hint) from None
    used = {name for layer in layers for name in layer.parameters}
    others = {k: (tuple(v.shape), type_name(v)) for k, v in chosen.arrays.items() if k not in used}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(path, layers, tensors.format, state, digest, path.stat().st_size, chosen.notes, others)


def _search(tensors: Tensors, key: str | None, options: LayoutOptions) -> tuple[str, Tensors, list[RecurrentLayer]]:
    states = choose_state(tensors, key)
    hits = {state: search(chosen.arrays, options) for state, chosen in states.items()}
    hits = {state: layers for state, layers in hits.items() if layers}
    if len(hits) > 1:
        listed = ", ".join(printable(k) or "the rest" for k in hits)
        first = printable(next(filter(None, hits)))
        raise InputError(f"several state dicts hold recurrent layers: {listed}", f"choose one, as --key {first}")
    for state, layers in hits.items():
        return state, states[state], layers
    merged = tensors if key is None else states[key.rstrip(".")]
    find_layers(merged.arrays)  # raises, saying what the file holds
    raise InputError("no recurrent layers")


def choose_layers(layers: Sequence[RecurrentLayer], name: str | None) -> list[RecurrentLayer]:
    """Return the layers that a name stands for: exact, or the only ones that end or begin with it.

    Raises:
        UsageError: it stands for none, or for several unrelated ones.
    """
    if name is None:
        return list(layers)
    dotted = name.strip(".")

    def named(rule: Callable[[str], bool]) -> list[RecurrentLayer]:
        return [layer for layer in layers if rule(layer.name)]

    exact, suffix = named(lambda known: known == dotted), named(lambda known: known.endswith(f".{dotted}"))
    if len(exact) == 1 or len(suffix) == 1:
        return exact or suffix
    prefix = named(lambda known: known.startswith(f"{dotted}."))
    if prefix and not suffix:
        return prefix
    known = [layer.name for layer in layers]
    problem = "matches several layers" if suffix else "is not a layer of this file"
    raise UsageError(f"'{printable(name)}' {problem}", f"{plugins.suggest(name, known)}known: {', '.join(known)}")


def load(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    key: str | None = None,
    activation: str | None = None,
    gate_order: str | None = None,
    dtype: Any = None,
) -> dict[str, Network]:
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
        UsageError: an option is wrong or has no effect, or `layer` is not in the file.
    """
    checkpoint = read_checkpoint(path, key=key, activation=activation, gate_order=gate_order, dtype=dtype)
    layers = choose_layers(checkpoint.layers, layer)
    refuse_idle(layers, LayoutOptions(activation, gate_order))
    return {chosen.name: chosen.cell for chosen in layers}


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
    matrix = _matrix(arrays, hits, name, "--readout", "a readout")
    bias = f"{matrix.removesuffix('weight')}bias" if matrix.split(".")[-1] == "weight" else ""
    return (matrix, arrays[matrix], bias, arrays[bias]) if bias in arrays else (matrix, arrays[matrix], None, None)


def _arrays(path: str | os.PathLike[str], key: str | None) -> dict[str, Array]:
    tensors = open_checkpoint(path)
    return {k: v for state in choose_state(tensors, key).values() for k, v in state.arrays.items()}


def _matrix(arrays: dict[str, Array], hits: list[str], name: str, option: str, what: str) -> str:
    """Return the only one of the names, if its tensor is a matrix.

    Raises:
        InputError: the tensor is not a matrix of floating-point numbers.
        UsageError: there is no name, or several.
    """
    if len(hits) != 1:
        matrices = [printable(k) for k, v in arrays.items() if v.ndim == 2]
        wrong = "matches several tensors" if hits else "is not a tensor of this file"
        hint = f"{plugins.suggest(name, matrices)}matrices: {', '.join(matrices[:12])}"
        raise UsageError(f"{option}: '{printable(name)}' {wrong}", hint)
    matrix = arrays[hits[0]]
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise InputError(f"'{printable(hits[0])}' is {type_name(matrix)} of shape {matrix.shape}, not {what}")
    return hits[0]
