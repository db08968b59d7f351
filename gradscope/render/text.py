"""Text: for a terminal of some width, or for a pipe, where nothing is boxed, wrapped or coloured."""

from __future__ import annotations

import io
from collections.abc import Callable

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
NARROW = 60  # columns below which boxes are dropped
WRAPS = 14  # a column of words may be wrapped down to this width

Words = Callable[[object], str]


def render(
    report: Report,
    *,
    width: int | None = None,
    color: bool = False,
    reproducible: bool = False,
    ascii_only: bool = False,
) -> str:
    """Write the sentence, the tables, the findings and the footer.

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
    parts = [words(report.sentence)]
    for table in report.tables:
        rows = [[words(c.title) for c in table.columns], *([words(v) for v in row] for row in table.text())]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        numeric = [c.numeric for c in table.columns]
        lines = ["  ".join(map(_padded, row, widths, numeric)).rstrip() for row in rows]
        parts.append("\n".join([words(table.title), *lines]))
    if report.findings:
        rows = [[f"{words(f.level)} ({words(f.code)}): {words(f.message)}"] for f in report.findings]
        for row, f in zip(rows, report.findings, strict=True):
            row += [f"  -> {words(f.remedy)}"] if f.remedy else []
        parts += ["\n".join(line for row in rows for line in row), words(_more(report))]
    if report.footer:
        parts.append(words(report.footer))
    return "\n\n".join(parts) + "\n"


def _more(report: Report) -> str:
    return f"gradscope explain {report.findings[0].code} says how that is decided and what to do; so for every code"


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _parts(report: Report, width: int, words: Words, style: box.Box) -> list[RenderableType]:
    before, state, after = split_state(words(report.sentence), report.state)
    found: list[RenderableType] = [Text.assemble(before, (state, f"bold {STATES.get(report.state, '')}"), after)]
    for table in report.tables:
        found += ["", Text(words(table.title), "bold"), _table(table, width, words, style)]
    if report.findings:
        found += ["", Text("Findings", "bold")]
    for f in report.findings:
        colour = LEVELS.get(f.level, "cyan")
        level = (words(f.level), f"bold {colour}")
        body = Text.assemble(level, (f" ({words(f.code)})", colour), f": {words(f.message)}")
        if f.remedy:
            body.append(f"\n-> {words(f.remedy)}", "green")
        row = Grid.grid(padding=(0, 1))
        row.add_row(Text("*", colour), body)
        found.append(row)
    if report.findings:
        found += ["", Text(words(_more(report)), "dim")]
    if report.footer:
        found += ["", Text(words(report.footer), "dim")]
    return found


def _table(table: Table, width: int, words: Words, style: box.Box) -> Grid:
    heads = [words(c.title) for c in table.columns]
    rows = [[words(v) for v in row] for row in table.text()]
    least = [_least(head, [row[i] for row in rows], table.columns[i].numeric) for i, head in enumerate(heads)]
    boxed = width >= NARROW and sum(least) + 3 * len(least) + 1 <= width
    gap = 2 if sum(least) + 2 * (len(least) - 1) <= width else 1
    if not boxed and sum(least) + gap * (len(least) - 1) > width:
        return _stacked(heads, rows)
    grid = Grid(
        box=style if boxed else None,
        padding=(0, 1) if boxed else (0, gap, 0, 0),
        pad_edge=boxed,
        border_style="dim",
        header_style="bold" if boxed else "dim",
        expand=False,
    )
    natural = [max(map(cell_len, [head, *(row[i] for row in rows)])) for i, head in enumerate(heads)]
    tight = sum(natural) + (3 * len(least) + 1 if boxed else gap * (len(least) - 1)) > width
    for head, column, narrowest in zip(heads, table.columns, least, strict=True):
        grid.add_column(
            Text(head),
            justify="right" if column.numeric else "left",
            min_width=narrowest,
            width=narrowest if tight and column.numeric else None,  # rich would cut the last column instead
            overflow="fold",
            vertical="top",
        )
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _least(head: str, cells: list[str], numeric: bool) -> int:
    """Return the width below which a column cannot be read: numbers stay whole, words may be wrapped."""
    word = max(map(cell_len, head.split()), default=1)
    longest = max(map(cell_len, cells), default=1)
    if not numeric and longest > WRAPS:
        longest = max(WRAPS, min(20, max(cell_len(w) for c in cells for w in [*c.split(), ""])))
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
