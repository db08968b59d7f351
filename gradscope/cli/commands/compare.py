"""gradscope compare: several models on the same inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope import plugins
from gradscope.cli import _options as o
from gradscope.cli._failon import parse
from gradscope.cli._idle import idle_among, refuse_idle, typed_of_cells
from gradscope.cli._measure import Job, jobs_of, measure_all, sorted_out
from gradscope.cli._mine import OF_INIT, aside, fetch, is_own, refuse_idle_settings
from gradscope.cli._mine import named as own_named
from gradscope.cli._models import models_of_cell, models_of_file
from gradscope.cli._output import Sink, shown
from gradscope.cli._progress import Progress
from gradscope.cli._progress import progress as progress_line
from gradscope.cli._request import Request, exists, one_blas_thread, settings_of
from gradscope.cli._saved import read_saved
from gradscope.cli._signals import Stop, end_if_stopped, stoppable
from gradscope.errors import InputError, UsageError

if TYPE_CHECKING:
    from gradscope.result import Result

EPILOG = "Example: gradscope compare rnn lstm gru lstm:forget_bias=1 --steps 200 -o compare.png"


def command(
    context: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...",
            help="Cells, with settings after a colon (lstm:forget_bias=1, gru:init=chrono,tmax=200), cells of your own "
            "(mine.py:Mine:leak=0.1; the file is run), checkpoints, and saved results (.json), mixed.",
            show_default=False,
            autocompletion=o.complete_cells(""),
        ),
    ],
    hidden: o.Hidden = 128,
    input_size: o.InputSize = None,
    layers: o.Layers = 1,
    residual: o.Residual = False,
    norm: o.Norm = "none",
    init: o.Init = None,
    gain: o.Gain = 1.0,
    layer: o.Layer = None,
    key: o.Key = None,
    activation: o.Activation = None,
    data: o.Data = None,
    data_key: o.DataKey = None,
    embedding: o.Embedding = None,
    columns: o.Columns = None,
    delimiter: o.Delimiter = None,
    decimal: o.Decimal = None,
    layout: o.Layout = None,
    nan: o.Nan = "keep",
    drive: o.Drive = "noise",
    readout: o.Readout = None,
    input_scale: o.InputScale = 1.0,
    steps: o.Steps = None,
    batch: o.Batch = None,
    warmup: o.Warmup = None,
    loss: o.Loss = "last",
    loss_gradient: o.LossGradient = None,
    spectrum: o.Spectrum = 16,
    lags: o.Lags = 32,
    step_spectra: o.StepSpectra = "auto",
    threshold: o.Threshold = 1e-3,
    remedies: o.Remedies = False,
    dtype: o.Dtype = "float64",
    seed: o.Seed = 0,
    threads: o.Threads = 1,
    max_memory: o.MaxMemory = None,
    format: o.Format = None,
    as_json: o.Json = False,
    output: o.Outputs = None,
    force: o.Force = False,
    mkdir: o.Mkdir = False,
    fail_on: o.FailOn = None,
    reproducible: o.Reproducible = False,
    config: o.Config = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    color: o.Color = "auto",
    progress: o.Progress = "auto",
) -> None:
    """Compare several models on the same inputs: who reaches how far.

    Models share seed and input; one with another number of inputs gets its own, and that is said.
    """
    request = Request.of(locals())
    condition = None if fail_on is None else parse(fail_on)
    if condition:
        condition.check_measured(lags)
    name = o.format_of(format, as_json)
    if targets.count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    kinds = [_cell_of(t)[0] is not None for t in targets]
    files = any(not k and not t.endswith(".json") for k, t in zip(kinds, targets, strict=True))
    own = loss_gradient is not None
    refuse_idle(context, cells=any(kinds), checkpoints=files, data=data is not None, loss=own, drive=drive)
    one_blas_thread()
    with Sink(
        name, output or (), force=force, mkdir=mkdir, color=color, reproducible=reproducible, quiet=quiet
    ) as sink:
        with stoppable() as stop:
            with progress_line(progress, quiet) as tell, aside():
                results, missing, notes = _results(request, targets, typed_of_cells(context), tell, stop)
                stop.hold()
                from gradscope.api import combine, cut_short

                combined = combine(results)
                combined.document["warnings"] += notes + ([cut_short(missing, "results")] if missing else [])
                tell("writing")
                report = combined.report
            sink.write(report if verbose else report.without_notes())
    end_if_stopped(stop)
    if condition:
        condition.end_if_it_holds(results)


def _results(
    request: Request, targets: list[str], typed: list[str], tell: Progress, stop: Stop
) -> tuple[dict[str, Result], list[str], list[dict[str, Any]]]:
    """Measure or read every target; also name those that nobody waited for, and note what has no effect on some.

    Names that occur twice are numbered.
    """
    notes = _idle(typed, targets)
    groups: list[tuple[list[Job], dict[str, Result]]] = []
    for target in targets:
        cell, settings = _cell_of(target)
        if cell is not None:
            own = _with(request, cell, settings)
            mine = own_named(target)
            groups.append((jobs_of(own, models_of_cell(own, mine.label if mine else target)), {}))
        elif target.endswith(".json"):
            groups.append(([], _saved(Path(target))))
        else:
            models = models_of_file(request, Path(target))
            stem = Path(target).stem if target != "-" else "stdin"
            named = [replace(m, label=stem if len(models) == 1 else f"{stem}:{m.label}") for m in models]
            groups.append((jobs_of(request, named), {}))
    jobs = [job for some, _ in groups for job in some]
    outcomes = iter(measure_all(jobs, request.threads, tell, stop))
    found: dict[str, Result] = {}
    missing: list[str] = []
    for some, read in groups:
        own_outcomes = [next(outcomes) for _ in some]
        missing += [job.model.label for job, o in zip(some, own_outcomes, strict=True) if o is None]
        measured = read or sorted_out([job.model for job in some], own_outcomes)
        for label, result in measured.items():
            again = sum(k == label or k.startswith(f"{label} (") for k in found)
            found[f"{label} ({again + 1})" if again else label] = result
    return found, missing, notes


def _idle(typed: list[str], targets: list[str]) -> list[dict[str, Any]]:
    """Note options that have no effect on the functions among the targets.

    Raises:
        UsageError: one has an effect on nothing.
    """
    files = {t: (n.label, fetch(n.cell)) for t in targets if (n := own_named(t))}
    functions = {t: row for t, row in files.items() if row[1].cell_class is None}
    drawn = any(_cell_of(t)[0] is not None and t not in functions for t in targets)
    return idle_among(typed, [*functions.values()], drawn=drawn)


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
        raise InputError(f"{shown(path)} holds {what}, and no analysis to compare")
    rows = saved["results"] if saved["kind"] == "comparison" else [saved | {"name": path.name}]
    return {r["name"]: Result({k: v for k, v in r.items() if k != "name"}) for r in rows}


def _cell_of(target: str) -> tuple[str | None, dict[str, str]]:
    """Split "lstm:forget_bias=1,gain=2" or "mine.py:Mine:leak=0.1"; (None, {}) for what is not a cell."""
    if mine := own_named(target):
        return mine.cell, settings_of(mine.settings.split(",") if mine.settings else [])
    name, colon, rest = target.partition(":")
    known = plugins.names("cells")
    if name in known and not (colon and not rest) and (colon or not exists(Path(target))):
        return name, settings_of(rest.split(",") if rest else [])
    if not exists(Path(target)) and target != "-" and Path(target).suffix == "":
        if plugins.disabled_module("cells", name):
            plugins.load("cells", name)  # says so
        hint = f"{plugins.suggest(name, known)}cells: {', '.join(known)}; or name a file"
        raise UsageError(f"'{target}' is neither a cell nor a file", hint)
    return None, {}


def _with(request: Request, cell: str, settings: dict[str, str]) -> Request:
    """Return the request for one cell: settings after the colon win over the options."""
    from gradscope.cli._numbers import count, real
    from gradscope.networks.create import checked

    parsers: dict[str, Any] = {
        "hidden": count("hidden"),
        "layers": count("layers"),
        "residual": lambda text: checked("residual", text, default=False),
        "seed": count("seed", 0),
        "gain": real("gain"),
    }
    mine = fetch(cell) if is_own(cell) else None
    function = mine if mine is not None and mine.cell_class is None else None
    of_init = {*OF_INIT} - ({*function.settings} if function else set())  # what a function calls so is its own
    own: dict[str, Any] = {k: parsers[k](v) if k in parsers else v for k, v in settings.items() if k in of_init}
    rest = {k: v for k, v in settings.items() if k not in of_init}
    if function:
        refuse_idle_settings(function, {f"--{k}": True for k in own})
    return replace(request, cell=cell, settings=rest, **own)
