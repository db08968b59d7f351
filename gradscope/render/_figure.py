"""The page: a sentence, a grid of panels, a footer. Every text is measured before its place is chosen."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from gradscope.render import _diagram, _style
from gradscope.render._labels import END_POINTS, annotate, ends_beside
from gradscope.render._matplotlib import Figure, FigureCanvasAgg, FontProperties
from gradscope.render._panel import Drawn, draw
from gradscope.render._words import clean, cut, split_state
from gradscope.report.model import Panel, Report

DPI = 150
POINTS_PER_INCH = 72
WIDTHS = {1: 6.8, 2: 9.6, 3: 13.0}  # inches, by columns
ROW_HEIGHT, MARGIN, COLUMN_GAP, ROW_GAP = 3.55, 0.22, 0.3, 0.18  # inches
SCALE_WIDTH = 0.62  # beside a map of colours, inches
SENTENCE_LINE, TITLE_LINE, NOTE_LINE, FOOTER_LINE = 0.25, 0.18, 0.14, 0.15  # inches from a line to the next
SENTENCE_POINTS, TITLE_POINTS, LABEL_POINTS, NOTE_POINTS = 13.5, 10.0, 9.0, 7.5
EVEN_SHARES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # of the width, tried for lines of one length
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Nothing that changes from one run to the next is written into the file.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "gradscope"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "gradscope", "Producer": None},
}


@dataclass
class Place:
    """A panel's place in the grid, and what surrounds its axes."""

    panel: Panel
    row: int
    column: int
    span: int
    drawn: Drawn | None = None
    title: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    note: list[str] = field(default_factory=list)
    ends: dict[int, list[str]] = field(default_factory=dict)
    beside: float = 0.0


def figure(report: Report) -> Figure:
    """Draw the report on one page."""
    with _style.drawing():
        return _page(report)


def saved(report: Report, suffix: str) -> bytes:
    """Draw the report and return the file's bytes; the same report gives the same bytes."""
    out = io.BytesIO()
    with _style.drawing():
        metadata = {**METADATA[suffix], "Title": clean(report.sentence)[:400]}
        _page(report).savefig(out, format=suffix, dpi=DPI, metadata=metadata)
    return out.getvalue()


def _page(report: Report) -> Figure:
    if report.diagrams:
        return _diagram.page(report, DPI, _renderer(Figure(figsize=(1.0, 1.0), dpi=DPI)))
    return Page(report).fig


