"""Does a layout, which finds recurrent layers among named arrays, keep the contract of its room?"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from gradscope.errors import GradscopeError
from gradscope.files.checkpoints._base import Array
from gradscope.files.layouts._base import LayoutOptions, RecurrentLayer
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction
from gradscope.testing.plugin import check_call, check_docstring, require

__all__ = ["check_layout"]

UNRELATED = {"conv.weight": np.ones((4, 3), np.float32), "conv.bias": np.ones(4, np.float32)}


def check_layout(layout: ModuleType, tensors: Mapping[str, Array]) -> None:
    """Check a layout's module: the layers that it finds, and that incomplete weights end in a plain error.

    Args:
        layout: the module of the plug-in.
        tensors: {name: array} of a state dict with at least one recurrent layer that it knows.

    Raises:
        AssertionError: a rule of the room is broken; the message says which.
    """
    check_docstring(layout)
    check_call(layout, "find", "tensors", "options")
    before = {name: array.copy() for name, array in tensors.items()}
    layers = _find(layout, tensors)
    require(bool(layers), "find must find at least one layer in the example")
    for layer in layers:
        _check_layer(layer, tensors)
    used = [name for layer in layers for name in layer.parameters]
    require(len(used) == len(set(used)), "two layers must not use the same tensor")
    unchanged = all(np.array_equal(array, before[name], equal_nan=True) for name, array in tensors.items())
    require(unchanged, "find must not change the tensors")
    require(_find(layout, {}) == [], "find must return [] where there are no tensors")
    require(_find(layout, UNRELATED) == [], f"find must return [] for {list(UNRELATED)}")
    beside = _find(layout, {**tensors, **UNRELATED})
    require([x.name for x in beside] == [x.name for x in layers], "find must ignore tensors of other modules")
    for name in used:
        _check_incomplete(layout, {k: v for k, v in tensors.items() if k != name}, name)


def _find(layout: ModuleType, tensors: Mapping[str, Array]) -> list[RecurrentLayer]:
    layers = layout.find(tensors, LayoutOptions())
    whole = isinstance(layers, list) and all(isinstance(x, RecurrentLayer) for x in layers)
    require(whole, "find must return a list of gradscope.files.RecurrentLayer")
    return layers  # type: ignore[no-any-return]


def _check_layer(layer: RecurrentLayer, tensors: Mapping[str, Array]) -> None:
    """Check one layer: its names, its sizes, and one step of its cell."""
    name = layer.name
    require(bool(name) and name.isprintable(), f"the name of a layer is printable text, not {name!r}")
    require(bool(layer.parameters), f"{name}: parameters must name the tensors that were used")
    missing = [p for p in layer.parameters if p not in tensors]
    require(not missing, f"{name}: parameters {missing} are no names of the file")
    cell: Any = layer.cell
    require(isinstance(cell, Network), f"{name}: cell must be a gradscope cell, not {type(cell).__name__}")
    sentences = [*layer.assumptions, *layer.notes]
    require(all(s.isprintable() for s in sentences), f"{name}: assumptions and notes are printable sentences")
    inner = cell.cell if isinstance(cell, Direction) else cell
    require(inner.input_size == layer.input_size, f"{name}: input_size must be that of the cell, {inner.input_size}")
    shared = [n for n, w in inner.weights().items() if any(np.shares_memory(w, array) for array in tensors.values())]
    require(not shared, f"{name}: the weights {', '.join(shared)} must be copies, not views of the file")
    x, s = np.zeros((cell.input_size, 1), np.float64), np.zeros((cell.state_size, 1), np.float64)
    new = cell.evolve(x, s)
    require(new.shape == s.shape, f"{name}: one step returns a state of shape {new.shape}, not {s.shape}")


def _check_incomplete(layout: ModuleType, tensors: Mapping[str, Array], name: str) -> None:
    """Check that a missing tensor ends in an error of gradscope, or in fewer layers."""
    try:
        _find(layout, tensors)
    except (GradscopeError, AssertionError):
        return
    except Exception as error:
        text = f"without {name}, find must raise gradscope.errors.InputError, not {type(error).__name__}: {error}"
        raise AssertionError(text) from error
