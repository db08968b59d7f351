"""Where the boxes and lines of a diagram go, in inches from its lower left corner.

As on a circuit board: every part of the state has a track from its old box at the left to its new box at the right,
gates stand in a row below, in the order in which they are computed, and their inputs run on buses below them. The
output of a gate rises from it to the tracks. So lines meet at right angles, and no text lies on a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gradscope.report.model import Diagram, Edge, Node, percent

NAME_POINTS, NOTE_POINTS = 9.0, 7.0
# all lengths in inches
BUS_GAP = 0.17  # from a bus to the next
BOX_HEIGHTS = (0.28, 0.4, 0.53)  # with one line of text, two, three
LEAST_BOX_WIDTH = 0.34
PADDING, BOX_GAP = 0.13, 0.16  # around a box's text; between boxes
TAP_WIDTH, LINK_WIDTH, CROSSING_WIDTH = 0.15, 0.2, 0.4  # columns where lines leave tracks, join them, and cross
TEXT_RISE = 0.075  # from a track to the text over it
ARROW_GAP = 0.1  # between lines into the same gate

Measure = Callable[[str, float], float]
"""Width in inches of a text of a size in points."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box around its centre, with lines of text."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2


@dataclass(frozen=True)
class Line:
    """A line along points.

    Attributes:
        tip: whether it ends in an arrowhead.
        dot: whether it leaves another line where it begins.
        track: whether other lines pass under it.
    """

    points: tuple[Point, ...]
    path: str
    share: float | None = None
    tip: bool = False
    dot: bool = False
    track: bool = False


@dataclass(frozen=True)
class Label:
    """A text on the left or right end of its base line, as `align` says; `path` as for `Edge`."""

    text: str
    x: float
    y: float
    path: str
    align: str = "left"


@dataclass
class _Track:
    """A horizontal line in pieces, (x where it begins, path, share): the path may change where a line joins."""

    y: float
    pieces: list[tuple[float, str, float | None]] = field(default_factory=list)

    def join(self, x: float, path: str, share: float | None) -> None:
        """Begin the track at x, or make it a skip path from there on."""
        if not self.pieces or (path == "around" and self.pieces[-1][1] != "around"):
            self.pieces.append((x, path, share))


def _percent(share: float) -> str:
    """Write a share; one that is slightly below zero with one digit more, where that shows it."""
    if not -0.005 <= share < 0:
        return percent(share)
    return "about 0%" if share > -0.0005 else f"{share:.1%}"


