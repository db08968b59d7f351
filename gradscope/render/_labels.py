"""Labels on one set of axes, once its place on the page is known: legend, ends of curves, levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gradscope.render import _style, _ticks
from gradscope.render._matplotlib import withStroke
from gradscope.render._panel import Drawn
from gradscope.render._place import Array, Box, crowding, spread
from gradscope.render._words import cut

__all__ = ["SMALL", "TINY", "annotate", "ends_beside"]

SMALL, TINY = 8.5, 7.5  # points
EARLY = 0.05  # a curve that ends this share of the axis before its right end is labelled inside

LINE = 1.25  # from one line of a label to the next, in sizes

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
    _beside(drawn, wrapped, measure, unit)
    for level in drawn.levels:
        drawn.ax.axhline(level.y, color=_style.GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.8)
    ink = np.concatenate([drawn.ink(), *(_across(drawn, v.y) for v in drawn.levels)])
    room = Room(drawn, ink, taken, unit)
    early = {i: drawn.ax.transData.transform(end[2:]) for i, end in enumerate(drawn.ends) if i not in wrapped}
    for index, (x, y) in early.items():
        curve, value, *_ = drawn.ends[index]
        near = [i for i, other in early.items() if abs(other[0] - x) < 10 * unit]
        line = LINE * SMALL * unit
        apart = spread([float(early[i][1]) for i in near], [line] * len(near), drawn.ax.bbox.y0, drawn.ax.bbox.y1)
        text = _style.drawable(cut(curve.label, 24))
        places = _around(measure(text, SMALL), x, y, apart[near.index(index)], unit)
        _inside(room, text, SMALL, _style.ink(value), places)
    for level in drawn.levels:
        text = _style.drawable(cut(level.label))
        _inside(room, text, TINY, _style.GREY, _along(drawn, measure(text, TINY), level.y, unit))


def ends_beside(drawn: Drawn) -> list[int]:
    """Return which curves are labelled beside the axes: those that reach the right end."""
    if not drawn.ends:
        return []
    pixels = drawn.ax.transData.transform([end[2:] for end in drawn.ends])
    shares = drawn.ax.transAxes.inverted().transform(pixels)[:, 0]
    return [int(i) for i in np.flatnonzero(shares > 1 - EARLY)]


def _height(drawn: Drawn, y: float) -> float:
    return float(drawn.ax.transData.transform((drawn.ax.get_xlim()[1], y))[1])


def _across(drawn: Drawn, y: float) -> Array:
    x = np.arange(drawn.ax.bbox.x0, drawn.ax.bbox.x1, 3.0)
    return np.column_stack([x, np.full(len(x), _height(drawn, y))])


def _legend(drawn: Drawn, measure: Measure, unit: float) -> list[Box]:
    """Put the legend in an empty corner; where there is none, make room for it at the top."""
    texts = [_style.drawable(cut(label, 40)) for _, label in drawn.handles]
    key, gap, row = 22 * unit, 5 * unit, 1.45 * SMALL * unit
    widths = [key + gap + measure(t, SMALL)[0] for t in texts]
    height, box, ink = row * len(texts), drawn.ax.bbox, drawn.ink()
    wide = max(widths) + 6 * unit
    corners = {
        "upper right": Box(box.x1 - wide, box.y1 - height - 4 * unit, box.x1, box.y1),
        "upper left": Box(box.x0, box.y1 - height - 4 * unit, box.x0 + wide, box.y1),
        "lower left": Box(box.x0, box.y0, box.x0 + wide, box.y0 + height + 4 * unit),
        "lower right": Box(box.x1 - wide, box.y0, box.x1, box.y0 + height + 4 * unit),
    }
    place: Any = next((c for c, b in corners.items() if not crowding(b, ink, [], 3 * unit)), "")
    columns = 1
    if not place:
        columns = max(1, min(len(texts), int(box.width // (max(widths) + 10 * unit))))
        rows = -(-len(texts) // columns)
        share = min(0.6, (rows * row + 8 * unit) / box.height)
        low, high = drawn.ax.get_ylim()
        top = low + (high - low) / (1 - share)
        ticks = _ticks.decades(low, top) if drawn.panel.log10 else _ticks.linear(low, top)
        drawn.ax.set_ylim(low, top)
        keep = [i for i, y in enumerate(ticks.at) if y <= high]
        drawn.ax.set_yticks([ticks.at[i] for i in keep], [ticks.labels[i] for i in keep])
        place = "upper left"
        corners[place] = Box(box.x0, box.y1 - share * box.height, box.x1, box.y1)
    # The labels are set afterwards: matplotlib leaves out those that begin with an underscore.
    legend = drawn.ax.legend(
        [h for h, _ in drawn.handles],
        ["-"] * len(texts),
        loc=place,
        ncols=columns,
        fontsize=SMALL,
        handlelength=22 / SMALL,
        handletextpad=5 / SMALL,
        labelspacing=0.45,
        columnspacing=10 / SMALL,
        borderpad=0,
        borderaxespad=4 / SMALL,
    )
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set(parse_math=False, text=text, color=_style.BLACK)
    return [corners[place]]


def _beside(drawn: Drawn, wrapped: dict[int, list[str]], measure: Measure, unit: float) -> None:
    """Label the ends at the right of the axes, apart from each other, with a thin line to those moved."""
    ax, box = drawn.ax, drawn.ax.bbox
    line = LINE * SMALL * unit
    chosen = sorted(wrapped)
    most = max(1, int((box.height + line) // line))
    while sum(len(wrapped[i]) for i in chosen) > most and len(chosen) > 1:
        thin = [i for i in chosen if drawn.ends[i][0].weight == "thin"] or chosen
        chosen.remove(thin[len(thin) // 2])
    if not chosen:
        return
    points = ax.transData.transform([drawn.ends[i][2:] for i in chosen])
    heights = [line * len(wrapped[i]) for i in chosen]
    placed = spread([float(y) for y in points[:, 1]], heights, box.y0 - line / 2, box.y1 + line / 2)
    moved = any(abs(y - p) > 0.35 * line for (_, y), p in zip(points, placed, strict=True))
    start = box.x1 + (15 if moved else 5) * unit
    inverse = ax.transAxes.inverted()
    for i, point, y in zip(chosen, points, placed, strict=True):
        value = _style.ink(drawn.ends[i][1])
        x, y_axes = inverse.transform((start, y))
        style: dict[str, Any] = {"transform": ax.transAxes, "color": value}
        ax.text(x, y_axes, "\n".join(wrapped[i]), va="center", size=SMALL, parse_math=False, linespacing=1.1, **style)
        if moved:
            bent = [(point[0] + 2 * unit, point[1]), (start - 2.5 * unit, y)]
            ax.plot(*inverse.transform(bent).T, linewidth=0.6, clip_on=False, zorder=1, **style)


def _around(size: tuple[float, float], x: float, y: float, apart: float, unit: float) -> Iterator[Box]:
    """Propose places around a curve's end: right of it and apart from its neighbours, then below, above, left."""
    w, h = size
    yield Box(x + 4 * unit, apart - h / 2, x + 4 * unit + w, apart + h / 2)
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


def _inside(room: Room, text: str, size: float, value: str, places: Iterator[Box]) -> None:
    """Write a label where it covers least, inside the axes."""
    ax, frame = room.drawn.ax, room.drawn.ax.bbox
    best, least = None, float("inf")
    for place in places:
        inside = frame.x0 <= place.x0 and place.x1 <= frame.x1 + 1 and frame.y0 <= place.y0 and place.y1 <= frame.y1 + 1
        score = crowding(place, room.ink, room.taken, 1.2 * room.unit) + (0 if inside else 500)
        if score < least:
            best, least = place, score
    if best is None or least >= 1000:  # a label on top of another says less than none
        return
    room.taken.append(best)
    x, y = ax.transAxes.inverted().transform((best.x0, (best.y0 + best.y1) / 2))
    halo = [withStroke(linewidth=2.2, foreground="white")]
    style: dict[str, Any] = {"transform": ax.transAxes, "color": value, "path_effects": halo}
    ax.text(x, y, text, va="center", size=size, parse_math=False, zorder=5, **style)
