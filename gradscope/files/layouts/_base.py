"""What do all layouts share?  The layers that they return, the choices of the user, and the order of gates.

Canonical weights have the gates as row blocks in the order of the cell's `gates`, shape (gates * H, inputs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.errors import InputError, UsageError
from gradscope.files.checkpoints._base import Array, type_name
from gradscope.files.display import listing, printable
from gradscope.files.recognise import plugin_errors
from gradscope.networks.network import Network

IN_A_LIST = (  # no name in front, so that a comparison can say it once of several
    "follows another recurrent module in a list, but is run on the input itself, not on the output of that module; "
    "if that one feeds it, select it with --layer and pass its own input with --data"
)
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
        unused: names of other tensors of the module and of its submodules, without its path. If they act within the
            recurrence, the cell is another one: `search` adds that to the assumptions.
        module: path of the module, which the directions of one network share; "" if it is the name.
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
    unused: tuple[str, ...] = ()
    module: str = ""

    @property
    def path(self) -> str:
        """Path of the module."""
        return self.module or self.name

    @property
    def unused_sentence(self) -> str:
        """What the unused tensors of the module mean, in one sentence; "" where there are none."""
        if not self.unused:
            return ""
        count = len(self.unused)
        parameters = f"{count} parameter{'s'[: count != 1]} of the same module not used: {listing(self.unused)}"
        return f"{self.name}: {parameters}; the numbers are of the cell without them"


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

    Their cells carry the assumptions, so that an analysis in Python states them, too.

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
    listed = _later_in_a_list({layer.path for layer in layers})
    for layer in layers:
        layer.assumptions[:0] = [layer.unused_sentence] if layer.unused else []  # first: a finding stands for it
        layer.assumptions.extend([f"{layer.name}: {IN_A_LIST}"] if layer.path in listed else [])
        for attribute, value in (("assumptions", tuple(layer.assumptions)), ("unused", layer.unused)):
            object.__setattr__(layer.cell, attribute, value)  # cells may be frozen dataclasses
    return layers


def _later_in_a_list(paths: Collection[str]) -> set[str]:
    """Return the modules of a list, as "lstms.1" of lstms.0 and lstms.1, but for the first one of each list."""
    lists: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for path in paths:
        words = path.split(".")
        for place, word in enumerate(words):
            if word.isdecimal():
                lists.setdefault((*words[:place], "*", *words[place + 1 :]), []).append((int(word), path))
    return {path for modules in lists.values() for _, (_, path) in pairwise(sorted(modules))}


def idle_options(layers: Sequence[RecurrentLayer], options: LayoutOptions) -> dict[str, UsageError]:
    """Return {name of an option that has no effect on any of the layers: the error to raise}."""
    kinds = {layer.kind for layer in layers}
    held = f"fits no layer; the file holds {', '.join(sorted(kinds))}"
    idle = {}
    if options.activation is not None and "rnn" not in kinds:
        hint = "only a plain RNN has an activation to choose; omit it"
        idle["activation"] = UsageError(f"activation '{printable(options.activation)}' {held}", hint)
    if options.gate_order is not None and not any(map(options.order, kinds)):
        idle["gate_order"] = UsageError(f"gate order '{printable(options.gate_order)}' {held}")
    return idle


def refuse_idle(layers: Sequence[RecurrentLayer], options: LayoutOptions) -> None:
    """Refuse options that have no effect on any of the layers.

    Raises:
        UsageError: there is one.
    """
    for error in idle_options(layers, options).values():
        raise error


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
        UsageError: an option is wrong, or has no effect.
    """
    options = LayoutOptions(activation, gate_order, dtype)
    layers = search(tensors, options)
    if not layers:
        held = f"it holds {shapes(tensors)}" if tensors else "it holds no tensors at all"
        raise InputError(f"no recurrent layers: {held}", "expected names such as weight_ih_l0 and weight_hh_l0")
    refuse_idle(layers, options)
    return layers
