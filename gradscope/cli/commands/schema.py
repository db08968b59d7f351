"""gradscope schema: the JSON Schema of the output."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gradscope import plugins
from gradscope.cli._output import write_stdout
from gradscope.errors import UsageError

EPILOG = "Example: gradscope schema analysis > analysis.schema.json"


def command(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="Kind of document: analysis, comparison, inspection or check (all).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the JSON Schema (2020-12) of the output documents."""
    from gradscope.report.schema import KINDS, schema  # with all sections, and so with all analyses

    document, kinds = schema(), list(KINDS)
    if kind is not None:
        if kind not in kinds:
            raise UsageError(f"there is no kind '{kind}'", f"{plugins.suggest(kind, kinds)}known: {', '.join(kinds)}")
        document = {k: v for k, v in document.items() if k != "oneOf"} | {"$ref": f"#/$defs/{kind}"}
    write_stdout(json.dumps(document, indent=2) + "\n")
