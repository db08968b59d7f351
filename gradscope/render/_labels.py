"""Labels on one set of axes, once their place on the page is known: legend, ends of curves, levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gradscope.render import _style, _ticks
from gradscope.render._matplotlib import withStroke
from gradscope.render._panel import Drawn
from gradscope.render._place import OVERLAP_SCORE, Array, Box, crowding, spread
from gradscope.render._words import cut

END_POINTS, LEVEL_POINTS = 8.5, 7.5  # labels of curves, and of levels
EARLY_SHARE = 0.05  # a curve that ends this share of the axis before its right end is labelled inside
LINE_SIZES = 1.25  # from one line of a label to the next, in sizes of its text
KEY_POINTS, KEY_GAP_POINTS, EDGE_POINTS, COLUMN_GAP_POINTS = 22, 5, 4, 10  # of the legend
OUTSIDE_SCORE = 500.0  # of a label that leaves the axes, against points of ink

LINE: dict[str, Any] = {"color": _style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 1.8}
"""Of levels and marks."""

Measure = Callable[[str, float], tuple[float, float]]
"""Width and height in pixels of a text of a size in points."""


class Room(NamedTuple):
    """Axes, the pixels that are drawn on, the labels that are placed, and pixels per point."""

    drawn: Drawn
    ink: Array
    taken: list[Box]
    unit: float


def annotate(drawn: Drawn, wrapped: dict[int, list[str]], measure: Measure, unit: float) -> None:
    """Label what is drawn.

    Args:
        drawn: the panel on its axes.
        wrapped: lines of the labels beside the axes, by index into `drawn.ends`.
        measure: measures a text.
        unit: pixels per point.
    """
    if drawn.empty:
        return
    if drawn.radius:
        box = drawn.ax.bbox
        half = drawn.radius * box.width / box.height
        ticks = _ticks.linear(-half, half, 6)
        drawn.ax.set_xlim(-half, half)
        drawn.ax.set_xticks(ticks.at, ticks.labels)
    taken = _legend(drawn, measure, unit) if drawn.handles else []
    _beside(drawn, wrapped, unit)
    for level in drawn.levels:
        drawn.ax.axhline(level.y, **LINE)
    for mark in drawn.marks:
        drawn.ax.axvline(mark.x, **LINE)
    lines = [*(_across(drawn, v.y) for v in drawn.levels), *(_upright(drawn, m.x) for m in drawn.marks)]
    ink = np.concatenate([drawn.ink(), *lines])
    room = Room(drawn, ink, taken, unit)
    _early_ends(room, [i for i in range(len(drawn.ends)) if i not in wrapped], measure)
    for level in drawn.levels:
        text = _style.drawable(cut(level.label))
        _inside(room, text, LEVEL_POINTS, _style.GREY, _along(drawn, measure(text, LEVEL_POINTS), level.y, unit))
    for mark in drawn.marks:
        text = _style.drawable(cut(mark.label))
        _inside(room, text, LEVEL_POINTS, _style.GREY, _beside_mark(drawn, measure(text, LEVEL_POINTS), mark.x, unit))


def _early_ends(room: Room, indices: list[int], measure: Measure) -> None:
    """Label the curves that end before the right end of the axes, by index into `drawn.ends`."""
    drawn, unit = room.drawn, room.unit
    points = {i: drawn.ax.transData.transform(drawn.ends[i][2:]) for i in indices}
    for index, (x, y) in points.items():
        curve, colour, *_ = drawn.ends[index]
        near = [i for i, other in points.items() if abs(other[0] - x) < 10 * unit]
        heights = [LINE_SIZES * END_POINTS * unit] * len(near)
        spread_y = spread([float(points[i][1]) for i in near], heights, drawn.ax.bbox.y0, drawn.ax.bbox.y1)
        text = _style.drawable(cut(curve.label, 24))
        places = _around(measure(text, END_POINTS), x, y, spread_y[near.index(index)], unit)
        _inside(room, text, END_POINTS, _style.ink(colour), places)


def ends_beside(drawn: Drawn) -> list[int]:
    """Return which curves are labelled beside the axes: those that reach the right end."""
    if not drawn.ends:
        return []
    pixels = drawn.ax.transData.transform([end[2:] for end in drawn.ends])
    shares = drawn.ax.transAxes.inverted().transform(pixels)[:, 0]
    return [int(i) for i in np.flatnonzero(shares > 1 - EARLY_SHARE)]


def _height(drawn: Drawn, y: float) -> float:
    return float(drawn.ax.transData.transform((drawn.ax.get_xlim()[1], y))[1])


def _across(drawn: Drawn, y: float) -> Array:
    x = np.arange(drawn.ax.bbox.x0, drawn.ax.bbox.x1, 3.0)
    return np.column_stack([x, np.full(len(x), _height(drawn, y))])


def _column(drawn: Drawn, x: float) -> float:
    return float(drawn.ax.transData.transform((x, drawn.ax.get_ylim()[0]))[0])


def _upright(drawn: Drawn, x: float) -> Array:
    y = np.arange(drawn.ax.bbox.y0, drawn.ax.bbox.y1, 3.0)
    return np.column_stack([np.full(len(y), _column(drawn, x)), y])


def _legend(drawn: Drawn, measure: Measure, unit: float) -> list[Box]:
    """Put the legend in an empty corner; where there is none, make room for it at the top. Return its box."""
    texts = [_style.drawable(cut(label, 40)) for _, label in drawn.handles]
    row, edge, frame = 1.45 * END_POINTS * unit, EDGE_POINTS * unit, drawn.ax.bbox
    entry_width = max((KEY_POINTS + KEY_GAP_POINTS) * unit + measure(t, END_POINTS)[0] for t in texts)
    width, height, ink = entry_width + 6 * unit, row * len(texts) + edge, drawn.ink()
    corners = {
        "upper right": Box(frame.x1 - width, frame.y1 - height, frame.x1, frame.y1),
        "upper left": Box(frame.x0, frame.y1 - height, frame.x0 + width, frame.y1),
        "lower left": Box(frame.x0, frame.y0, frame.x0 + width, frame.y0 + height),
        "lower right": Box(frame.x1 - width, frame.y0, frame.x1, frame.y0 + height),
    }
    place: Any = next((c for c, b in corners.items() if not crowding(b, ink, [], 3 * unit)), "")
    columns = 1
    if not place:
        place = "upper left"
        columns = max(1, min(len(texts), int(frame.width // (entry_width + COLUMN_GAP_POINTS * unit))))
        share = min(0.6, (-(-len(texts) // columns) * row + 2 * edge) / frame.height)
        _make_room(drawn, share)
        corners[place] = Box(frame.x0, frame.y1 - share * frame.height, frame.x1, frame.y1)
    # The labels are set afterwards: matplotlib leaves out those that begin with an underscore.
    legend = drawn.ax.legend(
        [h for h, _ in drawn.handles],
        ["-"] * len(texts),
        loc=place,
        ncols=columns,
        fontsize=END_POINTS,
        handlelength=KEY_POINTS / END_POINTS,
        handletextpad=KEY_GAP_POINTS / END_POINTS,
        labelspacing=0.45,
        columnspacing=COLUMN_GAP_POINTS / END_POINTS,
        borderpad=0,
        borderaxespad=EDGE_POINTS / END_POINTS,
    )
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set(parse_math=False, text=text, color=_style.BLACK)
    return [corners[place]]


def _make_room(drawn: Drawn, share: float) -> None:
    """Extend the y axis upwards, so that this share of its height is empty; the new part has no ticks."""
    low, high = drawn.ax.get_ylim()
    top = low + (high - low) / (1 - share)
    ticks = _ticks.decades(low, top) if drawn.panel.log10 else _ticks.linear(low, top)
    drawn.ax.set_ylim(low, top)
    below = [(y, label) for y, label in zip(ticks.at, ticks.labels, strict=True) if y <= high]
    drawn.ax.set_yticks([y for y, _ in below], [label for _, label in below])


def _beside(drawn: Drawn, wrapped: dict[int, list[str]], unit: float) -> None:
    """Label the ends at the right of the axes without overlaps, with a thin line to a label that was moved."""
    ax, frame, line = drawn.ax, drawn.ax.bbox, LINE_SIZES * END_POINTS * unit
    chosen = _as_fit(drawn, wrapped, max(1, int((frame.height + line) // line)))
    if not chosen:
        return
    points = ax.transData.transform([drawn.ends[i][2:] for i in chosen])
    heights = [line * len(wrapped[i]) for i in chosen]
    placed = spread([float(y) for y in points[:, 1]], heights, frame.y0 - line / 2, frame.y1 + line / 2)
    moved = bool((np.abs(points[:, 1] - placed) > 0.35 * line).any())
    start = frame.x1 + (15 if moved else 5) * unit
    inverse = ax.transAxes.inverted()
    for i, point, y in zip(chosen, points, placed, strict=True):
        x, y_axes = inverse.transform((start, y))
        style: dict[str, Any] = {"transform": ax.transAxes, "color": _style.ink(drawn.ends[i][1])}
        text = "\n".join(wrapped[i])
        ax.text(x, y_axes, text, va="center", size=END_POINTS, parse_math=False, linespacing=1.1, **style)
        if moved:
            bent = [(point[0] + 2 * unit, point[1]), (start - 2.5 * unit, y)]
            ax.plot(*inverse.transform(bent).T, linewidth=0.6, clip_on=False, zorder=1, **style)


def _as_fit(drawn: Drawn, wrapped: dict[int, list[str]], most_lines: int) -> list[int]:
    """Return the ends whose labels fit beside the axes: thin curves go first, from the middle."""
    chosen = sorted(wrapped)
    while sum(len(wrapped[i]) for i in chosen) > most_lines and len(chosen) > 1:
        thin = [i for i in chosen if drawn.ends[i][0].weight == "thin"] or chosen
        chosen.remove(thin[len(thin) // 2])
    return chosen


def _around(size: tuple[float, float], x: float, y: float, spread_y: float, unit: float) -> Iterator[Box]:
    """Propose places around a curve's end: to its right, spread among its neighbours, then below, above, left."""
    w, h = size
    yield Box(x + 4 * unit, spread_y - h / 2, x + 4 * unit + w, spread_y + h / 2)
    for dx in (4 * unit, -w / 2, -w - 4 * unit):
        for dy in (-h / 2, -h - 3 * unit, 3 * unit):
            if dx != -w / 2 or dy != -h / 2:
                yield Box(x + dx, y + dy, x + dx + w, y + dy + h)