class Page:
    """One page, in inches from its lower left corner."""

    def __init__(self, report: Report) -> None:
        self.sizes: dict[tuple[str, float, bool], tuple[float, float]] = {}
        self.places, self.columns = _grid(report.panels)
        self.rows = rows = 1 + max((p.row for p in self.places), default=-1)
        self.width = WIDTHS[self.columns]
        self.unit = (self.width - 2 * MARGIN - (self.columns - 1) * COLUMN_GAP) / self.columns  # of one column
        self.fig = Figure(figsize=(self.width, 1.0), dpi=DPI, facecolor="white")
        self.renderer = _renderer(self.fig)
        inner = self.width - 2 * MARGIN
        state = split_state(report.sentence, report.state)[1]
        plain, bold = (self.measure(state, SENTENCE_POINTS, bold=b)[0] if state else 0.0 for b in (False, True))
        sentence = self.wrap(cut(report.sentence, 400), inner - (bold - plain) / DPI, SENTENCE_POINTS, most=4)
        footer = self.wrap(cut(report.footer, 600), inner, NOTE_POINTS, most=3) if report.footer else []
        self.top = MARGIN + SENTENCE_LINE * len(sentence) + 0.12
        self.bottom = MARGIN * 0.7 + FOOTER_LINE * len(footer) + (0.08 if footer else 0)
        self.height = self.top + self.bottom + (rows * ROW_HEIGHT + (rows - 1) * ROW_GAP if rows else 0.4)
        self.fig.set_size_inches(self.width, self.height)
        self.renderer = _renderer(self.fig)
        self.write_sentence(sentence, report.state)
        for i, text in enumerate(footer):
            y = MARGIN * 0.7 + FOOTER_LINE * (len(footer) - 1 - i)
            self.write(MARGIN, y, text, size=NOTE_POINTS, color=_style.GREY)
        if not self.places:
            self.write(MARGIN, self.bottom + 0.1, "There is nothing to draw.", size=LABEL_POINTS, color=_style.GREY)
        self.panels()

    def measure(self, text: str, size: float, bold: bool = False) -> tuple[float, float]:
        """Return width and height in pixels."""
        key = (text, size, bold)
        if key not in self.sizes:
            prop = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
            width, height, _ = self.renderer.get_text_width_height_descent(text, prop, False)
            self.sizes[key] = float(width), float(max(height, size * DPI / POINTS_PER_INCH))
        return self.sizes[key]

    def wrap(self, text: str, width: float, size: float, *, bold: bool = False, most: int = 2) -> list[str]:
        """Break a text into at most so many lines of a width in inches, all of about one length."""
        lines = self.broken(text, width, size, bold, most)
        for share in EVEN_SHARES if len(lines) > 1 else ():
            shorter = self.broken(text, width * share, size, bold, most + 1)
            if len(shorter) == len(lines) <= most and not any("…" in line for line in lines[-1:]):
                return shorter
        return lines

    def broken(self, text: str, width: float, size: float, bold: bool, most: int) -> list[str]:
        """Break a text into lines as long as they may be; a word that is too long is broken too."""
        lines, rest = [""], _style.drawable(text).replace(" %", "\u00a0%").split(" ")
        while rest:
            word = rest.pop(0)
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if self.measure(longer, size, bold)[0] <= width * DPI:
                lines[-1] = longer
            elif lines[-1]:
                lines.append("")
                rest.insert(0, word)
            else:
                fits = len(word)
                while fits > 1 and self.measure(word[:fits], size, bold)[0] > width * DPI:
                    fits -= 1
                after = 1 + max(word.rfind(c, 0, fits) for c in "-_/.:,=")
                fits = after if after > fits / 2 else fits
                lines[-1] = word[:fits]
                rest.insert(0, word[fits:])
        if len(lines) > most:
            last = lines[most - 1]
            while last and self.measure(last + "…", size, bold)[0] > width * DPI:
                last = last[:-1]
            lines = [*lines[: most - 1], last.rstrip() + "…"]
        return [line.replace("\u00a0", " ") for line in lines]

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text, never as mathematics."""
        style = {"color": _style.BLACK, "va": "baseline", **style}
        self.fig.text(x / self.width, y / self.height, text, parse_math=False, **style)

    def write_sentence(self, lines: list[str], state: str) -> None:
        """Write the answer, its state in bold."""
        is_written = False
        for i, text in enumerate(lines):
            x, y = MARGIN, self.height - MARGIN - 0.16 - SENTENCE_LINE * i
            parts = (text, "", "") if is_written else split_state(text, state)
            is_written = is_written or bool(parts[1])
            for part, bold in zip(parts, (False, True, False), strict=True):
                if part:
                    colour = _style.STATES.get(state, _style.BLACK) if bold else _style.BLACK
                    self.write(x, y, part, size=SENTENCE_POINTS, weight="bold" if bold else "normal", color=colour)
                    x += (
                        self.measure(part + ".", SENTENCE_POINTS, bold)[0] - self.measure(".", SENTENCE_POINTS, bold)[0]
                    ) / DPI

    def panels(self) -> None:
        """Draw every panel, measure what surrounds its axes, put the axes in the rest, and label them."""
        # 1. what is left of the axes, a column of panels alike: ticks and the label of the y axis
        left = [0.36] * self.columns
        for place in self.places:
            place.drawn = draw(self.fig.add_axes((0.1, 0.1, 0.5, 0.5)), place.panel)
            ticks = place.drawn.ax.yaxis.get_tightbbox(self.renderer)
            room = (place.drawn.ax.bbox.x0 - ticks.x0) / DPI if ticks and not place.drawn.empty else 0.1
            place.label = self.wrap(cut(place.panel.y_label), 2.3, LABEL_POINTS)
            left[place.column] = max(left[place.column], room + 0.1 + 0.16 * len(place.label))
        # 2. texts beside, above and below
        for place in self.places:
            self.wrap_texts(place, left[place.column])
        # 3. rows of panels, from the top
        for row in range(self.rows):
            places = [p for p in self.places if p.row == row]
            above = 0.08 + TITLE_LINE * max(len(p.title) for p in places)
            below = 0.42 + NOTE_LINE * max(len(p.note) for p in places)
            base = self.height - self.top - (row + 1) * ROW_HEIGHT - row * ROW_GAP
            for place in places:
                self.put(place, base, (left[place.column], above, below))

    def width_of(self, place: Place) -> float:
        """Return the width of a panel with all that surrounds it."""
        return place.span * self.unit + (place.span - 1) * COLUMN_GAP

    def wrap_texts(self, place: Place, left: float) -> None:
        """Wrap a panel's title, note and labels of curves, and note how much room the labels take."""
        assert place.drawn
        panel, width = place.panel, self.width_of(place)
        for i in ends_beside(place.drawn):
            place.ends[i] = self.wrap(cut(place.drawn.ends[i][0].label), min(1.5, 0.3 * width), END_POINTS)
        lines = [line for end in place.ends.values() for line in end]
        widest = max((self.measure(line, END_POINTS)[0] / DPI for line in lines), default=0.0)
        place.beside = widest + 0.24 if place.ends else SCALE_WIDTH if panel.heat else 0.1
        place.title = self.wrap(cut(panel.title, 160), width - left, TITLE_POINTS, bold=True)
        place.note = self.wrap(cut(panel.note, 300), width - left, NOTE_POINTS) if panel.note else []

    def put(self, place: Place, y: float, around: tuple[float, float, float]) -> None:
        """Put one panel into its rectangle, from height y, and write what surrounds the axes.

        Args:
            place: the panel.
            y: lower end of the rectangle.
            around: what is left of the axes, above and below them.
        """
        drawn, (left, above, below) = place.drawn, around
        assert drawn
        x = MARGIN + place.column * (self.unit + COLUMN_GAP)
        w, h = self.width_of(place) - left - place.beside, ROW_HEIGHT - above - below
        drawn.ax.set_position(((x + left) / self.width, (y + below) / self.height, w / self.width, h / self.height))
        title = y + ROW_HEIGHT - above + 0.09 + TITLE_LINE * (len(place.title) - 1)
        if len(self.places) > 1:
            self.write(x, title, LETTERS[self.places.index(place) % 26], size=TITLE_POINTS + 2, weight="bold")
        for i, text in enumerate(place.title):
            self.write(x + left, title - TITLE_LINE * i, text, size=TITLE_POINTS, weight="bold")
        style = {"size": LABEL_POINTS, "rotation": 90, "va": "center", "ha": "left", "linespacing": 1.1}
        self.write(x + 0.02, y + below + h / 2, "\n".join(place.label), **style)
        below_axes = self.wrap(cut(place.panel.x_label), w, LABEL_POINTS, most=1)[0]
        self.write(x + left + w / 2, y + below - 0.36, below_axes, size=LABEL_POINTS, ha="center")
        for i, text in enumerate(place.note):
            self.write(
                x + left, y + below - 0.42 - NOTE_LINE * (i + 1) + 0.03, text, size=NOTE_POINTS, color=_style.GREY
            )
        annotate(drawn, place.ends, self.measure, DPI / POINTS_PER_INCH)


def _renderer(fig: Figure) -> Any:
    canvas: Any = FigureCanvasAgg(fig)
    return canvas.get_renderer()


def _grid(panels: tuple[Panel, ...]) -> tuple[list[Place], int]:
    """Put panels into rows, filling each with the next that fits; a row's last columns go to one that can be wide.

    Returns:
        the places, and the number of columns.
    """
    units = sum(_units(p) for p in panels)
    columns = 2 if units == 4 else min(max(units, 1), 3)
    waiting, places, row = list(panels), [], 0
    while waiting:
        line, free = [], columns
        while fitting := next((p for p in waiting if _units(p) <= free), None):
            waiting.remove(fitting)
            line.append(Place(fitting, row, columns - free, _units(fitting)))
            free -= line[-1].span
        stretched = next((p for p in line if not p.panel.unit_circle), line[0])
        stretched.span += free
        for before, place in zip(line, line[1:], strict=False):
            place.column = before.column + before.span
        places += line
        row += 1
    return places, columns


def _units(panel: Panel) -> int:
    """Return how many columns a panel takes at least."""
    return 2 if panel.wide else 1
