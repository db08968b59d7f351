"""gradscope explain: what a finding means, how it is decided, and what to do."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from typing import Annotated

import typer

from gradscope.cli._options import Output
from gradscope.cli._output import color_wanted, terminal_width, write_stdout
from gradscope.cli._signature import with_options
from gradscope.report.codes import Code, codes, find

EPILOG = "Example: gradscope explain GS-VANISHING"


def _complete(incomplete: str) -> list[str]:
    # in the letters that were typed: a shell takes only what begins with them
    known = [*codes(), *(c.removeprefix("GS-") for c in codes())] if incomplete else list(codes())
    return [c for k in known if (c := k.lower() if incomplete.islower() else k).startswith(incomplete)]


@with_options
def command(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="Code of a finding or note, case-insensitive, with or without GS-.",
            show_default=False,
            autocompletion=_complete,
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """List the findings and notes, or explain one: meaning, criterion, remedy, and code that applies it."""
    rows = list(codes().values()) if code is None else [find(code)]
    if output.json:
        shown = [dataclasses.asdict(r) for r in rows]
        write_stdout(json.dumps(shown if code is None else shown[0], indent=2) + "\n")
        return
    terminal = sys.stdout.isatty()
    bold = color_wanted("auto", terminal)
    width = terminal_width() if terminal or bold else None
    lines = _listed(rows, width, bold) if code is None else _page(rows[0], width, bold)
    write_stdout("\n".join(lines) + "\n")


def _listed(rows: list[Code], width: int | None, bold: bool) -> list[str]:
    wide = max(len(r.code) for r in rows)
    lines: list[str] = []
    for r in rows:
        head = f"{r.code:<{wide}}  {r.level:<7}  "
        if width and width < len(head) + 30:  # too narrow for columns
            lines += [typer.style(r.code, bold=True) if bold else r.code]
            lines += _wrapped(f"{r.level}: {r.summary}", width, "  ")
        else:
            first, *rest = _wrapped(r.summary, width, " " * len(head))
            lines += [(typer.style(head, bold=True) if bold else head) + first.lstrip(), *rest]
    return lines


def _page(r: Code, width: int | None, bold: bool) -> list[str]:
    def head(text: str) -> list[str]:
        return [typer.style(line, bold=True) if bold else line for line in _wrapped(text, width)]

    lines = head(f"{r.code} ({r.level}): {r.summary}")
    for title, text in (("Meaning", r.means), ("Criterion", r.decided), ("Remedy", r.remedy)):
        lines += ["", *head(title), *_wrapped(text.replace("`", ""), width, "  ")]
    for framework, text in r.examples.items():  # code is not wrapped
        lines += ["", *head(f"Remedy in {framework}"), *text.split("\n")]
    return [
        *lines,
        "",
        *head("See also"),
        *(line for page in r.read for line in _wrapped(_page_name(page), width, "  ")),
    ]


def _page_name(page: str) -> str:
    path, _, heading = page.partition("#")
    return f"docs/{path}" + (f', "{heading.replace("-", " ")}"' if heading else "")


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [indent + text]
    fill = {"initial_indent": indent, "subsequent_indent": indent}
    return textwrap.wrap(text, max(width, len(indent) + 10), break_on_hyphens=False, break_long_words=False, **fill)  # type: ignore[arg-type]
