"""What is inside one set of axes: curves, bars and points, limits and ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.render import _style, _ticks
from gradscope.render._matplotlib import Axes, Circle
from gradscope.render._place import Array, trail
from gradscope.report.model import Curve, Heat, Level, Mark, Numbers, Panel

Limits = tuple[float, float]
MOST_POINTS = 4000  # of a curve; of a longer one the smallest and largest of neighbours are drawn
LEVEL_REACH = 0.2  # share of the data's range within which a level widens the axis
LINE_POINTS = {"strong": 1.8, "thin": 1.15}
COLOURS = "cividis"  # reads the same with any kind of colour vision, and in grey
HEAT_DECADES = 40.0  # about the range of float32; smaller values have the last colour
RESTLESS_RANGES = 8  # a curve that goes up and down its range so many times is drawn thin
LARGEST = 1e300  # matplotlib computes ends of an axis beyond the data
FEW_POINTS, MOST_VECTOR_POINTS = 800, 5000  # drawn large; drawn as vectors
MOST_AVOIDED = 2000  # points that labels avoid
LONE_VALUES = 3  # one point and the ends of its band: they alone give no scale


@dataclass
class Drawn:
    """A panel on its axes.

    Attributes:
        ends: (curve, its colour, x and y of its last point), for labels.
        handles: (artist, label), for the legend.
        levels: those near the data.
        marks: those within the range of the data.
        lines: points that labels avoid, in data coordinates.
        radius: half the height of a plane with a unit circle, else 0.
        empty: whether there is nothing to see.
    """

    ax: Axes
    panel: Panel
    ends: list[tuple[Curve, str, float, float]]
    handles: list[tuple[Any, str]]
    levels: list[Level]
    lines: list[Array]
    marks: list[Mark] = field(default_factory=list)
    radius: float = 0.0
    empty: bool = False

    def ink(self) -> Array:
        """Return the pixels that are drawn on, at the present size of the axes."""
        pieces = [trail(self.ax.transData.transform(p)) for p in self.lines if len(p)]
        return np.concatenate([np.empty((0, 2)), *pieces])


def draw(ax: Axes, panel: Panel) -> Drawn:
    """Draw the panel's contents and set limits and ticks."""
    drawn = Drawn(ax, panel, [], [], [], [])
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=_style.GREY, linewidth=0.8)
    ax.tick_params(length=3, width=0.8, color=_style.GREY, labelcolor=_style.BLACK, labelsize=8.5, pad=3)
    ax.grid(True, axis="both" if panel.unit_circle else "y", color=_style.GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    if panel.heat:
        _heat(drawn, panel.heat)
        return drawn
    x, y = _curves(drawn)
    for values_x, values_y in (_bars(drawn), _points(drawn)):
        x, y = np.concatenate([x, values_x]), np.concatenate([y, values_y])
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    if not len(x) or not len(y):
        _nothing(drawn)
    elif panel.unit_circle:
        _circle(drawn, max(1.1, 1.06 * float(np.abs(np.concatenate([x, y])).max())))
    else:
        _limits(drawn, x, y)
    return drawn


def _array(values: Numbers | None, size: int = -1) -> Array:
    """Return values with nan for None and for what no axis can show, or only nan where their number is not `size`."""
    array = np.array([math.nan if v is None else v for v in values or ()], float)
    array[~(np.abs(array) < LARGEST)] = math.nan
    return array if size in (-1, len(array)) else np.full(size, math.nan)


def _curves(drawn: Drawn) -> tuple[Array, Array]:
    """Draw curves and their bands, and return the values that the axes must show."""
    kinds = [(c.role, c.style, c.weight) for c in drawn.panel.curves]
    all_x, all_y = [np.empty(0)], [np.empty(0)]
    for index, curve in enumerate(drawn.panel.curves):
        kind, colour = kinds[index], _style.colour(curve.role)
        if kinds.count(kind) > 1:
            colour = _style.shade(colour, kinds[:index].count(kind), kinds.count(kind))
        x = _array(curve.x)
        y, low, high = (_array(v, len(x)) for v in (curve.y, curve.low, curve.high))
        if drawn.panel.log_x:
            x[~(x > 0)] = math.nan
        x, y, low, high = _thinned(x, y, low, high)
        has_points = _curve(drawn, curve, colour, x, y)
        if np.isfinite(low).any():
            drawn.ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1.5)
        drawn.lines += [np.column_stack([x, v]) for v in (y, low, high)]
        all_x += [x] if has_points else []
        all_y += [y, low, high]
    return np.concatenate(all_x), np.concatenate(all_y)


