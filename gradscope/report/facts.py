"""What does a document say of a model, as far as the model itself tells?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.dynamics.chain import JacobianChain
from gradscope.networks.cell import Cell
from gradscope.networks.gate import gate_names, keep_signs
from gradscope.networks.loop import Loop
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack, cells_of
from gradscope.report.case import Case, Request
from gradscope.report.tables import count

Document = dict[str, Any]


def case_of(
    cell: Network | JacobianChain,
    chain: JacobianChain,
    answers: Mapping[str, Any],
    config: Document,
    *,
    known: Mapping[str, Any],
    name: str | None = None,
    request: Request | None = None,
) -> Case:
    """Put answers together with what is known of the model.

    Args:
        cell: the network, or the chain that the user gave.
        chain: the Jacobians of the measured steps.
        answers: {analysis: what it answered}.
        config: the document's `config`.
        known: fields of the document's `model` that the source of the network tells; they win over those it tells.
        name: the model in words; by its kind and size unless given.
        request: how the command line asked for it.
    """
    model = _facts(cell) | dict(known)
    title = f"{name or _title(model)}, {count(chain.steps)}, seed {config['seed']}"
    if isinstance(cell, JacobianChain):
        return Case(answers, title, model, config)
    paths = _path_kinds(chain) if cells_of(cell) else None
    gates = _keep_gates(cell, 1), _keep_gates(cell, -1)
    return Case(answers, title, model, config, *gates, paths, request=request)


def _facts(cell: Network | JacobianChain) -> dict[str, Any]:
    """Return the document's `model`, as far as the cell itself tells."""
    sizes = cell.sizes
    cells = [] if isinstance(cell, JacobianChain) else cells_of(cell)
    kind = _kind(type(cells[0])) if cells else "jacobians" if isinstance(cell, JacobianChain) else "function"
    return {
        "source": "python",
        "cell": kind,
        "input_size": 0 if isinstance(cell, JacobianChain) else cell.network.input_size,
        "hidden_size": cells[0].hidden_size if cells else sum(sizes.values()),
        "layers": max(len(cells), 1),
        "state": [{"name": n, "size": k} for n, k in sizes.items()],
        "settings": cells[0].changed_settings() if cells else {},
        "assumptions": [] if isinstance(cell, JacobianChain) else list(cell.network.assumptions),
        **_unused(cell),
        **_between(cell),
        **({"readout": cell.name} if isinstance(cell, Loop) else {}),
    }


def _title(facts: Mapping[str, Any]) -> str:
    size = facts["hidden_size"]
    if facts["cell"] in ("jacobians", "function"):
        return f"{'Jacobians' if facts['cell'] == 'jacobians' else facts['cell']}, state size {size}"
    loop = ", closed loop" if "readout" in facts else ""
    return f"{str(facts['cell']).upper().replace('_', ' ')}, {size} unit{'s'[: size != 1]}{loop}"


def _keep_gates(cell: Network, open_keeps: int) -> dict[str, str]:
    layers = list(cell.network.layers) if isinstance(cell.network, Stack) else [""]
    return {
        f"{n}.{gate}" if n else gate: gate_names(c.gates).get(gate, gate)
        for n, c in zip(layers, cells_of(cell), strict=False)
        for gate, sign in keep_signs(c.gates).items()
        if sign == open_keeps
    }


def _path_kinds(chain: JacobianChain) -> tuple[bool, bool]:
    """Return whether any of the state goes around recurrent weights in the first step, and whether any crosses such."""
    return bool(chain.at(0).jvp_skip(np.ones((chain.size, chain.batch), chain.dtype)).any()), not chain.diagonal


def _unused(cell: Network | JacobianChain) -> dict[str, Any]:
    unused = () if isinstance(cell, JacobianChain) else cell.network.unused
    return {"unused": list(unused)} if unused else {}


def _between(cell: Network | JacobianChain) -> dict[str, Any]:
    """Return what is between the layers of a network, as far as something is."""
    network = None if isinstance(cell, JacobianChain) else cell.network
    if isinstance(network, Direction):
        norms, residual = {} if network.norm is None else {"": network.norm}, network.residual
    elif isinstance(network, Stack):
        norms, residual = dict(network.norms), network.residual
    else:
        return {}
    facts: dict[str, Any] = {"residual": True} if residual else {}
    return facts | ({"norm": ", ".join(dict.fromkeys(n.name for n in norms.values()))} if norms else {})


def _kind(cls: type[Cell]) -> str:
    """Return the name that a cell has in the room; of one that is not there, the name of its class."""
    name = cls.__module__.rpartition(".")[2]
    inside = name in plugins.names("cells") and plugins.load("cells", name).__name__ == cls.__module__
    return name if inside else cls.__name__
