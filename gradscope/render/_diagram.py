"""Draw diagrams of cells: a title, the circuit, a line of what it means. At their own size, to be printed so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradscope.render import _style
from gradscope.render._circuit import NAME, SMALL, Box, Circuit, Line
from gradscope.render._matplotlib import Axes, FancyBboxPatch, Figure, FontProperties, Polygon
from gradscope.render._words import cut
from gradscope.report.model import Diagram, Report

__all__ = ["LEAST", "page"]

LEAST = 85 / 25.4  # inches: a column of print
MARGIN, ROW = 0.1, 0.15  # inches
TITLE = 9.0  # points
AROUND, THIN = 3.2, 0.9  # points: the road around, and other lines, where nothing was measured
LEAN, WIDEST = 0.5, 6.0  # points: none of the gradient, all of it
ROWS = 8  # of diagrams; more stand side by side
WIDE = 260 / 25.4  # inches: a page of A4 on its side, which several columns may take
ASIDE = 0.3  # inches between columns
SLIGHT = -0.005  # a share from which on it is drawn as below zero
GATE, PART = "#F1F1F1", "#FFFFFF"
MEANING = "Coloured: the road around the recurrent weights."
ALONE = "There are no recurrent weights: the coloured road is the only one."
NONE = "There is no road around the recurrent weights."
MEASURED = "Lines are as wide as the share of the gradient on their road"


def page(report: Report, dpi: float, renderer: Any) -> Figure:
    """Draw a report's diagrams, one below the other; many of them also side by side, row by row.

    Args:
        report: with diagrams.
        dpi: pixels per inch.
        renderer: measures texts.
    """

    def wide(text: str, size: float) -> float:
        prop = FontProperties(family="DejaVu Sans", size=size)
        return float(renderer.get_text_width_height_descent(_style.drawable(text), prop, False)[0]) / dpi

    circuits = [Circuit(d, wide) for d in report.diagrams]
    columns = _columns(circuits)
    circuits = circuits[: ROWS * columns]
    shown = report.diagrams[: len(circuits)]
    each = max(c.width for c in circuits)
    width = max(LEAST, 2 * MARGIN + columns * each + (columns - 1) * ASIDE)
    inner = width - 2 * MARGIN
    head = _wrapped(cut(report.sentence, 300), inner, lambda t: wide(t, TITLE))
    foot = _wrapped(_meaning(shown, len(report.diagrams) - len(shown)), inner, lambda t: wide(t, SMALL))
    foot += _wrapped(cut(report.footer, 240), inner, lambda t: wide(t, SMALL)) if report.footer else []
    rows = [range(i, min(i + columns, len(shown))) for i in range(0, len(shown), columns)]
    titles = [max(ROW + 0.05 if shown[i].title else 0.0 for i in row) for row in rows]
    heights = [max(circuits[i].height for i in row) for row in rows]
    height = 2 * MARGIN + ROW * len(head) + ROW * 0.9 * len(foot) + 0.16
    height += sum(heights) + sum(titles) + 0.14 * (len(rows) - 1)
    fig = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    y = height - MARGIN
    for text in head:
        y -= ROW
        _write(ax, MARGIN, y + 0.04, text, size=TITLE)
    y -= 0.06
    for row, title, tall in zip(rows, titles, heights, strict=True):
        y -= title
        for i, x in zip(row, _lefts(columns, inner), strict=False):
            if shown[i].title:
                _write(ax, x, y - ROW + title, cut(shown[i].title), size=NAME, weight="bold")
            room = (inner - (columns - 1) * ASIDE) / columns - circuits[i].width
            _circuit(ax, circuits[i], x + room / 2, y - circuits[i].height)
        y -= tall + 0.14
    for i, text in enumerate(reversed(foot)):
        _write(ax, MARGIN, MARGIN + 0.9 * ROW * i, text, size=SMALL, color=_style.GREY)
    return fig


def _columns(circuits: Sequence[Circuit]) -> int:
    """Return how many diagrams stand side by side: as many as it takes, and as there is room for."""
    each = max(c.width for c in circuits)
    fit = int((WIDE - 2 * MARGIN + ASIDE) / (each + ASIDE))
    return max(1, min(fit, math.ceil(len(circuits) / ROWS)))


def _lefts(columns: int, inner: float) -> list[float]:
    """Return where columns begin."""
    return [MARGIN + i * (inner + ASIDE) / columns for i in range(columns)]


def _meaning(shown: Sequence[Diagram], more: int) -> str:
    edges = [e for d in shown for e in d.edges]
    notes = [d.note for d in shown if d.note]
    roads = {e.road for e in edges}
    known = MEANING if "weights" in roads else ALONE
    said = [known] if "around" in roads else [] if notes else [NONE]
    said += dict.fromkeys(notes)
    shares = [e.share for e in edges if e.share is not None]
    if shares:
        said.append(f"{MEASURED}{'; dashed: below zero, roads cancel' if min(shares) < SLIGHT else ''}.")
    return " ".join([*said, f"{more} more are not drawn."] if more > 0 else said)


def _wrapped(text: str, width: float, measure: Any) -> list[str]:
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


def _circuit(ax: Axes, c: Circuit, x: float, y: float) -> None:
    for line in c.lines:
        _line(ax, line, x, y, c)
    for box in c.boxes.values():
        _box(ax, box, x, y)
    for word in c.words:
        value = _style.ink(_colour(word.road)) if word.road == "around" else _style.GREY
        _write(ax, x + word.x, y + word.y, word.text, size=SMALL, color=value, ha=word.align)


def _colour(road: str) -> str:
    return {"around": _style.colour(4), "gate": _style.BLACK}.get(road, _style.GREY)


def _width(line: Line, diagram: Diagram) -> float:
    if line.share is None:
        return LEAN if diagram.measured else AROUND if line.road == "around" else THIN
    return LEAN + (WIDEST - LEAN) * min(abs(line.share), 1.0)


def _edge(c: Circuit, at: tuple[float, float], below: bool) -> float:
    """Return the height where the track through a point ends, seen from below or from above."""
    met = [
        _width(t, c.diagram)
        for t in c.lines
        if t.track and t.points[0][1] == at[1] and t.points[0][0] <= at[0] + 1e-9 and at[0] <= t.points[1][0] + 1e-9
    ]
    half = max(met, default=0.0) / 2 / 72
    return at[1] - half if below else at[1] + half


def _line(ax: Axes, line: Line, x: float, y: float, c: Circuit) -> None:
    wide, value = _width(line, c.diagram), _colour(line.road)
    points = [(x + a, y + b) for a, b in line.points]
    order = 3.0 if line.road == "around" else 2.5 if line.track else 2.0
    if line.tip:
        (_, before), end = line.points[-2:]
        stop = end[1] if before == end[1] else _edge(c, end, before < end[1])
        points[-1] = _tip(ax, points[-2], (x + end[0], y + stop), wide, value)
    xs, ys = zip(*points, strict=True)
    style: dict[str, Any] = {"solid_capstyle": "butt", "solid_joinstyle": "round"}
    if line.track:  # what passes under it, passes under
        ax.plot(xs, ys, color="white", linewidth=wide + 2.4, zorder=order - 0.2, **style)
    dashed = line.share is not None and line.share < SLIGHT
    ax.plot(xs, ys, color=value, linewidth=wide, zorder=order, linestyle=(0, (2, 1)) if dashed else "solid", **style)
    if line.dot:
        size = max(wide, 1.2) * 2.2
        ax.plot(*points[0], "o", color=value, markersize=min(size, 5), markeredgewidth=0, zorder=4)


def _tip(
    ax: Axes, before: tuple[float, float], end: tuple[float, float], wide: float, value: str
) -> tuple[float, float]:
    """Draw an arrowhead, and return where the line has to stop."""
    dx, dy = end[0] - before[0], end[1] - before[1]
    size = math.hypot(dx, dy) or 1.0
    dx, dy = dx / size, dy / size
    long, half = (3.2 + 1.1 * wide) / 72, (1.7 + 0.75 * wide) / 72
    base = (end[0] - dx * long, end[1] - dy * long)
    corners = [end, (base[0] - dy * half, base[1] + dx * half), (base[0] + dy * half, base[1] - dx * half)]
    ax.add_patch(Polygon(corners, closed=True, facecolor=value, edgecolor="none", zorder=4))
    return base[0] + dx * long * 0.2, base[1] + dy * long * 0.2


def _box(ax: Axes, box: Box, x: float, y: float) -> None:
    left, bottom = x + box.x - box.width / 2, y + box.bottom
    round_ = {"gate": 0.04, "input": 0.12, "value": 0.12}.get(box.node.kind, 0.02)
    style = f"round,pad=0,rounding_size={round_}"
    fill = GATE if box.node.kind == "gate" else PART
    patch = FancyBboxPatch(
        (left, bottom), box.width, box.height, boxstyle=style, facecolor=fill, edgecolor=_style.BLACK, linewidth=0.8
    )
    patch.set_zorder(5)
    ax.add_patch(patch)
    middle = y + box.y + 0.125 * (len(box.lines) - 1) / 2
    for i, text in enumerate(box.lines):
        size, value = (NAME, _style.BLACK) if i == 0 else (SMALL, _style.GREY)
        _write(ax, x + box.x, middle - 0.125 * i, text, size=size, color=value, ha="center", va="center_baseline")
