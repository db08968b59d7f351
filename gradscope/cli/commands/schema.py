"""gradscope schema: the JSON Schema of the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import gradscope
from gradscope import plugins
from gradscope.cli._output import write_stdout
from gradscope.errors import UsageError

EPILOG = "Example: gradscope schema analysis > analysis.schema.json"


def command(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="analysis, comparison, inspection or check (all).", show_default=False),
    ] = None,
) -> None:
    """Print the JSON Schema (2020-12) that every document of this version follows."""
    text = (Path(gradscope.__file__).parent / "report" / "schema.json").read_text(encoding="utf-8")
    if kind is None:
        write_stdout(text)
        return
    schema = json.loads(text)
    kinds = [ref["$ref"].rsplit("/", 1)[1] for ref in schema["oneOf"]]
    if kind not in kinds:
        raise UsageError(f"there is no kind '{kind}'", f"{plugins.suggest(kind, kinds)}known: {', '.join(kinds)}")
    del schema["oneOf"]
    write_stdout(json.dumps({**schema, "$ref": f"#/$defs/{kind}"}, indent=2) + "\n")
