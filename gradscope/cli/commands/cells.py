"""gradscope cells: what can be analyzed. Reads the files of the room and imports none of them."""

from __future__ import annotations

import json
import warnings
from typing import Annotated, Any

import typer

from gradscope import _rooms
from gradscope.cli._options import complete
from gradscope.cli._output import write_stdout
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
) -> None:
    """List the cells, or give one cell's equations, state, gates, settings and sources."""
    if name is not None and name not in _rooms.names("cells"):
        _rooms.load("cells", name)  # says what is known
    rows = _all() if name is None else [_describe(name)]
    if as_json:
        write_stdout(json.dumps(rows if name is None else rows[0], indent=2) + "\n")
    elif name is None:
        wide = max(len(r["name"]) for r in rows)
        lines = [f"{r['name']:<{wide}}  {r['summary']}" for r in rows]
        write_stdout("\n".join([*lines, "", "initialisations: " + ", ".join(_rooms.names("inits"))]) + "\n")
    else:
        write_stdout(_page(rows[0]))


def _all() -> list[dict[str, Any]]:
    rows = []
    for name in _rooms.names("cells"):
        try:
            rows.append(_describe(name))
        except UsageError as error:  # a plug-in of another package that cannot be imported
            warnings.warn(f"{error.message}; it is left out", _rooms.PluginWarning, stacklevel=2)
    return rows


def _describe(name: str) -> dict[str, Any]:
    outline = _rooms.outline("cells", name)
    constants = outline.constants
    names = constants.get("gate_names", {})
    settings = dict(outline.settings)
    settings |= {k: "|".join(values) for k, values in constants.get("choices", {}).items()}
    return {
        "name": name,
        "summary": outline.summary.rstrip("."),
        "equations": outline.class_doc,
        "state": list(constants.get("parts", ("h",))),
        "gates": {g: names.get(g, g) for g in constants.get("gates", ())},
        "settings": settings | {f"{n}_bias": None for n in names.values()},
    }


def _page(row: dict[str, Any]) -> str:
    gates = ", ".join(f"{g} ({n})" if n != g else g for g, n in row["gates"].items())
    settings = ", ".join(k if v is None else f"{k}={v}" for k, v in row["settings"].items())
    parts = [
        f"{row['name']}: {row['summary']}",
        "",
        row["equations"],
        "",
        f"state     {', '.join(row['state'])}",
        f"gates     {gates}, in the order of their weights",
        f"settings  {settings}  (--set KEY=VALUE)",
    ]
    return "\n".join(parts) + "\n"
