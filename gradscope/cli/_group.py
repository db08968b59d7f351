"""The commands by name: each is imported when it is called, and the list of all of them imports none.

Processor time, measured in turns: `gradscope --help` takes 75 ms. Importing all commands adds 40 ms to that, and 13 ms
to every command. Drawing the list by typer, which loads a Markdown parser and a source-code highlighter, adds 86 ms,
so the list is drawn here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from rich.text import Text

# Name: the first paragraph of its help.
COMMANDS = {
    "analyze": "Measure how far gradients reach in one model: a cell with random weights, or a checkpoint.",
    "compare": "Compare how far gradients reach in several models, on the same inputs.",
    "inspect": "List the recurrent layers of a checkpoint and the assumptions made in reading it. No code is executed.",
    "report": "Show or draw a saved result again, without recomputing it.",
    "explain": "List the findings and notes, or explain one: meaning, criterion, remedy, and code that applies it.",
    "cells": "List the cells, or show and draw one: equations, state, gates, settings and sources.",
    "check-cell": "Check the Jacobian of a user-defined cell against the derivative of its step. Executes the file.",
    "schema": "Print the JSON Schema (2020-12) of the output documents.",
    "doctor": "Show versions, BLAS, threads and memory, and check the installation against closed-form results.",
}
STYLES = {"name": "bold cyan", "flag": "bold green", "usage": "yellow", "border": "dim"}  # as typer has them


class _Plain:
    """Converter of an option, in place of typer's own, which loads pydantic: that adds 50 to 70 ms of processor time.

    Measured in turns, beside 100 ms of `gradscope cells` and 410 ms of a small `analyze` without pydantic. What is
    neither None, nor text, nor has a parser, is left to typer.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of an option from the typed text, or from its default."""
        descriptor = param.type_descriptor
        parser, several = descriptor.parameter_info.parser, param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if parser is not None and not several:
            return parser(value)
        if descriptor.annotation is str and isinstance(value, str):
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def convert_plainly(parameters: Iterable[Any]) -> None:
    """Convert the options of a command without pydantic, where typer is of a version that takes this."""
    for parameter in parameters:
        if hasattr(parameter, "_runtime_param") and hasattr(parameter, "type_descriptor"):
            parameter._runtime_param = _Plain()


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        convert_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)


class _Commands(Mapping[str, Any]):
    """All commands; one is made when it is looked at."""

    def __init__(self, markup: Any) -> None:
        self._markup, self._commands_by_name = markup, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self._commands_by_name:
            self._commands_by_name[name] = self._make(name)
        return self._commands_by_name[name]

    def _make(self, name: str) -> Any:
        module = importlib.import_module(f"gradscope.cli.commands.{name.replace('-', '_')}")
        app = typer.Typer(
            add_completion=False,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,
            rich_markup_mode=self._markup,
        )
        app.command(name, cls=_Command, epilog=getattr(module, "EPILOG", None))(module.command)
        return typer.main.get_command(app)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Group(TyperGroup):
    """The root: it knows its commands without importing them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands(self.rich_markup_mode)  # type: ignore[assignment]  # nothing is ever added
        self._known = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return what a list says of a command; `resolve_command` returns the command."""
        return self._known.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, with its name and the arguments that are left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self.commands[str(name)], rest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        convert_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the options and the commands."""
        if self.rich_markup_mode is None:
            super().format_help(ctx, formatter)
            return
        from rich.console import Console
        from rich.padding import Padding
        from rich.text import Text

        usage = Text(self.get_usage(ctx), style="bold")
        usage.highlight_words(["Usage:"], STYLES["usage"])
        console = Console(highlight=False)
        console.print(Padding(usage, 1))
        console.print(Padding(Text(str(self.help)), (0, 1, 1, 1)))
        options = []
        for p in self.get_params(ctx):
            long = ",".join(o for o in p.opts if o.startswith("--"))
            short = ",".join(o for o in p.opts if not o.startswith("--"))
            options.append((Text(long, STYLES["name"]), Text(short, STYLES["flag"]), Text(str(getattr(p, "help", "")))))
        console.print(_panel("Options", options))
        console.print(_panel("Commands", [(Text(name, STYLES["name"]), Text(text)) for name, text in COMMANDS.items()]))
        console.print(Padding(Text(str(self.epilog)), 1))


def _panel(title: str, rows: Sequence[Sequence[Text]]) -> Any:
    """Return rows in a frame, the last of their texts as wide as there is room."""
    from rich.panel import Panel
    from rich.table import Table

    table = Table(show_header=False, expand=True, box=None, pad_edge=False, padding=(0, 1))
    for _ in rows[0][:-1]:
        table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for row in rows:
        table.add_row(*row)
    return Panel(table, border_style=STYLES["border"], title=title, title_align="left")
