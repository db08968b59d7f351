"""Text: for a terminal of some width, or for a pipe, where nothing is boxed, wrapped or coloured."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from gradscope.render._words import clean, plain, split_state
from gradscope.report.model import Report, Table

BINARY = False

STATES = {"vanishing": "blue", "stable": "green", "exploding": "red", "inconclusive": "yellow", "nonfinite": "magenta"}
LEVELS = {"error": "red", "warning": "yellow"}
LEAST_BOXED_WIDTH = 60  # columns of the terminal below which boxes are dropped
LEAST_WORDS_WIDTH = 14  # columns to which a column of words may be wrapped

Words = Callable[[object], str]


def render(
    report: Report,
    *,
    width: int | None = None,
    color: bool = False,
    reproducible: bool = False,
    ascii_only: bool = False,
) -> str:
    """Write the sentence, the findings, the tables and the footer.

    Args:
        report: what to write.
        width: columns of the terminal; None for a pipe.
        color: use the terminal's own sixteen colours.
        reproducible: changes nothing here.
        ascii_only: for terminals that can show nothing else.
    """

    def words(text: object) -> str:
        return plain(clean(text)) if ascii_only else clean(text)

    if width is None:
        return _piped(report, words)
    out = io.StringIO()
    # An empty environment: what the user's terminal can do has been decided by the caller.
    console = Console(
        file=out,
        width=max(width, 10),
        color_system="standard" if color else None,
        force_terminal=color,
        no_color=not color,
        force_jupyter=False,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        safe_box=True,
        _environ={},
    )
    for part in _parts(report, console.width, words, box.ASCII2 if ascii_only else box.ROUNDED):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _piped(report: Report, words: Words) -> str:
    """Return the report without boxes, wraps and colours."""
    parts = [words(report.sentence)]
    if report.findings:
        lines = []
        for f in report.findings:
            lines.append(f"{words(f.level)} ({words(f.code)}): {words(f.message)}")
            lines += [f"  -> {words(f.remedy)}"] if f.remedy else []
        parts.append("\n".join(lines))
    parts += [_piped_table(table, words) for table in report.tables]
    parts += [words(_more(report))] if _more(report) else []
    if report.footer:
        parts.append(words(report.footer))
    return "\n\n".join(parts) + "\n"


def _piped_table(table: Table, words: Words) -> str:
    rows = _cells(table, words)
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    numeric = [c.numeric for c in table.columns]
    lines = ["  ".join(map(_padded, row, widths, numeric)).rstrip() for row in rows]
    return "\n".join([words(table.title), *lines])


def _cells(table: Table, words: Words) -> list[list[str]]:
    """Return the titles of the columns, and each row, as strings."""
    return [[words(text) for text in row] for row in ([c.title for c in table.columns], *table.text())]


def _more(report: Report) -> str:
    """Say where there is more to read; "" where there is not."""
    tables = f"{report.omitted} more table{'s'[: report.omitted != 1]}: -v" if report.omitted else ""
    first = next((f for f in report.findings if f.level in LEVELS), next(iter(report.findings), None))
    details = f"Details: gradscope explain {first.code}" if first else ""
    return ". ".join(filter(None, (details, tables)))


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _parts(report: Report, width: int, words: Words, style: box.Box) -> list[RenderableType]:
    before, state, after = split_state(words(report.sentence), report.state)
    parts: list[RenderableType] = [Text.assemble(before, (state, f"bold {STATES.get(report.state, '')}"), after)]
    if report.findings:
        parts.append("")
    for f in report.findings:
        colour = LEVELS.get(f.level, "cyan")
        level = (words(f.level), f"bold {colour}")
        body = Text.assemble(level, (f" ({words(f.code)})", colour), f": {words(f.message)}")
        if f.remedy:
            body.append(f"\n-> {words(f.remedy)}", "green")
        row = Grid.grid(padding=(0, 1))
        row.add_row(Text("*", colour), body)
        parts.append(row)
    for table in report.tables:
        parts += ["", Text(words(table.title), "bold"), _table(table, width, words, style)]
    parts += ["", Text(words(_more(report)), "dim")] if _more(report) else []
    if report.footer:
        parts += ["", Text(words(report.footer), "dim")]
    return parts


def _table(table: Table, width: int, words: Words, style: box.Box) -> Grid:
    """Return a table as boxed or plain columns, or as a list of its rows where it is wider than the terminal."""
    heads, *rows = _cells(table, words)
    numeric = [c.numeric for c in table.columns]
    columns = [[row[i] for row in rows] for i in range(len(heads))]
    least = list(map(_least, heads, columns, numeric))
    boxed, gap, between = _spacing(least, width)
    if sum(least) + between > width:
        return _stacked(heads, rows)
    grid = Grid(
        box=style if boxed else None,
        padding=(0, 1) if boxed else (0, gap, 0, 0),
        pad_edge=boxed,
        border_style="dim",
        header_style="bold" if boxed else "dim",
        expand=False,
    )
    natural = [max(map(cell_len, (head, *column))) for head, column in zip(heads, columns, strict=True)]
    tight = sum(natural) + between > width
    for head, is_numeric, narrowest in zip(heads, numeric, least, strict=True):
        exact = narrowest if tight and is_numeric else None  # rich would cut the last column instead
        justify: Literal["left", "right"] = "right" if is_numeric else "left"
        grid.add_column(Text(head), justify=justify, min_width=narrowest, width=exact, overflow="fold", vertical="top")
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _spacing(least: list[int], width: int) -> tuple[bool, int, int]:
    """Return whether there is room for boxes, the gap between columns without them, and the width of all gaps."""
    boxes, gaps = 3 * len(least) + 1, len(least) - 1
    boxed = width >= LEAST_BOXED_WIDTH and sum(least) + boxes <= width
    gap = 2 if sum(least) + 2 * gaps <= width else 1
    return boxed, gap, boxes if boxed else gap * gaps


def _least(head: str, cells: list[str], numeric: bool) -> int:
    """Return the width below which a column cannot be read: numbers stay whole, words may be wrapped."""
    word = max(map(cell_len, head.split()), default=1)
    longest = max(map(cell_len, cells), default=1)
    if not numeric and longest > LEAST_WORDS_WIDTH:
        longest = max(LEAST_WORDS_WIDTH, min(20, max(cell_len(w) for c in cells for w in [*c.split(), ""])))
    return max(word, longest, 1)


def _stacked(heads: list[str], rows: list[list[str]]) -> Grid:
    """Write each row as a list of its cells, for a table that is wider than the terminal."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for number, row in enumerate(rows):
        if number:
            grid.add_row("", "")
        for index, (head, cell) in enumerate(zip(heads, row, strict=True)):
            grid.add_row(Text(head, "dim"), Text(cell, "bold" if index == 0 else "", overflow="fold"))
    return grid
