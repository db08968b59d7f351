"""gradscope cells: what can be analyzed. Reads the files of the room; only what is drawn is imported."""

from __future__ import annotations

import json
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from gradscope import _rooms
from gradscope.cli._cells import describe, page, table
from gradscope.cli._mine import aside
from gradscope.cli._options import complete
from gradscope.cli._output import Sink, is_picture, shown, terminal_width, write_stdout
from gradscope.cli._request import one_blas_thread
from gradscope.errors import UsageError

EPILOG = "Example: gradscope cells lstm"


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Tell about one cell.", show_default=False, autocompletion=complete("cells")
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Draw it: .png, .svg, .pdf. Repeatable.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.", show_default=False)] = False,
    mkdir: Annotated[bool, typer.Option("--mkdir", help="Make folders that are missing.", show_default=False)] = False,
) -> None:
    """List the cells, or give one cell's equations, state, gates, settings and sources, and draw it."""
    if name is not None and name not in _rooms.names("cells"):
        _rooms.load("cells", name)  # says what is known
    if output:
        _draw(name, output, force=force, mkdir=mkdir)
    rows = _all() if name is None else [describe(name)]
    width = terminal_width() if sys.stdout.isatty() else None
    if as_json:
        write_stdout(json.dumps(rows if name is None else rows[0], indent=2) + "\n")
    elif name is None:
        inits = f"initialisations: {', '.join(_rooms.names('inits'))}"
        lines = [inits] if width is None else textwrap.wrap(inits, width)
        write_stdout("\n".join([table(rows, width), *lines]) + "\n")
    else:
        write_stdout(page(rows[0], width))


def _draw(name: str | None, paths: list[Path], *, force: bool, mkdir: bool) -> None:
    if name is None:
        raise UsageError("-o draws one cell, and none is named", "for instance gradscope cells lstm -o lstm.png")
    for path in paths:
        if not is_picture(path.suffix[1:].lower()):
            raise UsageError(f"{shown(path)} is no picture", "its suffix must be .png, .svg or .pdf")
    one_blas_thread()
    with Sink(outputs=paths, force=force, mkdir=mkdir) as sink:
        with aside():
            from gradscope.diagram import cell_report

            report = cell_report(name, _rooms.outline("cells", name).summary.rstrip("."))
        sink.write_files(report)


def _all() -> list[dict[str, Any]]:
    rows = []
    for name in _rooms.names("cells"):
        try:
            rows.append(describe(name))
        except UsageError as error:  # a plug-in of another package that cannot be imported
            warnings.warn(f"{error.message}; it is left out", _rooms.PluginWarning, stacklevel=2)
    return rows
