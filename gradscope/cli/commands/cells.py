"""gradscope cells: what can be analyzed. Reads the files of the room; only what is drawn is imported."""

from __future__ import annotations

import json
import sys
import textwrap
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope import plugins
from gradscope.cli._blas import one_blas_thread
from gradscope.cli._cells import describe, describe_class, page, table
from gradscope.cli._options import Output, is_picture
from gradscope.cli._output import Sink, terminal_width, write_stdout
from gradscope.cli._signature import complete_cells, with_options
from gradscope.cli._user_cell import aside, fetch, is_user_file, refuse_settings
from gradscope.errors import UsageError, shown

if TYPE_CHECKING:
    from gradscope.checking.user_file import UserFile

EPILOG = "Example: gradscope cells lstm"
UNITS, INPUTS = 8, 3  # of a function that leaves them open


@with_options
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE.py[:NAME]",
            help="A cell, or a Python file with a user-defined cell, which is executed.",
            show_default=False,
            autocompletion=complete_cells(".py"),
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """List the cells, or show and draw one: equations, state, gates, settings and sources."""
    user_file = fetch(name) if name is not None and is_user_file(name) else None
    if name is None:
        plugins.warn_shadowed("cells")
    elif user_file is None and name not in plugins.names("cells"):
        refuse_settings(name)
        plugins.load("cells", name)  # says what is known
    if output.output:
        _draw(name, user_file, output)
    if user_file is not None and user_file.cell_class is None:
        if output.output:
            return
        hint = f"-o FILE.png draws it; gradscope check-cell {shown(user_file.path)} tests it"
        raise UsageError(f"{user_file.name} of {shown(user_file.path)} is a function, which has no page", hint)
    rows = _all() if name is None else [_row_of_file(user_file) if user_file else describe(name)]
    width = terminal_width() if sys.stdout.isatty() else None
    if output.json:
        write_stdout(json.dumps(rows if name is None else rows[0], indent=2, default=str) + "\n")
    elif name is None:
        inits = f"initialisations: {', '.join(plugins.names('inits'))}"
        lines = [inits] if width is None else textwrap.wrap(inits, width)
        write_stdout("\n".join([table(rows, width), *lines]) + "\n")
    else:
        write_stdout(page(rows[0], width))


def _row_of_file(user_file: UserFile) -> dict[str, Any]:
    from gradscope.checking.declarations import check_class

    assert user_file.cell_class is not None
    check_class(user_file.cell_class)
    return describe_class(user_file.cell_class, user_file.name, _summary(user_file))


def _summary(user_file: UserFile) -> str:
    """Return the first line of the file's docstring, or else its name."""
    return (user_file.module.__doc__ or "").strip().partition("\n")[0].rstrip(".") or f"a cell of {user_file.path.name}"


def _draw(name: str | None, user_file: UserFile | None, output: Output) -> None:
    if name is None:
        raise UsageError("-o draws one cell, and no cell is named", "for example gradscope cells lstm -o lstm.png")
    for path in output.output:
        if not is_picture(path.suffix[1:].lower()):
            hint = f"its suffix must be one of .{', .'.join(plugins.pictures())}"
            raise UsageError(f"{shown(path)} is not a picture", hint)
    one_blas_thread()
    with Sink(output) as sink:
        with aside():
            from gradscope.checking.user_file import build
            from gradscope.report.diagram import cell_report

            if user_file is None:
                report = cell_report(name, plugins.outline("cells", name).summary.rstrip("."))
            elif user_file.cell_class is not None:
                report = cell_report(user_file.cell_class, _summary(user_file))
            else:
                report = cell_report(build(user_file, UNITS, INPUTS), f"{user_file.name}: {_summary(user_file)}")
        sink.write_files(report)


def _all() -> list[dict[str, Any]]:
    rows = []
    for name in plugins.names("cells"):
        try:
            rows.append(describe(name))
        except UsageError as error:  # a plug-in of another package that cannot be imported, or is no cell
            known = "" if f"'{name}'" in error.message else f"the plug-in '{name}': "
            warnings.warn(f"{known}{error.message}; it is ignored", plugins.PluginWarning, stacklevel=2)
    return rows
