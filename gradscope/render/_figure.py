"""The page: a sentence, a grid of panels, a footer. Every text has its own place, measured beforehand."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from gradscope.render import _diagram, _style
from gradscope.render._labels import SMALL, annotate, ends_beside
from gradscope.render._matplotlib import Figure, FigureCanvasAgg, FontProperties
from gradscope.render._panel import Drawn, draw
from gradscope.render._words import clean, cut, split_state
from gradscope.report.model import Panel, Report

__all__ = ["figure", "saved"]

DPI = 150
WIDTHS = {1: 6.8, 2: 9.6, 3: 13.0}  # inches, by columns
ROW, MARGIN, GUTTER, BETWEEN = 3.55, 0.22, 0.3, 0.18  # inches
SCALE = 0.62  # beside a map of colours, inches
SENTENCE, TITLE, LABEL, NOTE = 13.5, 10.0, 9.0, 7.5  # points
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Nothing that changes from one run to the next is written into the file.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "gradscope"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "gradscope", "Producer": None},
}


@dataclass
class Cell:
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
        self.cells, self.columns = _grid(report.panels)
        rows = 1 + max((c.row for c in self.cells), default=-1)
        self.width = WIDTHS[self.columns]
        self.fig = Figure(figsize=(self.width, 1.0), dpi=DPI, facecolor="white")
        self.renderer = _renderer(self.fig)
        inner = self.width - 2 * MARGIN
        state = split_state(report.sentence, report.state)[1]
        bolder = self.measure(state, SENTENCE, bold=True)[0] - self.measure(state, SENTENCE)[0] if state else 0.0
        sentence = self.wrap(cut(report.sentence, 400), inner - bolder / DPI, SENTENCE, most=4)
        footer = self.wrap(cut(report.footer, 600), inner, NOTE, most=3) if report.footer else []
        self.top = MARGIN + 0.25 * len(sentence) + 0.12
        self.bottom = MARGIN * 0.7 + 0.15 * len(footer) + (0.08 if footer else 0)
        self.height = self.top + self.bottom + (rows * ROW + (rows - 1) * BETWEEN if rows else 0.4)
        self.fig.set_size_inches(self.width, self.height)
        self.renderer = _renderer(self.fig)
        self.sentence(sentence, report.state)
        for i, text in enumerate(footer):
            self.write(MARGIN, MARGIN * 0.7 + 0.15 * (len(footer) - 1 - i), text, size=NOTE, color=_style.GREY)
        if not self.cells:
            self.write(MARGIN, self.bottom + 0.1, "There is nothing to draw.", size=LABEL, color=_style.GREY)
        self.panels()

    def measure(self, text: str, size: float, bold: bool = False) -> tuple[float, float]:
        """Return width and height in pixels."""
        key = (text, size, bold)
        if key not in self.sizes:
            prop = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
            width, height, _ = self.renderer.get_text_width_height_descent(text, prop, False)
            self.sizes[key] = float(width), float(max(height, size * DPI / 72))
        return self.sizes[key]

    def wrap(self, text: str, width: float, size: float, *, bold: bool = False, most: int = 2) -> list[str]:
        """Break a text into at most so many lines of a width in inches, all of about one length."""
        lines = self.broken(text, width, size, bold, most)
        for share in (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95) if len(lines) > 1 else ():
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

    def sentence(self, lines: list[str], state: str) -> None:
        """Write the answer, its state in bold."""
        found = False
        for i, text in enumerate(lines):
            x, y = MARGIN, self.height - MARGIN - 0.16 - 0.25 * i
            parts = (text, "", "") if found else split_state(text, state)
            found = found or bool(parts[1])
            for part, bold in zip(parts, (False, True, False), strict=True):
                if part:
                    value = _style.STATES.get(state, _style.BLACK) if bold else _style.BLACK
                    self.write(x, y, part, size=SENTENCE, weight="bold" if bold else "normal", color=value)
                    x += (self.measure(part + ".", SENTENCE, bold)[0] - self.measure(".", SENTENCE, bold)[0]) / DPI

    def panels(self) -> None:
        """Draw every panel, measure what surrounds its axes, put the axes in the rest, and label them."""
        unit = (self.width - 2 * MARGIN - (self.columns - 1) * GUTTER) / self.columns
        left = [0.36] * self.columns
        for cell in self.cells:
            cell.drawn = draw(self.fig.add_axes((0.1, 0.1, 0.5, 0.5)), cell.panel)
            ticks = cell.drawn.ax.yaxis.get_tightbbox(self.renderer)
            room = (cell.drawn.ax.bbox.x0 - ticks.x0) / DPI if ticks and not cell.drawn.empty else 0.1
            cell.label = self.wrap(cut(cell.panel.y_label), 2.3, LABEL)
            left[cell.column] = max(left[cell.column], room + 0.1 + 0.16 * len(cell.label))
        for cell in self.cells:
            assert cell.drawn
            width = cell.span * unit + (cell.span - 1) * GUTTER
            for i in ends_beside(cell.drawn):
                cell.ends[i] = self.wrap(cut(cell.drawn.ends[i][0].label), min(1.5, 0.3 * width), SMALL)
            widest = max((self.measure(t, SMALL)[0] / DPI for lines in cell.ends.values() for t in lines), default=0.0)
            cell.beside = widest + 0.24 if cell.ends else SCALE if cell.panel.heat else 0.1
            cell.title = self.wrap(cut(cell.panel.title, 160), width - left[cell.column], TITLE, bold=True)
            cell.note = self.wrap(cut(cell.panel.note, 300), width - left[cell.column], NOTE) if cell.panel.note else []
        for row in range(1 + max((c.row for c in self.cells), default=-1)):
            cells = [c for c in self.cells if c.row == row]
            above = 0.08 + 0.18 * max(len(c.title) for c in cells)
            below = 0.42 + 0.14 * max(len(c.note) for c in cells)
            base = self.height - self.top - (row + 1) * ROW - row * BETWEEN
            for cell in cells:
                x = MARGIN + cell.column * (unit + GUTTER)
                width = cell.span * unit + (cell.span - 1) * GUTTER
                self.place(cell, x, base, width, (left[cell.column], above, below))

    def place(self, cell: Cell, x: float, y: float, width: float, around: tuple[float, float, float]) -> None:
        """Put one panel into its rectangle and write what surrounds the axes."""
        drawn, (left, above, below) = cell.drawn, around
        assert drawn
        w, h = width - left - cell.beside, ROW - above - below
        drawn.ax.set_position(((x + left) / self.width, (y + below) / self.height, w / self.width, h / self.height))
        title = y + ROW - above + 0.09 + 0.18 * (len(cell.title) - 1)
        if len(self.cells) > 1:
            self.write(x, title, LETTERS[self.cells.index(cell) % 26], size=TITLE + 2, weight="bold")
        for i, text in enumerate(cell.title):
            self.write(x + left, title - 0.18 * i, text, size=TITLE, weight="bold")
        style = {"size": LABEL, "rotation": 90, "va": "center", "ha": "left", "linespacing": 1.1}
        self.write(x + 0.02, y + below + h / 2, "\n".join(cell.label), **style)
        below_axes = self.wrap(cut(cell.panel.x_label), w, LABEL, most=1)[0]
        self.write(x + left + w / 2, y + below - 0.36, below_axes, size=LABEL, ha="center")
        for i, text in enumerate(cell.note):
            self.write(x + left, y + below - 0.42 - 0.14 * (i + 1) + 0.03, text, size=NOTE, color=_style.GREY)
        annotate(drawn, cell.ends, self.measure, DPI / 72)


def _renderer(fig: Figure) -> Any:
    canvas: Any = FigureCanvasAgg(fig)
    return canvas.get_renderer()


def _grid(panels: tuple[Panel, ...]) -> tuple[list[Cell], int]:
    """Put panels into rows, filling each with the next that fits; a row's last columns go to one that can be wide."""
    units = sum(2 if p.wide else 1 for p in panels)
    columns = 2 if units == 4 else min(max(units, 1), 3)
    rest, cells, row = list(panels), [], 0
    while rest:
        line: list[Cell] = []
        used = 0
        while used < columns:
            fitting = next((p for p in rest if used + (2 if p.wide else 1) <= columns), None)
            if fitting is None:
                break
            rest.remove(fitting)
            line.append(Cell(fitting, row, used, 2 if fitting.wide else 1))
            used += line[-1].span
        stretched = next((c for c in line if not c.panel.unit_circle), line[0])
        stretched.span += columns - used
        for before, cell in zip(line, line[1:], strict=False):
            cell.column = before.column + before.span
        cells += line
        row += 1
    return cells, columns
