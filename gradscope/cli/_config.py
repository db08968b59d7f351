"""--config FILE.toml: defaults of a command's options, by their long names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import typer

from gradscope import plugins
from gradscope.errors import InputError, UsageError, shown


def apply_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of a command.

    Raises:
        UsageError: bad TOML, an unknown key, or a value of a wrong type.
        InputError: the file cannot be read.
    """
    if path is None or context.resilient_parsing:
        return path
    text = _read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{shown(path)}: {error}", "TOML is described at toml.io") from error
    known = {name.lstrip("-"): p for p in context.command.params for name in p.opts if name.startswith("--")}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("_", "-")
        where = f"{shown(path)}, line {_line(text, key)}"
        if name not in known or name == "config":
            hint = f"{plugins.suggest(name, list(known))}{context.command_path} --help lists the options"
            raise UsageError(f"{where}: there is no option '{key}'", hint)
        typed = _typed(known[name], key, value, where)
        try:
            known[name].process_value(context, typed)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}", error.hint) from error
        defaults[str(known[name].name)] = typed
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"cannot read the configuration {shown(path)}: {reason}") from error


def _typed(parameter: Any, key: str, value: Any, where: str) -> Any:
    """Return a value of the file as it would be typed.

    Raises:
        UsageError: the option takes no such value.
    """
    flag, several = bool(getattr(parameter, "is_flag", False)), bool(getattr(parameter, "multiple", False))
    if flag != isinstance(value, bool) or isinstance(value, dict) or (isinstance(value, list) and not several):
        kind = "true or false" if flag else "a list or one value" if several else "one value"
        raise UsageError(f"{where}: '{key}' must be {kind}, not {value!r}")
    rows = value if isinstance(value, list) else [value]
    if any("\0" in str(v) for v in rows):
        raise UsageError(f"{where}: '{key}' holds a null byte")
    texts = [v if isinstance(v, bool) else str(v) for v in rows]
    return texts if several else texts[0]


def _line(text: str, key: str) -> int:
    starts = (i for i, line in enumerate(text.splitlines(), 1) if line.split("=")[0].strip().strip("\"'") == key)
    return next(starts, 1)