def _curve(drawn: Drawn, curve: Curve, colour: str, x: Array, y: Array) -> bool:
    """Draw one curve, note where its label goes, and return whether it has a point."""
    known = np.isfinite(x) & np.isfinite(y)
    strong = curve.weight == "strong"
    (artist,) = drawn.ax.plot(
        x,
        y,
        color=colour,
        linestyle=_style.line(curve.style),
        linewidth=LINE_POINTS["strong" if strong and not _restless(y) else "thin"],
        dash_capstyle="butt",
        solid_capstyle="round",
        solid_joinstyle="round",
        zorder=3 if strong else 2.5,
    )
    lone = known & ~np.concatenate([[False], known[:-1]]) & ~np.concatenate([known[1:], [False]])
    drawn.ax.plot(x[lone], y[lone], "o", color=colour, markersize=3.5, markeredgewidth=0, zorder=3)
    if not known.any():
        return False
    last = int(np.flatnonzero(known)[-1])
    if curve.label and curve.at_end:
        drawn.ends.append((curve, colour, float(x[last]), float(y[last])))
    elif curve.label:
        drawn.handles.append((artist, curve.label))
    return True


def _restless(y: Array) -> bool:
    known = y[np.isfinite(y)]
    return len(known) > 1 and float(np.abs(np.diff(known)).sum()) > RESTLESS_RANGES * float(np.ptp(known))


def _thinned(x: Array, *ys: Array) -> tuple[Array, ...]:
    """Keep the smallest and largest of each block of a very long curve, so that no peak is lost."""
    block = len(x) // (MOST_POINTS // 2)
    if len(x) <= MOST_POINTS or block < 2:
        return (x, *ys)
    rows = len(x) // block
    whole_blocks = slice(0, rows * block)
    xs = x[whole_blocks].reshape(rows, block)
    thinned = [np.column_stack([xs[:, 0], xs[:, -1]]).ravel()]
    for y in ys:
        blocks = y[whole_blocks].reshape(rows, block)
        whole = np.asarray(np.isfinite(blocks).all(axis=1))
        filled = np.where(whole[:, None], blocks, 0.0)
        small, large = (np.where(whole, v, math.nan) for v in (filled.min(axis=1), filled.max(axis=1)))
        falls = blocks[:, 0] > blocks[:, -1]
        thinned.append(np.column_stack([np.where(falls, large, small), np.where(falls, small, large)]).ravel())
    return tuple(np.concatenate([f, [v[-1]]]) for f, v in zip(thinned, (x, *ys), strict=True))


def _bars(drawn: Drawn) -> tuple[Array, Array]:
    all_x, all_y = [np.empty(0)], [np.empty(0)]
    for bars in drawn.panel.bars:
        edges = _array(bars.edges)
        shares = _array(bars.shares, max(len(edges) - 1, 0))
        if not np.isfinite(edges).all() or not np.isfinite(shares).any():
            continue
        shares, colour = np.nan_to_num(shares), _style.colour(bars.role)
        style = _style.line(bars.style)
        drawn.ax.stairs(shares, edges, fill=True, color=colour, alpha=0.13, linewidth=0, zorder=2)
        artist = drawn.ax.stairs(shares, edges, color=colour, linestyle=style, linewidth=1.5, zorder=3)
        if bars.label:
            drawn.handles.append((artist, bars.label))
        middles = (edges[1:] + edges[:-1]) / 2
        drawn.lines += [np.array([[m, 0.0], [m, s]]) for m, s in zip(middles, shares, strict=True)]
        drawn.lines.append(np.column_stack([np.repeat(edges, 2)[1:-1], np.repeat(shares, 2)]))
        all_x, all_y = [*all_x, edges], [*all_y, shares, np.zeros(1)]
    return np.concatenate(all_x), np.concatenate(all_y)


