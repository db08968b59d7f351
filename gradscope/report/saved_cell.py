"""Which cell has the structure that a saved analysis states?  Its diagram is drawn, its weights are unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradscope import plugins
from gradscope.checking.create import create
from gradscope.errors import GradscopeError, InputError
from gradscope.networks.cell import Cell
from gradscope.networks.loop import closed_loop
from gradscope.networks.network import Network
from gradscope.networks.stack import stack

HINT = "use gradscope analyze ... --diagram, which draws while it measures"


def saved_cell(document: Mapping[str, Any]) -> Network:
    """Return a cell of the structure that a saved analysis states, with other weights.

    Args:
        document: of kind "analysis".

    Raises:
        InputError: the document does not hold the cell's formulas or each of its layers, or is damaged.
    """
    try:
        return _from_model(document["model"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the result is damaged: {type(error).__name__} at {error}") from error


def _from_model(model: Mapping[str, Any]) -> Network:
    kind, source = model["cell"], model["source"]
    state = {part["name"]: part["size"] for part in model["state"]}
    if kind == "jacobians":
        raise InputError("a saved result of Jacobians does not hold the step function")
    if kind not in plugins.names("cells") or ("path" in model and source != "checkpoint"):
        raise InputError(f"a saved result does not hold the formulas of the user-defined cell {kind}", HINT)
    if model["layers"] > 1 and source == "python":  # they may be of several kinds
        raise InputError("a saved result does not describe the layers of a network that was built in Python", HINT)
    try:
        cell = _network(kind, model, list(dict.fromkeys(part.rpartition(".")[0] for part in state)))
        fits = cell.sizes == state
    except GradscopeError as error:
        raise InputError(f"the saved result does not describe this {kind} completely: {error.message}", HINT) from error
    if not fits:
        raise InputError(f"the saved result does not describe this {kind} completely: the state differs", HINT)
    return cell


def _network(kind: str, model: Mapping[str, Any], names: list[str]) -> Network:
    cells: dict[str, Cell] = {}
    width = model["input_size"]
    for name in names:
        cell = create(kind, hidden_size=model["hidden_size"], input_size=width, **model["settings"])
        assert isinstance(cell, Cell)
        cells[name], width = cell, cell.output.stop
    between = {"residual": model.get("residual", False), "norm": model.get("norm", "none")}
    network = stack(cells, **between) if model["layers"] > 1 else cells[names[0]]
    return closed_loop(network) if "readout" in model else network
