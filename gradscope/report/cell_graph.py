"""Which gates, parts and weights of a cell does a path run through?  Read off the structure of its Jacobian.

Every map of a step says which gates its new parts depend on, which old parts, and which part its weights read
(`maps.Grids`). A same-step dependency is undone first, so that each path is drawn once: of an LSTM, h' depends on c'
and o. Maps in a row become one graph. A part that bypasses a map, or is the value of one gate, gets no box. No
cell is known by name: a new file in the room of cells is drawn, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradscope.maps.grid import Grid, absent
from gradscope.maps.jacobian import Array, Grids, ranges
from gradscope.maps.same_step import without_same_step
from gradscope.networks.cell import Cell, MapsCell
from gradscope.networks.gate import gate_names
from gradscope.networks.map import Map
from gradscope.networks.network import Network
from gradscope.report.model import Diagram, Edge, Node

INPUT = "input"  # name of the node of the input


def cell_graph(cell: Network) -> Diagram:
    """Return boxes and lines of one layer, without shares of the gradient."""
    return _MapsGraph(cell).diagram() if isinstance(cell, MapsCell) else _dense_graph(cell)


def _dense_graph(cell: Network) -> Diagram:
    """Draw a step with a dense Jacobian: one box, its parts, and the skip paths where they are known."""
    step = Node("gate through", "gate", "step")
    old = [Node(f"old {p}", "old", p, str(n)) for p, n in cell.sizes.items()]
    new = [Node(f"new {p}", "new", f"{p}'", str(n)) for p, n in cell.sizes.items()]
    inputs = (Node(INPUT, "input", "x", str(cell.input_size)),) if cell.input_size else ()
    edges = [Edge(INPUT, step.name, "input")] if inputs else []
    around = np.zeros((cell.state_size, cell.state_size))
    through, note = np.ones_like(around), "What is inside the function is not known."
    if isinstance(cell, Cell):  # a function may be defined at its own states only
        with np.errstate(all="ignore"):
            J = cell.linearise(_generic_point(cell.input_size, 0), _generic_point(cell.state_size, 1))
            around, through = J.jvp_split(np.eye(cell.state_size))
        note = "The box stands for all paths through weights."
    slices = ranges(tuple(cell.sizes.values()))
    for a, columns in zip(old, slices, strict=True):
        edges += [Edge(a.name, step.name, "weights")] if through[:, columns].any() else []
        edges += [
            Edge(a.name, b.name, "around") for b, rows in zip(new, slices, strict=True) if around[rows, columns].any()
        ]
    edges += [Edge(step.name, b.name, "gate") for b, rows in zip(new, slices, strict=True) if through[rows].any()]
    return Diagram((*old, *inputs, step, *new), tuple(edges), note=note)


class _MapsGraph:
    """The graph of one cell, grown map by map.

    Attributes:
        holders: {part: name of the node that holds it} between two maps.
    """

    def __init__(self, cell: MapsCell) -> None:
        self.cell = cell
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], Edge] = {}
        first = cell.maps[0]
        self.holders = {part: f"old {part}" for part in first.old_names}
        for part, size in zip(first.old_names, first.old_sizes, strict=True):
            self.nodes[f"old {part}"] = Node(f"old {part}", "old", part, str(size))
        self.nodes[INPUT] = Node(INPUT, "input", "x", str(cell.input_size))
        x, s = _generic_point(cell.input_size, 0), _generic_point(sum(first.old_sizes), 1)
        for m, following in zip(cell.maps, (*cell.maps[1:], None), strict=True):
            with np.errstate(all="ignore"):
                grids = m.differentiate(x, s).grids
                s = m.apply(x, s)
            self._add_map(m, grids, m.parts if following is None else following.old_names, last=following is None)

    def diagram(self) -> Diagram:
        """Return the graph, with the lines of skip paths marked."""
        edges = self.edges.values()
        pairs = {(e.start, e.end) for e in edges if e.path == "value"}
        from_old = _reached(pairs, {n for n in self.nodes if n.startswith("old ")})
        to_new = _reached({(end, start) for start, end in pairs}, {n for n in self.nodes if n.startswith("new ")})
        skip = {(start, end) for start, end in pairs if start in from_old and end in to_new}
        marked = tuple(replace(e, path="around") if (e.start, e.end) in skip else e for e in edges)
        return Diagram(tuple(self.nodes.values()), marked)

    def _add_map(self, m: Map, grids: Grids, parts: Sequence[str], *, last: bool) -> None:
        """Add the gates of one map and its new parts.

        Args:
            m: the map.
            grids: its derivatives at a generic point.
            parts: names that the next map has for the new parts.
            last: whether the new parts are the new state.
        """
        old = dict(zip(m.old_names, self.holders.values(), strict=True))
        gates = [self._gate(m, gate, old) for gate in m.gates]
        through, around = without_same_step(grids.through, grids.around, grids.within)
        entry = through if grids.entry is None else without_same_step(grids.entry, grids.around, grids.within)[0]
        within = _is_present(grids.within, len(parts))
        holders: dict[str, str] = {}
        for p, part in enumerate(parts):
            by_gate = zip(gates, through[p], entry[p], strict=True)
            sources = [gate for gate, a, b in by_gate if not (absent(a) and absent(b))]
            skips = {node: d for node, d in zip(old.values(), around[p], strict=True) if not absent(d)}
            bypass, single = "", len(sources) + len(skips) + sum(within[p]) == 1
            if single and skips:  # the integer 1: the old part as it is
                bypass = next((node for node, d in skips.items() if isinstance(d, int)), "")
            if single and not last and (sources or bypass):
                holders[part] = sources[0] if sources else bypass
            elif bypass.startswith("value "):
                holders[part] = self._as_new(bypass, part)
            else:
                holders[part] = self._part(part, m.new_sizes[p], (*sources, *skips), last=last)
        for p, q in np.argwhere(within):
            self._join(holders[parts[q]], holders[parts[p]])
        self.holders = holders

    def _gate(self, m: Map, gate: str, old: Mapping[str, str]) -> str:
        """Add a gate with the lines into it, and return the name of its node."""
        name = self._free_name(f"gate {gate}")
        self.nodes[name] = Node(name, "gate", gate, gate_names(self.cell.gates).get(gate, "").replace("_", " "))
        if m.U is not None:
            self.edges[old[m.reads], name] = Edge(old[m.reads], name, "weights", self._array_name(m.U, "U"))
        if m.W is not None:
            self.edges[INPUT, name] = Edge(INPUT, name, "input", self._array_name(m.W, "W"))
        return name

    def _part(self, part: str, size: int, sources: Sequence[str], *, last: bool) -> str:
        """Add a part of the new state, or a value between two maps, and return the name of its node."""
        kind = "new" if last else "value"
        name = self._free_name(f"{kind} {part}")
        self.nodes[name] = Node(name, kind, f"{part}'" if last else part, str(size))
        for source in sources:
            self._join(source, name)
        return name

    def _free_name(self, name: str) -> str:
        while name in self.nodes:
            name += "'"
        return name

    def _as_new(self, value: str, part: str) -> str:
        """Turn a value that bypasses the last map into a part of the new state, and return the name of its node."""
        new = f"new {part}"
        names = {name: name for name in self.nodes} | {value: new}
        nodes = self.nodes | {value: replace(self.nodes[value], name=new, kind="new", label=f"{part}'")}
        self.nodes = {names[name]: node for name, node in nodes.items()}
        edges = [replace(e, start=names[e.start], end=names[e.end]) for e in self.edges.values()]
        self.edges = {(e.start, e.end): e for e in edges}
        return new

    def _join(self, start: str, end: str) -> None:
        self.edges.setdefault((start, end), Edge(start, end, "gate" if start.startswith("gate ") else "value"))

    def _array_name(self, weights: Array, default: str) -> str:
        """Return the name of the cell's array that a map's weights are, or are rows of."""
        arrays = self.cell.weights().items()
        return next((name for name, array in arrays if np.may_share_memory(array, weights)), default)


def _is_present(grid: Grid | None, parts: int) -> NDArray[np.bool_]:
    """Return which entries of a grid of same-step dependencies there are, (parts, parts)."""
    if grid is None:
        return np.zeros((parts, parts), bool)
    return np.array([[bool(np.any(entry)) for entry in row] for row in grid])


def _reached(pairs: set[tuple[str, str]], starts: set[str]) -> set[str]:
    """Return the nodes that can be reached from some nodes along pairs (from, to), these nodes included."""
    reached = starts
    for _ in pairs:  # no path has more lines
        reached = reached | {end for start, end in pairs if start in reached}
    return reached


def _generic_point(size: int, seed: int) -> Array:
    """Return a column, (size, 1), at which no derivative is zero by chance."""
    return np.random.default_rng(seed).standard_normal((size, 1))