class Circuit:
    """A diagram, laid out.

    Attributes:
        boxes, lines, labels: what there is to draw.
        width, height: of the whole diagram.
    """

    def __init__(self, diagram: Diagram, measure: Measure) -> None:
        self.diagram, self.measure = diagram, measure
        self.boxes: dict[str, Box] = {}
        self.lines: list[Line] = []
        self.labels: list[Label] = []
        self.kinds = {n.name: n.kind for n in diagram.nodes}
        self.read_parts = list(dict.fromkeys(e.start for e in diagram.edges if e.path == "weights"))
        self.taps: dict[str, float] = {}
        self.linked: set[str] = set()
        self.text_end = 0.0  # x of the end of the text over the tracks
        self._rows()
        self._columns()

    def _edges_into(self, name: str, *paths: str) -> list[Edge]:
        return [e for e in self.diagram.edges if e.end == name and e.path in paths]

    def _edges_from(self, name: str, *paths: str) -> list[Edge]:
        return [e for e in self.diagram.edges if e.start == name and e.path in paths]

    def _nodes(self, *kinds: str) -> list[Node]:
        return [n for n in self.diagram.nodes if n.kind in kinds]

    def _lines_of(self, node: Node) -> tuple[str, ...]:
        lines = (node.label, node.note) if node.note else (node.label,)
        shares = [e.share for e in self._edges_into(node.name, "weights") if e.share is not None]
        return (*lines, _percent(shares[0])) if node.kind == "gate" and shares else lines

    def _size(self, node: Node) -> tuple[float, float]:
        lines = self._lines_of(node)
        width = max(self.measure(t, NAME_POINTS if i == 0 else NOTE_POINTS) for i, t in enumerate(lines))
        return max(LEAST_BOX_WIDTH, width + PADDING), BOX_HEIGHTS[len(lines) - 1]

    def _place(self, node: Node, x: float, y: float, width: float) -> Box:
        box = Box(node, x, y, width, self._size(node)[1], self._lines_of(node))
        self.boxes[node.name] = box
        return box

    def _tallest(self, *kinds: str) -> float:
        """Return the largest height of boxes of some kinds, 0 where there are none."""
        return max((self._size(n)[1] for n in self._nodes(*kinds)), default=0.0)

    def _widest(self, *kinds: str) -> float:
        return max(self._size(n)[0] for n in self._nodes(*kinds))

    def _rows(self) -> None:
        """Give every track and bus its height: parts that weights read lie next to the gates."""
        # 1. from below: the input's bus, those of the parts that weights read, the row of gates
        input_height = self._tallest("input")
        self.bus = {part: input_height + BUS_GAP * k - 0.1 for k, part in enumerate(reversed(self.read_parts), 1)}
        self.bus[""] = input_height / 2
        gate_height = self._tallest("gate")
        self.row = max(self.bus.values()) + 0.2 + gate_height / 2
        # 2. a track for each new part, in the order of the old ones, and for each value
        above = self.row + gate_height / 2 + 0.3
        step = BOX_GAP + self._tallest("old", "new", "value")
        old = [node.name for node in self._nodes("old")]
        rank = {f"new {name.removeprefix('old ')}": i for i, name in enumerate(old)}
        new = sorted((n.name for n in self._nodes("new")), key=lambda name: rank.get(name, len(old)))
        rows = [*(new[::-1] if self.read_parts else new), *(n.name for n in self._nodes("value"))][::-1]
        self.tracks = {name: _Track(above + step * i) for i, name in enumerate(rows)}
        # 3. an old part on the height of its new one, or above all tracks
        self.heights = {name: track.y for name, track in self.tracks.items()}
        top = above + step * len(rows)
        for new_name, name in zip(rank, old, strict=True):
            if new_name in self.tracks:
                self.heights[name] = self.tracks[new_name].y
            else:
                self.heights[name], top = top, top + step
        self.height = max(self.heights.values()) + 0.26

    def _columns(self) -> None:
        """Go from left to right: old boxes, lines that leave them, gates and values in their order, new boxes."""
        old = self._nodes("old")
        width = self._widest("old", "input")
        for node in old:
            self._place(node, width / 2, self.heights[node.name], width)
        for node in self._nodes("input"):
            if self._edges_from(node.name, "input"):
                self.taps[""] = self._place(node, width / 2, self.bus[""], width).right
        x = width
        for name in [n.name for n in old if n.name in self.read_parts]:
            x += max(TAP_WIDTH, self.measure(self._weight_names(self._edges_from(name, "weights")), NOTE_POINTS) + 0.08)
            self._tap_old(name, x)
        x += TAP_WIDTH
        x = self._begin_tracks(x)
        self.bus_ends: dict[str, tuple[float, list[Edge]]] = {}  # x of the last gate on a bus, lines into gates
        for node in self._nodes("gate", "value"):
            x = self._gate(node, x) if node.kind == "gate" else self._value(node, x)
        for node in self._nodes("new"):
            x = self._link(node.name, x)
        self._buses()
        self._place_new(max(x + 0.2, self.text_end + 0.16))

    def _tap_old(self, name: str, x: float) -> None:
        """Lead an old part down to its bus."""
        points, dot = self._leave_old(name, x)
        self.lines.append(Line((*points, (x, self.bus[name])), "weights", dot=dot))
        self.taps[name] = x

    def _leave_old(self, name: str, x: float) -> tuple[tuple[Point, ...], bool]:
        """Return the points at which a line leaves an old part for x, and whether it leaves a track there."""
        y = self.heights[name]
        if self._straight(name):
            return ((x, y),), True
        return ((self.boxes[name].right, y), (x, y)), False

    def _straight(self, old: str) -> Edge | None:
        """Return the edge from an old part to the part on the same height."""
        edges = self._edges_from(old, "around", "value")
        return next((e for e in edges if self.heights[e.end] == self.heights[old]), None)

    def _begin_tracks(self, x: float) -> float:
        """Begin the tracks of old parts; a line to the track of another part crosses over in a column from x."""
        edges = [e for n in self._nodes("old") for e in self._edges_from(n.name, "around", "value")]
        crossing = [e for e in edges if e is not self._straight(e.start)]
        after = x + CROSSING_WIDTH if crossing else x
        for e in edges:
            if e not in crossing:
                self.tracks[e.end].join(self.boxes[e.start].right, e.path, e.share)
        for e in crossing:
            (points, dot), joins = self._leave_old(e.start, x), bool(self.tracks[e.end].pieces)
            self.lines.append(Line((*points, (after, self.heights[e.end])), e.path, e.share, tip=joins, dot=dot))
            self.tracks[e.end].join(after, e.path, e.share)
        return self._name_skip_path([e for e in edges if e.path == "around"], after)

    def _name_skip_path(self, edges: list[Edge], x: float) -> float:
        """Write the share of the skip paths over their top track, and return where the next column begins."""
        if not edges:
            return x
        share = "" if edges[0].share is None else f" {_percent(edges[0].share)}"
        text = f"skip{share}, {edges[0].label}" if share and edges[0].label else f"skip{share}"
        top = max(self.heights[e.end] for e in edges)
        self.labels.append(Label(text, x + 0.06, top + TEXT_RISE, "around"))
        self.text_end = x + 0.06 + self.measure(text, NOTE_POINTS)
        crossed = top < max(self.heights.values())  # by lines that rise to tracks above
        return x + self.measure(text, NOTE_POINTS) if crossed else x

    def _gate(self, node: Node, x: float) -> float:
        """Place a gate with the lines into it, from below, and the lines out of it, to tracks above."""
        inputs = [(e, e.start) for e in self._edges_into(node.name, "weights", "value")]
        inputs += [(e, "") for e in self._edges_into(node.name, "input")]
        for _, bus in inputs:
            x = x if bus in self.taps else self._tap(bus, x)
        width = self._size(node)[0]
        box = self._place(node, x + (BOX_GAP + width) / 2, self.row, width)
        for i, (e, bus) in enumerate(inputs):
            x_line = box.x + ARROW_GAP * (i - (len(inputs) - 1) / 2)
            self.lines.append(Line(((x_line, self.bus[bus]), (x_line, box.bottom)), e.path, e.share, tip=True))
            self.bus_ends[bus] = (x_line, [*self.bus_ends.get(bus, (x_line, []))[1], e])
        for e in self._edges_from(node.name, "gate"):
            track = self.tracks[e.end]
            self.lines.append(Line(((box.x, box.y + box.height / 2), (box.x, track.y)), "gate", e.share, tip=True))
            track.join(box.x, "gate", None)
        return box.right + BOX_GAP / 2

    def _tap(self, name: str, x: float) -> float:
        """Lead a value of the same step down to its bus, from the box of a value or gate, or from a track."""
        y, box = self.bus[name], self.boxes.get(name)
        if box is not None and box.node.kind == "value":
            points: tuple[Point, ...] = ((box.x, box.bottom), (box.x, y))
        elif box is not None:
            x = x + 0.06
            points = ((box.right, box.y), (x, box.y), (x, y))
        else:
            x = self._link(name, x) + 0.1
            points = ((x, self.heights[name]), (x, y))
        self.lines.append(Line(points, "weights", dot=box is None))
        self.taps[name] = points[-1][0]
        return x

    def _value(self, node: Node, x: float) -> float:
        """End the track of a value in a box."""
        x, (width, _) = self._link(node.name, x), self._size(node)
        box = self._place(node, x + (BOX_GAP + width) / 2, self.heights[node.name], width)
        self._draw_track(node.name, box.x - box.width / 2)
        return box.right + BOX_GAP / 2

    def _link(self, name: str, x: float) -> float:
        """Join the lines from other parts of the same step to a track, in a column for each."""
        if name in self.linked:
            return x
        self.linked.add(name)
        for e in self._edges_into(name, "around", "value"):
            if self.kinds[e.start] == "old":
                continue
            x = self._link(e.start, x) + LINK_WIDTH
            box, y = self.boxes.get(e.start), self.heights[e.start]
            start = () if box is None else ((box.right, y),)
            points = (*start, (x, y), (x, self.heights[name]))
            joins = bool(self.tracks[name].pieces)
            self.lines.append(Line(points, e.path, e.share, tip=joins, dot=box is None))
            self.tracks[name].join(x, e.path, e.share)
        return x

    def _draw_track(self, name: str, end: float) -> None:
        """Draw a track up to its box."""
        track = self.tracks[name]
        for i, (x, path, share) in enumerate(track.pieces):
            last = i + 1 == len(track.pieces)
            stop = end if last else track.pieces[i + 1][0]
            self.lines.append(Line(((x, track.y), (stop, track.y)), path, share, tip=last, track=True))

    def _buses(self) -> None:
        """Draw each bus from where it is fed to its last gate, and name the weights that it leads to."""
        for name, (end, edges) in self.bus_ends.items():
            x, y = self.taps[name], self.bus[name]
            self.lines.append(Line(((x, y), (end, y)), edges[0].path))
            dx, dy, align = (0.05, 0.03, "left") if not name else (-0.04, -0.03, "right")
            self.labels.append(Label(self._weight_names(edges), x + dx, y + dy, edges[0].path, align))

    def _weight_names(self, edges: list[Edge]) -> str:
        return ", ".join(dict.fromkeys(e.label for e in edges if e.label))

    def _place_new(self, x: float) -> None:
        """Place the new parts in a column that begins at x, and draw their tracks up to it."""
        width = self._widest("new")
        for node in self._nodes("new"):
            self._place(node, x + width / 2, self.heights[node.name], width)
            self._draw_track(node.name, x)
        self.width = x + width