def _along(drawn: Drawn, size: tuple[float, float], y: float, unit: float) -> Iterator[Box]:
    """Propose places along a level, above it first: from the right end to the left."""
    box, (w, h) = drawn.ax.bbox, size
    height = _height(drawn, y)
    for share in (0.0, 1.0, 0.1, 0.9, 0.25, 0.75, 0.5):
        x = box.x1 - 4 * unit - w - share * (box.width - w - 8 * unit)
        for bottom in (height + 2 * unit, height - 2 * unit - h):
            yield Box(x, bottom, x + w, bottom + h)


def _beside_mark(drawn: Drawn, size: tuple[float, float], x: float, unit: float) -> Iterator[Box]:
    """Propose places beside a mark, to its right first: from the upper end to the lower one."""
    box, (w, h) = drawn.ax.bbox, size
    column = _column(drawn, x)
    for share in (0.0, 1.0, 0.1, 0.9, 0.25, 0.75, 0.5):
        y = box.y1 - 2 * unit - h - share * (box.height - h - 4 * unit)
        for left in (column + 3 * unit, column - 3 * unit - w):
            yield Box(left, y, left + w, y + h)


def _inside(room: Room, text: str, size: float, colour: str, places: Iterator[Box]) -> None:
    """Write a label where it covers least, inside the axes."""
    ax, frame = room.drawn.ax, room.drawn.ax.bbox
    best, least = None, float("inf")
    for place in places:
        inside = frame.x0 <= place.x0 and place.x1 <= frame.x1 + 1 and frame.y0 <= place.y0 and place.y1 <= frame.y1 + 1
        score = crowding(place, room.ink, room.taken, 1.2 * room.unit) + (0 if inside else OUTSIDE_SCORE)
        if score < least:
            best, least = place, score
    if best is None or least >= OVERLAP_SCORE:  # a label on top of another says less than none
        return
    room.taken.append(best)
    x, y = ax.transAxes.inverted().transform((best.x0, (best.y0 + best.y1) / 2))
    halo = [withStroke(linewidth=2.2, foreground="white")]
    style: dict[str, Any] = {"transform": ax.transAxes, "color": colour, "path_effects": halo}
    ax.text(x, y, text, va="center", size=size, parse_math=False, zorder=5, **style)