def _points(drawn: Drawn) -> tuple[Array, Array]:
    all_x, all_y = [np.empty(0)], [np.empty(0)]
    for points in drawn.panel.points:
        x = _array(points.x)
        y = _array(points.y, len(x))
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known], y[known]
        if not len(x):
            continue
        size, alpha = (9.0, 0.55) if len(x) < FEW_POINTS else (5.0, 0.3)
        artist = drawn.ax.scatter(x, y, s=size, color=_style.colour(points.role), alpha=alpha, linewidth=0, zorder=3)
        artist.set_rasterized(len(x) > MOST_VECTOR_POINTS)
        if points.label:
            drawn.handles.append((artist, points.label))
        drawn.lines += [p[None] for p in np.column_stack([x, y])[:: len(x) // MOST_AVOIDED + 1]]
        all_x, all_y = [*all_x, x], [*all_y, y]
    return np.concatenate(all_x), np.concatenate(all_y)


def _heat(drawn: Drawn, heat: Heat) -> None:
    """Draw a map of colours and its scale, which stands to the right of the axes."""
    ax, values = drawn.ax, np.array([_array(row) for row in heat.values])
    known = values[np.isfinite(values)]
    if not known.size:
        _nothing(drawn)
        return
    top = float(known.max())
    low = max(float(known.min()), top - HEAT_DECADES)
    first, last = float(heat.x[0] or 0), float(heat.x[-1] or 0)
    half = (last - first) / max(2 * (len(heat.x) - 1), 1) or 0.5
    shown = ax.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        interpolation="nearest",
        extent=(first - half, last + half, len(heat.rows) - 0.5, -0.5),
        cmap=COLOURS,
        vmin=low if low < top else top - 1,
        vmax=top,
    )
    ax.set_facecolor(_style.GRID)
    ax.grid(False)
    ax.set_yticks(range(len(heat.rows)), [_style.drawable(name) for name in heat.rows], parse_math=False)
    scale = ax.figure.colorbar(
        shown, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)), extend="min" if low > known.min() else "neither"
    )
    scale.outline.set_visible(False)
    at = _ticks.decades(*shown.get_clim(), most=5)
    scale.set_ticks(at.at, labels=at.labels)
    scale.ax.tick_params(length=2, width=0.8, color=_style.GREY, labelcolor=_style.BLACK, labelsize=7.5, pad=2)


def _nothing(drawn: Drawn) -> None:
    drawn.empty = True
    drawn.ax.set(xticks=[], yticks=[])
    text = drawn.panel.nothing
    drawn.ax.text(0.5, 0.5, text, transform=drawn.ax.transAxes, ha="center", va="center", color=_style.GREY)


def _circle(drawn: Drawn, radius: float) -> None:
    drawn.radius = radius
    drawn.ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=_style.BLACK, linewidth=1.1, zorder=2))
    drawn.ax.set_ylim(-radius, radius)
    ticks = _ticks.linear(-radius, radius, 6)
    drawn.ax.set_yticks(ticks.at, ticks.labels)
    angles = np.linspace(0, 2 * math.pi, 181)
    drawn.lines.append(np.column_stack([np.cos(angles), np.sin(angles)]))


def _limits(drawn: Drawn, x: Array, y: Array) -> None:
    """Set limits and ticks of both axes from the values that they must show."""
    ax, panel = drawn.ax, drawn.panel
    # a level near the data widens the y axis
    least_decades = 0.0 if not panel.log10 else 0.05 if len(y) > LONE_VALUES else 2.0
    bottom, top = _widened(float(y.min()), float(y.max()), least_decades)
    near = LEVEL_REACH * (top - bottom)
    drawn.levels = [v for v in panel.levels if bottom - near <= v.y <= top + near]
    ends = [bottom, top, *(v.y for v in drawn.levels)]
    pad = 0.04 * (max(ends) - min(ends))
    bottom, top = (0.0 if panel.bars else min(ends) - pad), max(ends) + pad
    ticks = _ticks.decades(bottom, top) if panel.log10 else _ticks.linear(bottom, top)
    ax.set_ylim(bottom, top)
    ax.set_yticks(ticks.at, ticks.labels)
    _x_limits(drawn, x)


def _x_limits(drawn: Drawn, x: Array) -> None:
    ax, panel = drawn.ax, drawn.panel
    left, right = float(x.min()), float(x.max())
    drawn.marks = [m for m in panel.marks if left < m.x < right]
    left, right = _widened(math.log10(left), math.log10(right)) if panel.log_x else _widened(left, right)
    pad = 0.015 * (right - left)
    left, right = left - pad, right + (pad if panel.bars else pad / 2)
    if panel.log_x:
        ax.set_xscale("log")
        left, right = 10**left, 10**right
        ticks = _ticks.logarithmic(left, right)
    else:
        counted = bool(panel.curves) and all(float(v).is_integer() for v in x)
        ticks = _ticks.linear(left, right, whole=counted)
    ax.set_xlim(left, right)
    ax.set_xticks(ticks.at, ticks.labels)
    ax.set_xticks([], minor=True)


def _widened(low: float, high: float, least: float = 0.0) -> Limits:
    """Return limits at a distance of at least `least`: an axis needs a length even where all values are one."""
    least = max(least, 1e-9 * max(abs(low), abs(high)), 1e-250)
    if high - low >= least:
        return low, high
    middle, half = (low + high) / 2, max(least, 0.1 * abs(low + high) if least < 0.01 else least) / 2
    half = 0.5 if half < 1e-200 else half
    return middle - half, middle + half
