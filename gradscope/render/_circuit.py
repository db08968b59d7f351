"""Where the boxes and lines of a diagram go, in inches from its lower left corner.

As on a circuit board: every part of the state has a track from its old box at the left to its new box at the right,
gates stand in a row below, in the order in which they are computed, and what goes into them runs on buses below
them. What a gate gives rises from it to the tracks. So lines meet at right angles, and no text lies on a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gradscope.report.model import Diagram, Edge, Node, percent

__all__ = ["NAME", "SMALL", "Box", "Circuit", "Line", "Word"]

NAME, SMALL = 9.0, 7.0  # points
BUS = 0.17  # inches from a bus to the next
HEIGHTS = (0.28, 0.4, 0.53)  # of a box with one line, two, three
PAD, APART = 0.13, 0.16  # around a box's text; between boxes
TAP, LINK, MIX = 0.15, 0.2, 0.4  # columns where lines leave tracks, join them late, and cross at the beginning
ABOVE = 0.075  # from a track to the text over it

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
    road: str
    share: float | None = None
    tip: bool = False
    dot: bool = False
    track: bool = False


@dataclass(frozen=True)
class Word:
    """A text: the left end of its base line, or the right end."""

    text: str
    x: float
    y: float
    road: str
    align: str = "left"


@dataclass
class _Track:
    """A horizontal line; what runs on it changes where something joins: (x, road, share)."""

    y: float
    pieces: list[tuple[float, str, float | None]] = field(default_factory=list)

    def join(self, x: float, road: str, share: float | None) -> None:
        """Begin it, or let it be a road around the weights from here on."""
        if not self.pieces or (road == "around" and self.pieces[-1][1] != "around"):
            self.pieces.append((x, road, share))


def _percent(share: float) -> str:
    """Write a share; one that is slightly below zero with one digit more, where that shows it."""
    if not -0.005 <= share < 0:
        return percent(share)
    return "about 0%" if share > -0.0005 else f"{share:.1%}"


class Circuit:
    """A diagram, laid out.

    Attributes:
        boxes, lines, words: what there is to draw.
        width, height: of all of it, in inches.
    """

    def __init__(self, diagram: Diagram, measure: Measure) -> None:
        self.diagram, self.measure = diagram, measure
        self.boxes: dict[str, Box] = {}
        self.lines: list[Line] = []
        self.words: list[Word] = []
        self.kinds = {n.name: n.kind for n in diagram.nodes}
        self.read = list(dict.fromkeys(e.start for e in diagram.edges if e.road == "weights"))
        self.taps: dict[str, float] = {}
        self.linked: set[str] = set()
        self.end = 0.0  # of the text over the tracks
        self._rows()
        self._columns()

    def _into(self, name: str, *roads: str) -> list[Edge]:
        return [e for e in self.diagram.edges if e.end == name and e.road in roads]

    def _from(self, name: str, *roads: str) -> list[Edge]:
        return [e for e in self.diagram.edges if e.start == name and e.road in roads]

    def _of(self, *kinds: str) -> list[Node]:
        return [n for n in self.diagram.nodes if n.kind in kinds]

    def _lines_of(self, node: Node) -> tuple[str, ...]:
        lines = (node.label, node.note) if node.note else (node.label,)
        shares = [e.share for e in self._into(node.name, "weights") if e.share is not None]
        return (*lines, _percent(shares[0])) if node.kind == "gate" and shares else lines

    def _size(self, node: Node) -> tuple[float, float]:
        lines = self._lines_of(node)
        wide = max(self.measure(t, NAME if i == 0 else SMALL) for i, t in enumerate(lines))
        return max(0.34, wide + PAD), HEIGHTS[len(lines) - 1]

    def _place(self, node: Node, x: float, y: float, width: float) -> Box:
        box = Box(node, x, y, width, self._size(node)[1], self._lines_of(node))
        self.boxes[node.name] = box
        return box

    def _rows(self) -> None:
        """Give every track and bus its height: parts that weights read lie next to the gates."""
        old = [n.name[4:] for n in self._of("old")]
        new = sorted((n.name for n in self._of("new")), key=lambda n: old.index(n[4:]) if n[4:] in old else len(old))
        new = new[::-1] if self.read else new
        tall = max((self._size(n)[1] for n in self._of("input")), default=0.0)
        self.bus = {name: tall + BUS * (len(self.read) - i) - 0.1 for i, name in enumerate(self.read)} | {"": tall / 2}
        highest = max((self._size(n)[1] for n in self._of("gate")), default=0.0)
        self.row = max(self.bus.values()) + 0.2 + highest / 2
        above = self.row + highest / 2 + 0.3
        step = APART + max(self._size(n)[1] for n in self._of("old", "new", "value"))
        rows = [*new, *(n.name for n in self._of("value"))][::-1]
        self.tracks = {name: _Track(above + step * i) for i, name in enumerate(rows)}
        lost = [p for p in old if f"new {p}" not in self.tracks]
        self.heights = {f"old {p}": self.tracks[f"new {p}"].y for p in old if p not in lost}
        self.heights |= {f"old {p}": above + step * (len(rows) + i) for i, p in enumerate(lost)}
        self.heights |= {name: track.y for name, track in self.tracks.items()}
        self.height = max(self.heights.values()) + 0.26

    def _columns(self) -> None:
        """Go from left to right: old boxes, lines that leave them, gates and values in their order, new boxes."""
        old, entering = self._of("old"), self._of("input")
        wide = max(self._size(n)[0] for n in (*old, *entering))
        for node in old:
            self._place(node, wide / 2, self.heights[node.name], wide)
        for node in entering:
            if self._from(node.name, "input"):
                self.taps[""] = self._place(node, wide / 2, self.bus[""], wide).right
        x = wide
        for name in [n.name for n in old if n.name in self.read]:
            x += max(TAP, self.measure(self._named(self._from(name, "weights")), SMALL) + 0.08)
            self._tap_old(name, x)
        x += TAP
        x = self._begin(x)
        self.reached: dict[str, tuple[float, list[Edge]]] = {}
        for node in self._of("gate", "value"):
            x = self._gate(node, x) if node.kind == "gate" else self._value(node, x)
        for node in self._of("new"):
            x = self._link(node.name, x)
        self._buses()
        self._new(max(x + 0.2, self.end + 0.16))

    def _tap_old(self, name: str, x: float) -> None:
        """Lead an old part down to its bus."""
        y, goes = self.heights[name], self._straight(name)
        start = () if goes else ((self.boxes[name].right, y),)
        self.lines.append(Line((*start, (x, y), (x, self.bus[name])), "weights", dot=goes is not None))
        self.taps[name] = x

    def _straight(self, old: str) -> Edge | None:
        """Return the edge from an old part to the part on the same height."""
        edges = self._from(old, "around", "value")
        return next((e for e in edges if self.heights[e.end] == self.heights[old]), None)

    def _begin(self, x: float) -> float:
        """Begin the tracks that start from old parts; what goes to the track of another part crosses over here."""
        edges = [e for n in self._of("old") for e in self._from(n.name, "around", "value")]
        across = [e for e in edges if e is not self._straight(e.start)]
        after = x + MIX if across else x
        for e in edges:
            if e not in across:
                self.tracks[e.end].join(self.boxes[e.start].right, e.road, e.share)
        for e in across:
            y, goes, met = self.heights[e.start], self._straight(e.start), bool(self.tracks[e.end].pieces)
            start = () if goes else ((self.boxes[e.start].right, y),)
            self.lines.append(
                Line((*start, (x, y), (after, self.heights[e.end])), e.road, e.share, tip=met, dot=goes is not None)
            )
            self.tracks[e.end].join(after, e.road, e.share)
        around = [e for e in edges if e.road == "around"]
        if not around:
            return after
        text = self._said(around[0])
        top = max(self.heights[e.end] for e in around)
        self.words.append(Word(text, after + 0.06, top + ABOVE, "around"))
        self.end = after + 0.06 + self.measure(text, SMALL)
        crossed = top < max(self.heights.values())  # by what rises to tracks above
        return after + self.measure(text, SMALL) if crossed else after

    def _said(self, e: Edge) -> str:
        known = "" if e.share is None else f" {_percent(e.share)}"
        return f"around{known}, {e.label}" if known and e.label else f"around{known}"

    def _gate(self, node: Node, x: float) -> float:
        """Place a gate, with what goes into it from below and what rises from it."""
        enters = [(e, e.start) for e in self._into(node.name, "weights", "value")]
        enters += [(e, "") for e in self._into(node.name, "input")]
        for _, bus in enters:
            x = x if bus in self.taps else self._tap(bus, x)
        wide = self._size(node)[0]
        box = self._place(node, x + (APART + wide) / 2, self.row, wide)
        for i, (e, bus) in enumerate(enters):
            at = box.x + 0.1 * (i - (len(enters) - 1) / 2)
            self.lines.append(Line(((at, self.bus[bus]), (at, box.bottom)), e.road, e.share, tip=True))
            self.reached[bus] = (at, [*self.reached.get(bus, (at, []))[1], e])
        for e in self._from(node.name, "gate"):
            track = self.tracks[e.end]
            self.lines.append(Line(((box.x, box.y + box.height / 2), (box.x, track.y)), "gate", e.share, tip=True))
            track.join(box.x, "gate", None)
        return box.right + APART / 2

    def _tap(self, name: str, x: float) -> float:
        """Lead what is made within the step down to its bus: the value of a gate, or what runs on a track."""
        y, held = self.bus[name], self.boxes.get(name)
        if held is not None and held.node.kind == "value":
            points: tuple[Point, ...] = ((held.x, held.bottom), (held.x, y))
        elif held is not None:
            x = x + 0.06
            points = ((held.right, held.y), (x, held.y), (x, y))
        else:
            x = self._link(name, x) + 0.1
            points = ((x, self.heights[name]), (x, y))
        self.lines.append(Line(points, "weights", dot=held is None))
        self.taps[name] = points[-1][0]
        return x

    def _value(self, node: Node, x: float) -> float:
        """End the track of a value in a box."""
        x, (wide, _) = self._link(node.name, x), self._size(node)
        box = self._place(node, x + (APART + wide) / 2, self.heights[node.name], wide)
        self._run(node.name, box.x - box.width / 2)
        return box.right + APART / 2

    def _link(self, name: str, x: float) -> float:
        """Join what another part of the same step gives to a track, in a column for each."""
        if name in self.linked:
            return x
        self.linked.add(name)
        for e in self._into(name, "around", "value"):
            if self.kinds[e.start] == "old":
                continue
            x = self._link(e.start, x) + LINK
            held, y = self.boxes.get(e.start), self.heights[e.start]
            start = () if held is None else ((held.right, y),)
            points = (*start, (x, y), (x, self.heights[name]))
            met = bool(self.tracks[name].pieces)
            self.lines.append(Line(points, e.road, e.share, tip=met, dot=held is None))
            self.tracks[name].join(x, e.road, e.share)
        return x

    def _run(self, name: str, end: float) -> None:
        """Draw a track up to its box."""
        track = self.tracks[name]
        for i, (x, road, share) in enumerate(track.pieces):
            last = i + 1 == len(track.pieces)
            stop = end if last else track.pieces[i + 1][0]
            self.lines.append(Line(((x, track.y), (stop, track.y)), road, share, tip=last, track=True))

    def _buses(self) -> None:
        """Draw each bus from where it is fed to its last gate, and name the weights that it leads to."""
        for name, (end, edges) in self.reached.items():
            x, y = self.taps[name], self.bus[name]
            self.lines.append(Line(((x, y), (end, y)), edges[0].road))
            text = self._named(edges)
            at = (x + 0.05, y + 0.03, "left") if not name else (x - 0.04, y - 0.03, "right")
            self.words.append(Word(text, at[0], at[1], edges[0].road, at[2]))

    def _named(self, edges: list[Edge]) -> str:
        return ", ".join(dict.fromkeys(e.label for e in edges if e.label))

    def _new(self, x: float) -> None:
        wide = max(self._size(n)[0] for n in self._of("new"))
        for node in self._of("new"):
            self._place(node, x + wide / 2, self.heights[node.name], wide)
            self._run(node.name, x)
        self.width = x + wide
