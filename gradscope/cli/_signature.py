"""From a table of options to a command's parameters: one that is annotated with a table becomes its options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.options import Option, Plain, table


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for each row of its tables that is for it.

    A parameter whose annotation is a table, `settings: Settings`, is given an instance of it.
    """
    name = command.__module__.rpartition(".")[2].replace("_", "-")
    parameters = inspect.signature(command, eval_str=True).parameters
    bags: dict[str, Any] = {p.name: p.annotation for p in parameters.values() if dataclasses.is_dataclass(p.annotation)}
    rows = {k: [r for r in table(bag).values() if name in r.commands] for k, bag in bags.items()}

    @functools.wraps(command)
    def call(**values: Any) -> None:
        filled = {}
        for key, bag in bags.items():
            given = {row.name: values.pop(row.name) for row in rows[key]}
            several = {row.name: row for row in rows[key] if getattr(row.parser, "several", False)}
            filled[key] = bag(**{k: several[k].parser(k, v) if k in several else v for k, v in given.items()})
        command(**values, **filled)

    others = [p for p in parameters.values() if p.name not in bags]
    added = [_parameter(row) for some in rows.values() for row in some]
    call.__signature__ = inspect.Signature([*others, *added])  # type: ignore[attr-defined]
    call.__annotations__ = {}
    return call


def _parameter(row: Option) -> inspect.Parameter:
    """Return an option as a parameter for typer; files are checked when they are read."""
    kind: Any = row.parser.type | None if isinstance(row.parser, Plain) else str | None
    more = dict(row.more)
    if getattr(row.parser, "several", False):
        kind = list[row.parser.type] | None  # type: ignore[name-defined]
    elif not isinstance(row.parser, Plain):
        more["parser"] = _parser(row)
    elif row.parser.type is bool:
        kind = bool
    if row.room and getattr(row.parser, "type", str) is str:
        more["autocompletion"] = complete_cells(".py") if row.room == "cells" else _complete(row.room)
    info = typer.Option(
        *(row.flags or (row.flag,)),
        help=row.text,
        metavar=row.metavar or row.parser.metavar,
        rich_help_panel=row.panel,
        show_default=False,
        readable=False,
        **more,
    )
    default = None if row.default in ({}, ()) else row.default
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _parser(row: Option) -> Callable[[Any], Any]:
    def parse(text: Any) -> Any:
        return row.parser(row.flag, text)

    parse.__name__ = row.parser.metavar  # what typer calls it
    return parse


def _complete(room: str) -> Callable[[str], list[str]]:
    """Return a completion of names of a room."""

    def names(incomplete: str) -> list[str]:
        return [n for n in plugins.names(room) if n.startswith(incomplete)]

    return names


def complete_cells(suffix: str) -> Callable[[str], list[str]]:
    """Return a completion of cell names, and of files with this suffix, with the folders on the way."""

    def names(incomplete: str) -> list[str]:
        folder, _, begun = incomplete.rpartition("/")
        start = f"{folder}/" if "/" in incomplete else ""
        try:
            paths = sorted(p for p in Path(start or ".").iterdir() if p.name.startswith(begun))
        except OSError:
            paths = []
        shown = [p for p in paths if begun or not p.name.startswith(".")]
        files = [f"{start}{p.name}" for p in shown if p.is_file() and p.name.endswith(suffix)]
        return [*_complete("cells")(incomplete), *files, *(f"{start}{p.name}/" for p in shown if p.is_dir())]

    return names


def typed(context: typer.Context) -> dict[str, str]:
    """Return {name: flag} of the options of the command line; those of a --config file may be for several uses."""
    rows = ((str(p.name), p.opts[0]) for p in context.command.params)
    sources = {name: context.get_parameter_source(name) for name, _ in rows}
    return {
        str(p.name): p.opts[0]
        for p in context.command.params
        if (source := sources.get(str(p.name))) is not None and source.name == "COMMANDLINE"
    }


def refuse_without_effect(context: typer.Context, settings: Any, kinds: Collection[str], *bags: type) -> None:
    """Refuse typed options that have no effect.

    Args:
        context: of the command.
        settings: what the other options say.
        kinds: kinds of what they are for, as for `Where`.
        bags: the tables.

    Raises:
        UsageError: there is such an option.
    """
    given = typed(context)
    for row in (row for bag in bags for row in table(bag).values()):
        if row.name in given and (unmet := row.unmet(settings, kinds)):
            raise UsageError(f"{given[row.name]} {unmet.reason}", unmet.hint)
