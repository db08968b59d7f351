"""What do all layouts share?  The layers that they return, the choices of the user, and the order of gates.

Canonical weights have the gates as row blocks in the order of the cell's `gates`, shape (gates * H, inputs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.errors import InputError, UsageError
from gradscope.files.checkpoints._base import Array, type_name
from gradscope.files.display import printable
from gradscope.files.recognise import plugin_errors
from gradscope.networks.network import Network

ORDERS = {"lstm": "ifgo", "gru": "rzn"}  # canonical, as in PyTorch


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """A recurrent network of a checkpoint (one layer or several), or one direction of one of its layers.

    Attributes:
        name: path of the module, as "encoder.lstm"; directions append ".l0.reverse".
        cell: a `Cell`, a `Stack` of layers, or a `Direction`.
        kind: name of the cell, as "lstm".
        input_size: inputs of the cell.
        hidden_size: units of a layer.
        layers: layers of the network.
        bidirectional: whether the network runs in both directions.
        assumptions: what the file does not say, a sentence each.
        notes: how the weights were read, a sentence each.
        parameters: names of the tensors that were used.
    """

    name: str
    cell: Network
    kind: str
    input_size: int
    hidden_size: int
    layers: int
    bidirectional: bool
    assumptions: list[str]
    notes: list[str]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class LayoutOptions:
    """What the user said about the weights of a file.

    Attributes:
        activation: of vanilla networks, which the file does not name; None to assume.
        gate_order: order of the row blocks, as "ifog"; None for the convention of the layout.
        dtype: type of the weights; None to keep that of the file.
        root: what to call a network that is the whole file.
    """

    activation: str | None = None
    gate_order: str | None = None
    dtype: Any = None
    root: str = "(root)"

    def order(self, kind: str) -> str | None:
        """Return the order that was given, where it is one of the gates of `kind`."""
        letters = _letters(self.gate_order)
        return letters if letters and sorted(letters) == sorted(ORDERS.get(kind, "")) else None


def _letters(order: str | None) -> str:
    letters = "".join(c for c in (order or "").lower() if c not in " ,-")
    # c is the cell candidate g of Keras and ONNX, h the candidate n of a GRU
    return letters.replace("c", "g") if len(letters) == 4 else letters.replace("h", "n")


def _check_order(order: str) -> None:
    if sorted(_letters(order)) not in [sorted(o) for o in ORDERS.values()]:
        known = "an LSTM has i f g o, a GRU has r z n, each once"
        raise UsageError(f"gate order '{printable(order)}' is invalid", known)


def floating(name: str, arrays: Iterable[Array], dtype: Any) -> np.dtype[Any]:
    """Return the floating-point type that weights are computed in: at least float32, at most float64.

    Raises:
        InputError: an array is not of a floating-point type.
    """
    arrays = list(arrays)
    for array in arrays:
        if array.dtype.kind != "f":
            hint = "quantised and complex weights are not supported: save the float model"
            raise InputError(f"weights of {printable(name)} are {type_name(array)}, not floating point", hint)
    wide = np.result_type(np.float32, *(a.dtype for a in arrays))
    return np.dtype(dtype) if dtype is not None else np.dtype(np.float64 if wide.itemsize > 8 else wide)


def reordered(weights: Array, order: str, canonical: str) -> Array:
    """Return the row blocks of `order` in the `canonical` order."""
    blocks = np.split(weights, len(order))
    return np.concatenate([blocks[order.index(gate)] for gate in canonical])


def shapes(arrays: Mapping[str, Array]) -> str:
    """Return "name (4, 3), ..." of the first ten arrays."""
    listed = [f"{printable(k)} {tuple(v.shape)}" for k, v in list(arrays.items())[:10]]
    return ", ".join(listed) + (f" and {len(arrays) - 10} more" if len(arrays) > 10 else "")


def search(tensors: Mapping[str, Array], options: LayoutOptions) -> list[RecurrentLayer]:
    """Return the recurrent layers that any layout finds; a tensor belongs to the first layout that uses it.

    Raises:
        InputError: weights that are there do not fit together.
        UsageError: the gate order is no order.
    """
    if options.gate_order is not None:
        _check_order(options.gate_order)
    layers: list[RecurrentLayer] = []
    used: set[str] = set()
    for name, layout in plugins.loaded("layouts"):
        with plugin_errors("layouts", name):
            layers += [layer for layer in layout.find(tensors, options) if used.isdisjoint(layer.parameters)]
        used.update(p for layer in layers for p in layer.parameters)
    if layers and options.gate_order is not None and not any(options.order(layer.kind) for layer in layers):
        kinds = ", ".join(sorted({layer.kind for layer in layers}))
        raise UsageError(f"gate order '{printable(options.gate_order)}' fits no layer; the file holds {kinds}")
    return layers


def find_layers(
    tensors: Mapping[str, Array],
    *,
    activation: str | None = None,
    gate_order: str | None = None,
    dtype: Any = None,
) -> list[RecurrentLayer]:
    """Return the recurrent layers among named arrays.

    Args:
        tensors: {name: array}, one state dict.
        activation: of vanilla networks, "tanh" or "relu"; the files do not say.
        gate_order: order of the gates in the rows, as "ifog", where it is not that of the convention.
        dtype: type of the weights; by default that of the file, half precision widened to float32.

    Raises:
        InputError: there are none, or their weights do not fit together.
        UsageError: an option is wrong.
    """
    layers = search(tensors, LayoutOptions(activation, gate_order, dtype))
    if not layers:
        held = f"it holds {shapes(tensors)}" if tensors else "it holds no tensors at all"
        raise InputError(f"no recurrent layers: {held}", "expected names such as weight_ih_l0 and weight_hh_l0")
    return layers
