"""Draw diagrams of cells: a title, the circuit, a line that says how to read it. At their natural size, for print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from gradscope.render import _style
from gradscope.render._circuit import NAME_POINTS, NOTE_POINTS, Box, Circuit, Line
from gradscope.render._matplotlib import Axes, FancyBboxPatch, Figure, FontProperties, Polygon
from gradscope.render._words import cut
from gradscope.report.model import Diagram, Report

POINTS_PER_INCH = 72
LEAST_WIDTH = 85 / 25.4  # inches: a column of print
MOST_WIDTH = 260 / 25.4  # inches: a page of A4 in landscape, for several columns
MARGIN, LINE_HEIGHT = 0.1, 0.15  # inches
NOTE_LINE_HEIGHT = 0.9  # of LINE_HEIGHT
COLUMN_GAP, ROW_GAP = 0.3, 0.14  # inches between diagrams
TITLE_POINTS = 9.0
SKIP_POINTS, THIN_POINTS = 3.2, 0.9  # width of skip paths and of other lines where no share was measured
LEAST_POINTS, WIDEST_POINTS = 0.5, 6.0  # width for none of the gradient, and for all of it
MOST_ROWS = 8  # of diagrams; more stand side by side
DASHED_BELOW = -0.005  # share from which on a line is dashed
GATE_FILL, PART_FILL = "#F1F1F1", "#FFFFFF"
SKIP_PATH = "Coloured: the skip path around the recurrent weights."
ONLY_PATH = "There are no recurrent weights: the coloured path is the only one."
NO_SKIP_PATH = "There is no skip path around the recurrent weights."
MEASURED = "Line width: share of the gradient on the path"
NEGATIVE = "; dashed: negative share, paths cancel."

Point = tuple[float, float]


def page(report: Report, dpi: float, renderer: Any) -> Figure:
    """Draw a report's diagrams, one below the other; many of them also side by side, row by row.

    Args:
        report: with diagrams.
        dpi: pixels per inch.
        renderer: measures texts.
    """

    def measure(text: str, size: float) -> float:
        font = FontProperties(family="DejaVu Sans", size=size)
        return float(renderer.get_text_width_height_descent(_style.drawable(text), font, False)[0]) / dpi

    # 1. the circuits, and how many stand side by side
    circuits = [Circuit(d, measure) for d in report.diagrams]
    columns = _columns(circuits)
    circuits = circuits[: MOST_ROWS * columns]
    widest = max(c.width for c in circuits)
    width = max(LEAST_WIDTH, 2 * MARGIN + columns * widest + (columns - 1) * COLUMN_GAP)
    inner = width - 2 * MARGIN
    # 2. texts above and below them
    omitted = len(report.diagrams) - len(circuits)
    notes = [_legend([c.diagram for c in circuits], omitted), cut(report.footer, 240)]
    head = _wrapped(cut(report.sentence, 300), inner, lambda t: measure(t, TITLE_POINTS))
    foot = [line for text in notes for line in _wrapped(text, inner, lambda t: measure(t, NOTE_POINTS))]
    # 3. the height of the page
    rows = [circuits[i : i + columns] for i in range(0, len(circuits), columns)]
    titles = [LINE_HEIGHT + 0.05 if any(c.diagram.title for c in row) else 0.0 for row in rows]
    heights = [max(c.height for c in row) for row in rows]
    height = 2 * MARGIN + LINE_HEIGHT * len(head) + LINE_HEIGHT * NOTE_LINE_HEIGHT * len(foot) + 0.16
    height += sum(heights) + sum(titles) + ROW_GAP * (len(rows) - 1)
    # 4. the page, from top to bottom
    fig = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    y = height - MARGIN
    for text in head:
        y -= LINE_HEIGHT
        _write(ax, MARGIN, y + 0.04, text, size=TITLE_POINTS)
    y -= 0.06
    for row, title_height, row_height in zip(rows, titles, heights, strict=True):
        y -= title_height
        _draw_row(ax, row, y, title_height, inner, columns)
        y -= row_height + ROW_GAP
    for i, text in enumerate(reversed(foot)):
        y = MARGIN + NOTE_LINE_HEIGHT * LINE_HEIGHT * i
        _write(ax, MARGIN, y, text, size=NOTE_POINTS, color=_style.GREY)
    return fig


def _draw_row(ax: Axes, row: Sequence[Circuit], top: float, title_height: float, inner: float, columns: int) -> None:
    """Draw diagrams side by side, each in the middle of its column, with the title above it."""
    for i, circuit in enumerate(row):
        left = MARGIN + i * (inner + COLUMN_GAP) / columns
        if circuit.diagram.title:
            y = top - LINE_HEIGHT + title_height
            _write(ax, left, y, cut(circuit.diagram.title), size=NAME_POINTS, weight="bold")
        room = (inner - (columns - 1) * COLUMN_GAP) / columns - circuit.width
        _draw_circuit(ax, circuit, left + room / 2, top - circuit.height)


def _columns(circuits: Sequence[Circuit]) -> int:
    """Return how many diagrams stand side by side: as many as it takes, and as there is room for."""
    widest = max(c.width for c in circuits)
    fit = int((MOST_WIDTH - 2 * MARGIN + COLUMN_GAP) / (widest + COLUMN_GAP))
    return max(1, min(fit, math.ceil(len(circuits) / MOST_ROWS)))


def _legend(diagrams: Sequence[Diagram], omitted: int) -> str:
    """Return how the diagrams are to be read, in sentences."""
    edges = list(chain.from_iterable(d.edges for d in diagrams))
    notes = list(filter(None, dict.fromkeys(d.note for d in diagrams)))
    paths = {e.path for e in edges}
    skip_path = SKIP_PATH if "weights" in paths else ONLY_PATH
    sentences = [skip_path] if "around" in paths else [] if notes else [NO_SKIP_PATH]
    sentences += notes
    shares = [e.share for e in edges if e.share is not None]
    if shares:
        sentences.append(MEASURED + (NEGATIVE if min(shares) < DASHED_BELOW else "."))
    if omitted:
        sentences.append(f"{omitted} more are not drawn.")
    return " ".join(sentences)


def _wrapped(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    lines: list[str] = []
    for word in text.split(" "):
        if lines and measure(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            while measure(word) > width and len(word) > 1:
                fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or measure(word[:n]) <= width)
                lines.append(word[:fits])
                word = word[fits:]
            lines.append(word)
    return [line for line in lines if line]


def _write(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    style = {"color": _style.BLACK, "va": "baseline", **style}
    ax.text(x, y, _style.drawable(text), parse_math=False, zorder=6, **style)


def _draw_circuit(ax: Axes, circuit: Circuit, x: float, y: float) -> None:
    """Draw a circuit whose lower left corner is (x, y)."""
    for line in circuit.lines:
        _draw_line(ax, line, x, y, circuit)
    for box in circuit.boxes.values():
        _draw_box(ax, box, x, y)
    for label in circuit.labels:
        colour = _style.ink(_colour(label.path)) if label.path == "around" else _style.GREY
        _write(ax, x + label.x, y + label.y, label.text, size=NOTE_POINTS, color=colour, ha=label.align)


def _colour(path: str) -> str:
    return {"around": _style.colour(4), "gate": _style.BLACK}.get(path, _style.GREY)


def _points_wide(line: Line, diagram: Diagram) -> float:
    """Return the width of a line in points."""
    if line.share is None:
        return LEAST_POINTS if diagram.measured else SKIP_POINTS if line.path == "around" else THIN_POINTS
    return LEAST_POINTS + (WIDEST_POINTS - LEAST_POINTS) * min(abs(line.share), 1.0)


def _track_edge(circuit: Circuit, point: Point, below: bool) -> float:
    """Return the height where the track through a point ends, seen from below or from above."""
    x, y = point
    tracks = [t for t in circuit.lines if t.track and t.points[0][1] == y]
    widths = [
        _points_wide(t, circuit.diagram) for t in tracks if t.points[0][0] <= x + 1e-9 and x <= t.points[1][0] + 1e-9
    ]
    half = max(widths, default=0.0) / 2 / POINTS_PER_INCH
    return y - half if below else y + half


def _draw_line(ax: Axes, line: Line, x: float, y: float, circuit: Circuit) -> None:
    width, colour = _points_wide(line, circuit.diagram), _colour(line.path)
    points = [(x + a, y + b) for a, b in line.points]
    order = 3.0 if line.path == "around" else 2.5 if line.track else 2.0
    if line.tip:
        (_, before), end = line.points[-2:]
        stop = end[1] if before == end[1] else _track_edge(circuit, end, before < end[1])
        points[-1] = _draw_tip(ax, points[-2], (x + end[0], y + stop), width, colour)
    xs, ys = zip(*points, strict=True)
    style: dict[str, Any] = {"solid_capstyle": "butt", "solid_joinstyle": "round"}
    if line.track:  # a white rim, so that lines that cross it seem to pass under it
        ax.plot(xs, ys, color="white", linewidth=width + 2.4, zorder=order - 0.2, **style)
    dashed = line.share is not None and line.share < DASHED_BELOW
    pattern = (0, (2, 1)) if dashed else "solid"
    ax.plot(xs, ys, color=colour, linewidth=width, zorder=order, linestyle=pattern, **style)
    if line.dot:
        size = max(width, 1.2) * 2.2
        ax.plot(*points[0], "o", color=colour, markersize=min(size, 5), markeredgewidth=0, zorder=4)


def _draw_tip(ax: Axes, before: Point, end: Point, width: float, colour: str) -> Point:
    """Draw an arrowhead, and return where the line has to stop."""
    dx, dy = end[0] - before[0], end[1] - before[1]
    length = math.hypot(dx, dy) or 1.0
    dx, dy = dx / length, dy / length
    long, half = (3.2 + 1.1 * width) / POINTS_PER_INCH, (1.7 + 0.75 * width) / POINTS_PER_INCH
    base = (end[0] - dx * long, end[1] - dy * long)
    corners = [end, (base[0] - dy * half, base[1] + dx * half), (base[0] + dy * half, base[1] - dx * half)]
    ax.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor="none", zorder=4))
    return base[0] + dx * long * 0.2, base[1] + dy * long * 0.2


def _draw_box(ax: Axes, box: Box, x: float, y: float) -> None:
    left, bottom = x + box.x - box.width / 2, y + box.bottom
    radius = {"gate": 0.04, "input": 0.12, "value": 0.12}.get(box.node.kind, 0.02)
    patch = FancyBboxPatch(
        (left, bottom),
        box.width,
        box.height,
        boxstyle=f"round,pad=0,rounding_size={radius}",
        facecolor=GATE_FILL if box.node.kind == "gate" else PART_FILL,
        edgecolor=_style.BLACK,
        linewidth=0.8,
        zorder=5,
    )
    ax.add_patch(patch)
    middle = y + box.y + 0.125 * (len(box.lines) - 1) / 2
    for i, text in enumerate(box.lines):
        size, colour = (NAME_POINTS, _style.BLACK) if i == 0 else (NOTE_POINTS, _style.GREY)
        _write(ax, x + box.x, middle - 0.125 * i, text, size=size, color=colour, ha="center", va="center_baseline")
