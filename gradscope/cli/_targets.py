"""What does an argument of `compare` name? A cell with settings, the layers of a checkpoint, or saved results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope import plugins
from gradscope.cli._files import exists, read_saved
from gradscope.cli._models import Model, models_of_cell, models_of_file
from gradscope.cli._user_cell import OF_INIT, fetch, idle_among, refuse_idle_settings
from gradscope.cli._user_cell import named as user_cell
from gradscope.errors import InputError, UsageError, shown
from gradscope.options import FLAG, Pairs, table
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.maps.jacobian import Array
    from gradscope.result import Result


@dataclass(frozen=True, eq=False)
class Target:
    """What a command was asked to look at: models to measure, or saved results by name."""

    models: list[Model] = field(default_factory=list)
    saved: dict[str, Result] = field(default_factory=dict)


def kinds_of(targets: list[str]) -> set[str]:
    """Return which kinds of model there are among the arguments, "cell" and "checkpoint", for `Where`.

    Raises:
        UsageError: an argument is neither a cell nor a file.
    """
    rest = [target for target in targets if _cell_of(target) is None]
    model_kinds = {"cell"} if len(rest) < len(targets) else set()
    return model_kinds | ({"checkpoint"} if any(not target.endswith(".json") for target in rest) else set())


def targets_of(settings: Settings, names: list[str]) -> list[Target]:
    """Return what the arguments name; an option without effect on some of the checkpoints is noted.

    Raises:
        UsageError: an option has an effect on none.
    """
    targets = [target_of(settings, name, names) for name in names]
    read = [m for target in targets for m in target.models if m.facts.get("source") == "checkpoint"]
    for option in read[0].idle if read else ():
        if all(option in model.idle for model in read):
            raise read[0].idle[option]
    return [replace(target, models=list(map(_with_idle_notes, target.models))) for target in targets]


def _with_idle_notes(model: Model) -> Model:
    flags = [table(Settings)[option].flag for option in model.idle]
    texts = [f"{flag} has no effect: it fits no layer of this file." for flag in flags]
    notes = [{"code": "GS-NO-EFFECT", "message": text, "where": "model"} for text in texts]
    return replace(model, warnings=(*model.warnings, *notes))


def target_of(settings: Settings, target: str, targets: list[str]) -> Target:
    """Return what an argument names.

    Args:
        settings: of all models.
        target: the argument.
        targets: all arguments; a cell looks tokens up in the embedding of a checkpoint among them.

    Raises:
        UsageError: it is neither a cell nor a file.
        InputError: a file cannot be read.
    """
    cell = _cell_of(target)
    if cell is not None:
        user = user_cell(target)
        embedding, note = _embedding_of(settings, targets) if settings.embedding else (None, None)
        models = models_of_cell(_with(settings, *cell), user.label if user else target, embedding)
        return Target([replace(m, warnings=(*m.warnings, note)) if note else m for m in models])
    if target.endswith(".json"):
        return Target(saved=_saved(Path(target)))
    models = models_of_file(settings, Path(target), among=True)
    stem = Path(target).stem if target != "-" else "stdin"
    return Target([replace(m, label=stem if len(models) == 1 else f"{stem}:{m.label}") for m in models])


def _embedding_of(settings: Settings, targets: list[str]) -> tuple[Array, dict[str, Any]]:
    """Return the embedding that cells with random weights read, and a note on whose it is.

    Raises:
        UsageError: the only checkpoint comes through standard input, which cannot be read twice.
        InputError: the embedding cannot be read.
    """
    from gradscope.files.layouts._load import read_embedding

    assert settings.embedding is not None
    checkpoints = [t for t in targets if _cell_of(t) is None and not t.endswith(".json")]
    files = [t for t in checkpoints if t != "-"]
    if not files:
        raise UsageError(
            "cells with random weights cannot read the embedding of a checkpoint from standard input",
            "save the checkpoint to a file",
        )
    several = len(checkpoints) > 1
    text = f"Tokens are looked up in '{settings.embedding}' of {shown(Path(files[0]).name)}"
    text += ", the first checkpoint: each checkpoint reads its own." if several else "."
    note = {"code": "GS-ASSUME" if several else "GS-NOTE", "message": text, "where": "input"}
    return read_embedding(files[0], settings.embedding, key=settings.key), note


def idle_notes(names: list[str], targets: list[str]) -> list[dict[str, Any]]:
    """Note options that have no effect on the functions among the targets.

    Raises:
        UsageError: one has an effect on nothing.
    """
    files = {t: (n.label, fetch(n.cell)) for t in targets if (n := user_cell(t))}
    functions = {t: row for t, row in files.items() if row[1].cell_class is None}
    drawn = any(_cell_of(t) is not None and t not in functions for t in targets)
    return idle_among(names, dict(functions.values()), drawn=drawn)


def _saved(path: Path) -> dict[str, Result]:
    """Read the analyses in a saved result.

    Raises:
        InputError: it holds none.
    """
    from gradscope.report.present import from_document
    from gradscope.result import Result

    saved = read_saved(path)
    from_document(saved)  # refuses what is damaged or of a later version
    if saved["kind"] not in ("analysis", "comparison"):
        what = f"a{'n' * (saved['kind'] == 'inspection')} {saved['kind']}"
        raise InputError(f"{shown(path)} holds {what}, which cannot be compared")
    rows = saved["results"] if saved["kind"] == "comparison" else [saved | {"name": path.name}]
    return {r["name"]: Result({k: v for k, v in r.items() if k != "name"}) for r in rows}


def _cell_of(target: str) -> tuple[str, dict[str, str]] | None:
    """Split "lstm:forget_bias=1,gain=2" or "mine.py:Mine:leak=0.1"; None for what is no cell.

    Raises:
        UsageError: it is neither a cell nor a file.
    """
    if user := user_cell(target):
        return user.cell, _pairs(user.settings)
    name, colon, rest = target.partition(":")
    known = plugins.names("cells")
    if name in known and not (colon and not rest) and (colon or not exists(Path(target))):
        return name, _pairs(rest)
    if not exists(Path(target)) and target != "-" and Path(target).suffix == "":
        if plugins.disabled_module("cells", name):
            plugins.load("cells", name)  # raises, and says why
        hint = f"{plugins.suggest(name, known)}cells: {', '.join(known)}; or name a file"
        raise UsageError(f"'{target}' is neither a cell nor a file", hint)
    return None


def _pairs(text: str) -> dict[str, str]:
    return Pairs()("settings", text.split(",") if text else [])


def _with(settings: Settings, cell: str, pairs: dict[str, str]) -> Settings:
    """Return the settings for one cell: those after the colon win over the options."""
    from gradscope.networks.instantiate import checked

    user_file = fetch(cell) if user_cell(cell) else None
    function = user_file if user_file is not None and user_file.cell_class is None else None
    # a function's own settings may have the names of options
    options = {k: v for k, v in pairs.items() if k in OF_INIT and not (function and k in function.settings)}
    if function:
        refuse_idle_settings(function, options)
    rows = table(Settings)
    values: dict[str, Any] = {
        k: checked(k, v, default=False) if rows[k].parser is FLAG else rows[k].parsed(k, v) for k, v in options.items()
    }
    return replace(
        settings, cell=cell, set=settings.set | {k: v for k, v in pairs.items() if k not in options}, **values
    )
