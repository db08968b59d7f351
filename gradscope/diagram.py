"""What a cell looks like: boxes and lines, read off the structure of its Jacobian.

Every map of a step says which gates its new parts depend on, which old parts, and which part its weights read
(`maps.Grids`); what one new part gives another within the step is undone first, so that a path is drawn once:
of an LSTM, h' hangs on c' and o. Maps in a row become one graph. What only passes a map by, or is the value of one
gate, gets no box of its own. Nothing here knows a cell by name: a new file in the room is drawn, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.checking.create import create
from gradscope.errors import GradscopeError, InputError
from gradscope.maps.grid import absent
from gradscope.maps.jacobian import Array, Grids, ranges
from gradscope.maps.same_step import without_same_step
from gradscope.networks.cell import Cell, MapsCell, cell_class
from gradscope.networks.gate import gate_names
from gradscope.networks.loop import Loop, closed_loop
from gradscope.networks.map import Map
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack, stack
from gradscope.report.model import Diagram, Edge, Node, Report

__all__ = ["cell_report", "diagrams", "saved_cell", "with_diagrams"]

INPUT = "input"
MANY = 4  # layers, from which on not all are named


def diagrams(cell: Network, metrics: Mapping[str, Any] | None = None) -> tuple[Diagram, ...]:
    """Return one diagram for each layer.

    Args:
        cell: a cell, a stack of layers, a direction, a loop, or a user's own function.
        metrics: of a document of kind "analysis": shares of the gradient are taken from it; None to draw none.
    """
    network = cell.network
    fed = "readout" if isinstance(cell, Loop) else ""
    if isinstance(network, Direction):
        network = network.cell
    if isinstance(network, Stack):
        found, names = [], list(network.layers)
        for i, (name, layer) in enumerate(network.layers.items()):
            below = names[:i] if network.residual else names[max(i - 1, 0) : i]
            drawn = _shared(_graph(layer), metrics, f"{name}.", [f"{b} to {name}" for b in below] or [fed])
            found.append(_titled(drawn, f"layer {name}{_given(network, name, below)}"))
        return tuple(found)
    return (_shared(_graph(network), metrics, "", [fed]),)


def _given(network: Stack, name: str, below: Sequence[str]) -> str:
    """Say what a layer sees, unless it is the output of the one below."""
    what = " + ".join(below if len(below) < MANY else (below[0], "...", below[-1]))
    if name in network.norms:
        what = f"{network.norms[name].name} norm of {what}"
    return f": x = {what}" if len(below) > 1 or name in network.norms else ""


def _titled(diagram: Diagram, title: str) -> Diagram:
    """Name a layer; what goes around the weights is known of all layers together."""
    edges = (replace(e, label="all layers together") if e.road == "around" else e for e in diagram.edges)
    return replace(diagram, title=title, edges=tuple(edges))


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
    found: dict[Diagram, str] = {}
    cls, name = (what, what.__name__) if isinstance(what, type) else (cell_class(what), what)
    for setting, values in {"": ("",), **cls.choices}.items():
        for value in values:
            settings: dict[str, Any] = {setting: value} if setting else {}
            drawn = _without_sizes(diagrams(create(what, hidden_size=8, input_size=3, **settings))[0])
            found[drawn] = found.get(drawn) or f"{setting} {value}".strip()
    titled = tuple(replace(d, title=title if len(found) > 1 else "") for d, title in found.items())
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
    found: list[Diagram] = []
    if document["kind"] == "analysis":
        found += diagrams(next(iter(cells.values())), document["metrics"])
    else:
        for result in document["results"]:
            if result["name"] in cells:
                made = diagrams(cells[result["name"]], result["metrics"])
                found += [replace(d, title=f"{result['name']} {d.title}".strip()) for d in made]
    return replace(report, diagrams=tuple(found))


def saved_cell(document: Mapping[str, Any]) -> Network:
    """Make a cell of the structure that a saved analysis tells of; its weights are others.

    Args:
        document: of kind "analysis".

    Raises:
        InputError: it does not tell enough, since formulas of the user's own are not saved; or it is damaged.
    """
    try:
        return _again(document["model"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the result is damaged: {type(error).__name__} at {error}") from error


def _again(model: Mapping[str, Any]) -> Network:
    kind, source, state = model["cell"], model["source"], {p["name"]: p["size"] for p in model["state"]}
    hint = "where it is measured, gradscope analyze ... --diagram draws it"
    if kind == "jacobians":
        raise InputError("a saved result does not hold the step behind Jacobians")
    if kind not in plugins.names("cells") or ("path" in model and source != "checkpoint"):
        raise InputError(f"a saved result does not hold the formulas of {kind}, a cell of your own", hint)
    if model["layers"] > 1 and source == "python":  # they may be of several kinds
        raise InputError("a saved result does not tell each layer of a network that was put together in Python", hint)
    try:
        cell = _network(kind, model, list(dict.fromkeys(part.rpartition(".")[0] for part in state)))
        fits = dict(cell.sizes) == state
    except GradscopeError as error:
        raise InputError(f"a saved result does not tell enough of this {kind}: {error.message}", hint) from error
    if not fits:
        raise InputError(f"a saved result does not tell enough of this {kind}: its state is another one", hint)
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


def _shared(diagram: Diagram, metrics: Mapping[str, Any] | None, prefix: str, fed: Sequence[str]) -> Diagram:
    """Give lines the shares of their roads: those of a gate to what goes in and out, those of `fed` to the input."""
    if metrics is None:
        return diagram
    gates = metrics.get("gate_share", {})
    read = {e.end for e in diagram.edges if e.road == "weights"}
    shares = {f"gate {name.removeprefix(prefix)}": share for name, share in gates.items() if name.startswith(prefix)}

    def share(e: Edge) -> float | None:
        if e.road == "around":
            found = metrics.get("around_share", 0.0 if gates else None)
        elif e.road == "input":
            there = [gates[road] for road in fed if road in gates]
            found = sum(there) if there else None
        else:
            gate = e.end if e.road == "weights" else e.start
            found = shares.get(gate) if e.road in ("weights", "gate") and gate in read else None
        return None if found is None else float(found)

    return replace(diagram, edges=tuple(replace(e, share=share(e)) for e in diagram.edges), measured=True)


def _graph(cell: Network) -> Diagram:
    if isinstance(cell, MapsCell):
        return _Drawn(cell).diagram()
    return _dense(cell)


def _dense(cell: Network) -> Diagram:
    """Draw a step whose Jacobian is put together as a matrix: its parts, and what is known to go around the weights."""
    step = Node("gate through", "gate", "step")
    old = [Node(f"old {p}", "old", p, str(n)) for p, n in cell.sizes.items()]
    new = [Node(f"new {p}", "new", f"{p}'", str(n)) for p, n in cell.sizes.items()]
    seen = (Node(INPUT, "input", "x", str(cell.input_size)),) if cell.input_size else ()
    edges = [Edge(INPUT, step.name, "input")] if seen else []
    around = np.zeros((cell.state_size, cell.state_size))
    through, note = np.ones_like(around), "What is inside the function is not known."
    if isinstance(cell, Cell):  # a function may be defined at its own states only
        with np.errstate(all="ignore"):
            J = cell.linearise(_anywhere(cell.input_size, 0), _anywhere(cell.state_size, 1))
            around, through = J.jvp_split(np.eye(cell.state_size))
        note = "The box holds all that goes through weights."
    spans = ranges(tuple(cell.sizes.values()))
    for a, columns in zip(old, spans, strict=True):
        edges += [Edge(a.name, step.name, "weights")] if through[:, columns].any() else []
        edges += [Edge(a.name, b.name, "around") for b, r in zip(new, spans, strict=True) if around[r, columns].any()]
    edges += [Edge(step.name, b.name, "gate") for b, rows in zip(new, spans, strict=True) if through[rows].any()]
    return Diagram((*old, *seen, step, *new), tuple(edges), note=note)


class _Drawn:
    """The graph of one cell, as its maps are gone through.

    Attributes:
        at: {part: the node that holds it}, at this place between maps.
        sizes: {part: its size}, likewise.
    """

    def __init__(self, cell: MapsCell) -> None:
        self.cell = cell
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], Edge] = {}
        first = cell.maps[0]
        old_names = first.old_names
        self.at = {p: f"old {p}" for p in old_names}
        for part, size in zip(old_names, first.old_sizes, strict=True):
            self.nodes[f"old {part}"] = Node(f"old {part}", "old", part, str(size))
        self.nodes[INPUT] = Node(INPUT, "input", "x", str(cell.input_size))
        x, s = _anywhere(cell.input_size, 0), _anywhere(sum(first.old_sizes), 1)
        for m, following in zip(cell.maps, (*cell.maps[1:], None), strict=True):
            with np.errstate(all="ignore"):
                grids = m.differentiate(x, s).grids
                s = m.apply(x, s)
            self._add(m, grids, m.parts if following is None else following.old_names, last=following is None)

    def diagram(self) -> Diagram:
        """Return the graph, and which of its lines lie on the road around the weights."""
        edges = list(self.edges.values())
        free = [e for e in edges if e.road == "value"]
        ahead = {n for n in self.nodes if n.startswith("old ")}
        behind = {n for n in self.nodes if n.startswith("new ")}
        for _ in free:
            ahead |= {e.end for e in free if e.start in ahead}
            behind |= {e.start for e in free if e.end in behind}
        around = {(e.start, e.end) for e in free if e.start in ahead and e.end in behind}
        edges = [replace(e, road="around") if (e.start, e.end) in around else e for e in edges]
        return Diagram(tuple(self.nodes.values()), tuple(edges))

    def _add(self, m: Map, grids: Grids, parts: Sequence[str], *, last: bool) -> None:
        """Add one map: its gates, and the parts that it makes, by the names that the next map has for them."""
        old = dict(zip(m.old_names, self.at.values(), strict=True))
        gates = [self._gate(m, gate, old) for gate in m.gates]
        within = grids.within
        through, around = without_same_step(grids.through, grids.around, within)
        entry = through if grids.entry is None else without_same_step(grids.entry, grids.around, within)[0]
        made: dict[str, str] = {}
        for p, part in enumerate(parts):
            held = [gates[g] for g in range(len(gates)) if not (absent(through[p][g]) and absent(entry[p][g]))]
            kept = [(node, around[p][q]) for q, node in enumerate(old.values()) if not absent(around[p][q])]
            given = [] if within is None else [q for q in range(len(parts)) if np.any(within[p][q])]
            alone = len(held) + len(kept) + len(given) == 1
            passed = alone and bool(kept) and isinstance(kept[0][1], int)
            if alone and not last and (held or passed):
                made[part] = held[0] if held else kept[0][0]
            elif passed and kept[0][0].startswith("value "):
                made[part] = self._finish(kept[0][0], part)
            else:
                made[part] = self._part(part, m.new_sizes[p], last=last)
                for gate in held:
                    self._join(gate, made[part])
                for node, _ in kept:
                    self._join(node, made[part])
        if within is not None:
            for p, part in enumerate(parts):
                for q, other in enumerate(parts):
                    if np.any(within[p][q]):
                        self._join(made[other], made[part])
        self.at = made

    def _gate(self, m: Map, gate: str, old: Mapping[str, str]) -> str:
        name = f"gate {gate}"
        while name in self.nodes:
            name += "'"
        self.nodes[name] = Node(name, "gate", gate, gate_names(self.cell.gates).get(gate, "").replace("_", " "))
        if m.U is not None:
            self.edges[old[m.reads], name] = Edge(old[m.reads], name, "weights", self._called(m.U, "U"))
        if m.W is not None:
            self.edges[INPUT, name] = Edge(INPUT, name, "input", self._called(m.W, "W"))
        return name

    def _part(self, part: str, size: int, *, last: bool) -> str:
        name = f"new {part}" if last else f"value {part}"
        while name in self.nodes:
            name += "'"
        self.nodes[name] = Node(name, "new" if last else "value", f"{part}'" if last else part, str(size))
        return name

    def _finish(self, name: str, part: str) -> str:
        """Make a value that is kept to the end a part of the new state."""
        new = f"new {part}"
        self.nodes = {
            (new if n == name else n): (replace(node, name=new, kind="new", label=f"{part}'") if n == name else node)
            for n, node in self.nodes.items()
        }
        renamed = [replace(e, start=_as(e.start, name, new), end=_as(e.end, name, new)) for e in self.edges.values()]
        self.edges = {(e.start, e.end): e for e in renamed}
        return new

    def _join(self, start: str, end: str) -> None:
        self.edges.setdefault((start, end), Edge(start, end, "gate" if start.startswith("gate ") else "value"))

    def _called(self, weights: Array, usual: str) -> str:
        """Return the name of the cell's own array that a map's weights are, or are rows of."""
        named = self.cell.weights().items()
        return next((name for name, array in named if np.may_share_memory(array, weights)), usual)


def _as(name: str, old: str, new: str) -> str:
    return new if name == old else name


def _anywhere(size: int, seed: int) -> Array:
    """Return a place where no derivative is zero by chance."""
    return np.random.default_rng(seed).standard_normal((size, 1))
