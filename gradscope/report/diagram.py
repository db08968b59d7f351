"""What does a cell look like, and which of its paths does the gradient take?  One diagram a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gradscope.checking.create import create
from gradscope.networks.cell import Cell, cell_class
from gradscope.networks.loop import Loop
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack
from gradscope.report.cell_graph import cell_graph
from gradscope.report.model import Diagram, Edge, Report

ABBREVIATED_LAYERS = 4  # layers that a layer reads, from which on the first and the last are named


def diagrams(cell: Network, metrics: Mapping[str, Any] | None = None) -> tuple[Diagram, ...]:
    """Return one diagram for each layer.

    Args:
        cell: a cell, a stack of layers, a direction, a loop, or a user's function.
        metrics: of a document of kind "analysis": shares of the gradient are taken from it; None to draw none.
    """
    network = cell.network
    if isinstance(network, Direction):
        network = network.cell
    first_input = ["readout"] if isinstance(cell, Loop) else []
    if not isinstance(network, Stack):
        return (_with_shares(cell_graph(network), metrics, "", first_input),)
    layers, names = [], list(network.layers)
    for i, (name, layer) in enumerate(network.layers.items()):
        below = names[:i] if network.residual else names[max(i - 1, 0) : i]
        input_paths = [f"{b} to {name}" for b in below] or first_input
        graph = _with_shares(cell_graph(layer), metrics, f"{name}.", input_paths)
        # what goes around the weights is known of all layers together
        edges = (replace(e, label="all layers together") if e.path == "around" else e for e in graph.edges)
        layers.append(replace(graph, title=f"layer {name}{_input_of(network, name, below)}", edges=tuple(edges)))
    return tuple(layers)


def _input_of(network: Stack, name: str, below: Sequence[str]) -> str:
    """Return what a layer reads, in words; "" where that is the output of the layer below."""
    words = " + ".join(below if len(below) < ABBREVIATED_LAYERS else (below[0], "...", below[-1]))
    if name in network.norms:
        words = f"{network.norms[name].name} norm of {words}"
    return f": x = {words}" if len(below) > 1 or name in network.norms else ""


def cell_report(what: str | type[Cell] | Network, summary: str) -> Report:
    """Return a report that holds diagrams of a cell: one for each choice of settings that changes it.

    Args:
        what: name of a cell of the room, a class, or a cell, which is drawn as it is.
        summary: what it is, in one line.

    Raises:
        UsageError: there is no such cell.
    """
    if isinstance(what, Network):
        return Report("cell", summary, diagrams=diagrams(what))
    cls, name = (what, what.__name__) if isinstance(what, type) else (cell_class(what), what)
    choices = [(setting, value) for setting, values in cls.choices.items() for value in values]
    titles: dict[Diagram, str] = {}
    for setting, value in [("", ""), *choices]:
        settings: dict[str, Any] = {setting: value} if setting else {}
        graph = _without_sizes(diagrams(create(what, hidden_size=8, input_size=3, **settings))[0])
        titles[graph] = titles.get(graph) or f"{setting} {value}".strip()
    titled = tuple(replace(d, title=title if len(titles) > 1 else "") for d, title in titles.items())
    return Report("cell", f"{name}: {summary}", diagrams=titled)


def _without_sizes(diagram: Diagram) -> Diagram:
    return replace(diagram, nodes=tuple(n if n.kind == "gate" else replace(n, note="") for n in diagram.nodes))


def with_diagrams(report: Report, cells: Mapping[str, Network]) -> Report:
    """Return a report with diagrams of its models, lines as wide as the measured shares.

    Args:
        report: of kind "analysis" or "comparison".
        cells: {name of the result: its cell}.
    """
    document = report.document
    if document["kind"] == "analysis":
        return replace(report, diagrams=diagrams(next(iter(cells.values())), document["metrics"]))
    named = [
        replace(diagram, title=f"{result['name']} {diagram.title}".strip())
        for result in document["results"]
        if result["name"] in cells
        for diagram in diagrams(cells[result["name"]], result["metrics"])
    ]
    return replace(report, diagrams=tuple(named))


def _with_shares(
    diagram: Diagram, metrics: Mapping[str, Any] | None, prefix: str, input_paths: Sequence[str]
) -> Diagram:
    """Return a diagram whose lines have the shares of their paths.

    Args:
        diagram: of one layer.
        metrics: of the document; None where nothing was measured.
        prefix: what the names of the layer's gates begin with.
        input_paths: names of the paths whose shares go along the lines of the input.
    """
    if metrics is None:
        return diagram
    gates = metrics.get("gate_share", {})
    with_weights = {e.end for e in diagram.edges if e.path == "weights"}
    measured = [gates[path] for path in input_paths if path in gates]
    around = metrics.get("around_share", 0.0 if gates else None)
    shares = {f"gate {name.removeprefix(prefix)}": share for name, share in gates.items() if name.startswith(prefix)}

    def share(e: Edge) -> Any:
        if e.path == "around":
            return around
        if e.path == "input":
            return sum(measured) if measured else None
        gate = {"weights": e.end, "gate": e.start}.get(e.path)
        return shares.get(gate) if gate in with_weights else None

    edges = tuple(replace(e, share=None if (value := share(e)) is None else float(value)) for e in diagram.edges)
    return replace(diagram, edges=edges, measured=True)
