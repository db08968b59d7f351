"""What a report is: a sentence, findings, tables and panels, ready for any renderer.

Standard library only. A renderer reads these and computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Number = float | int | None
Numbers = Sequence[Number]


def show(value: Any, spec: str = "") -> str:
    """Format one value: a dash for what is not determined, and numbers by `spec`."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and spec:
        shown = format(value, spec)
        return shown.removeprefix("-") if not shown.strip("-0.%") else shown  # no "-0.00"
    return str(value)


def percent(share: float) -> str:
    """Write a share: 0% only for none and 100% only for all."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{share:.0%}"


def share(fraction: float) -> str:
    """Write a fraction in percent, with the digits that it has: "0.1 %"."""
    return f"{100 * fraction:.12g} %"


def remaining(log10: float) -> str:
    """Write in percent what is left, given the log10 of the fraction: "9.4 %"."""
    return f"{times(log10 + 2)} %"


def threshold(fraction: float) -> str:
    """Write a threshold: "0.5", "1e-3"."""
    if fraction >= 0.01:
        return f"{fraction:g}"
    mantissa, exponent = f"{fraction:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def times(log10: float) -> str:
    """Write a factor given its log10: 0.12, 35, 1.2e-8."""
    if abs(log10) < 3:
        value = 10**log10
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    whole = math.floor(log10)
    mantissa = round(10 ** (log10 - whole), 1)
    return f"{mantissa:.1f}e{whole}" if mantissa < 10 else f"1.0e{whole + 1}"


@dataclass(frozen=True)
class Column:
    """A table's column: its title, and how numbers in it are written."""

    title: str
    spec: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of values; None stands for "not determined".

    Attributes:
        title: what the table is about.
        columns: titles, and how numbers are written.
        rows: one value for each column.
        expert: whether the table is left out of a short report.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    expert: bool = False

    def text(self) -> list[list[str]]:
        """Return the rows as strings."""
        return [[show(v, c.spec) for v, c in zip(row, self.columns, strict=True)] for row in self.rows]


@dataclass(frozen=True)
class Finding:
    """A conclusion: its code, "info", "warning" or "error", a sentence with the number, a remedy."""

    code: str
    level: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Curve:
    """A line y(x), with a band from low to high if there is one. None leaves a gap.

    Attributes:
        label: written at the end of the line, or in the legend where `at_end` is false.
        role: index into the colours; curves of the same thing have the same role in every panel.
        style: "solid", "dashed", "dotted" or "dashdot": tells curves apart without colour.
        weight: "strong" for what the panel is about, "thin" for context.
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    role: int = 0
    style: str = "solid"
    weight: str = "strong"
    at_end: bool = True


@dataclass(frozen=True)
class Level:
    """A horizontal line with its meaning written on it."""

    y: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A vertical line with its meaning written on it."""

    x: float
    label: str


@dataclass(frozen=True)
class Points:
    """Points in the plane."""

    label: str
    x: Numbers
    y: Numbers
    role: int = 0


@dataclass(frozen=True)
class Bars:
    """A histogram: shares over edges, drawn as an outline so that several can be told apart."""

    label: str
    edges: Numbers
    shares: Numbers
    role: int = 0
    style: str = "solid"


@dataclass(frozen=True)
class Heat:
    """A map of colours: log10 of a quantity over rows that have names. None is left grey.

    Attributes:
        rows: their names, the top one first.
        x: positions of the columns, evenly spaced.
        values: log10, one list a row.
        label: what the colours stand for.
    """

    rows: tuple[str, ...]
    x: Numbers
    values: tuple[Numbers, ...]
    label: str


NOTHING = "not determined"


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: what is to be seen, as a sentence or a noun.
        x_label, y_label: with units.
        levels, marks: horizontal lines, drawn near the data, and vertical ones, drawn within its range.
        log10: y values are log10 of the quantity: ticks are written as 10^k.
        log_x: the x axis is logarithmic.
        unit_circle: draw the unit circle and keep the aspect: a plane of eigenvalues.
        wide: takes two columns of the page.
        note: what the panel needs to be read right, in small print under it.
        nothing: what is written where there is nothing to draw.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...] = ()
    levels: tuple[Level, ...] = ()
    points: tuple[Points, ...] = ()
    bars: tuple[Bars, ...] = ()
    heat: Heat | None = None
    marks: tuple[Mark, ...] = ()
    log10: bool = False
    log_x: bool = False
    unit_circle: bool = False
    wide: bool = False
    note: str = ""
    nothing: str = NOTHING


@dataclass(frozen=True)
class Node:
    """A box of a diagram.

    Attributes:
        name: unique in the diagram.
        kind: "old" and "new" for parts of the state, "value" for what is made in between, "gate", "input".
        label: what is written in the box.
        note: a second line, smaller: a gate's full name, or the size of a part.
    """

    name: str
    kind: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Edge:
    """A line of a diagram.

    Attributes:
        start, end: names of nodes.
        path: "around" where paths from the old state to the new one cross no recurrent weights, "weights" into a
            gate, "gate" out of one, "input" from the input, "value" for the rest.
        label: name of the weights; around them, where the share was taken.
        share: of the gradient on this path, which all lines of the path have; None where it was not measured.
    """

    start: str
    end: str
    path: str
    label: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Diagram:
    """A cell as boxes and lines, from the old state at the left to the new one at the right.

    Attributes:
        nodes: gates in the order in which they are computed.
        edges: lines.
        title: which of several.
        measured: whether shares are drawn.
        note: what it needs to be read right.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    title: str = ""
    measured: bool = False
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All that a renderer may show.

    Attributes:
        kind: "analysis", "comparison", "inspection", "check" or "cell".
        sentence: the answer, in one sentence.
        state: the verdict's state ("vanishing", ...), or "" where there is none.
        findings: conclusions beside the sentence.
        tables: for people, most important first.
        data: the numbers behind the first panel, for csv and tsv.
        panels: the picture.
        footer: version, seed and settings, in one line.
        document: the JSON document that the report was made from.
        diagrams: what is drawn instead of the panels, where there are any.
        omitted: number of tables that are left out.
    """

    kind: str
    sentence: str
    state: str = ""
    findings: tuple[Finding, ...] = ()
    tables: tuple[Table, ...] = ()
    data: Table | None = None
    panels: tuple[Panel, ...] = ()
    footer: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    diagrams: tuple[Diagram, ...] = ()
    omitted: int = 0

    def brief(self) -> Report:
        """Return the report without notes on what was converted, and without tables for experts.

        What was assumed stays.
        """
        findings = tuple(f for f in self.findings if f.code != "GS-NOTE")
        tables = tuple(t for t in self.tables if not t.expert)
        return replace(self, findings=findings, tables=tables, omitted=len(self.tables) - len(tables))
