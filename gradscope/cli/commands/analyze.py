"""gradscope analyze: one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope.cli import _options as o
from gradscope.cli._failon import parse
from gradscope.cli._idle import refuse_idle
from gradscope.cli._measure import measure
from gradscope.cli._mine import aside
from gradscope.cli._models import Model, existing_or_suggest, models_of_cell, models_of_file
from gradscope.cli._output import Sink, is_picture, write_stdout
from gradscope.cli._plan import plan_text
from gradscope.cli._progress import Progress
from gradscope.cli._progress import progress as progress_line
from gradscope.cli._request import Request, one_blas_thread
from gradscope.cli._signals import Stop, end_if_stopped, stoppable
from gradscope.errors import UsageError

if TYPE_CHECKING:
    from gradscope.report.model import Report
    from gradscope.result import Result

EPILOG = "Example: gradscope analyze model.pt --data batch.npy -o report.png"


def command(
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="TARGET",
            help="A checkpoint (.pt .pth .ckpt .safetensors .npz), or - for standard input.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    cell: o.CellName = None,
    hidden: o.Hidden = 128,
    input_size: o.InputSize = None,
    layers: o.Layers = 1,
    residual: o.Residual = False,
    norm: o.Norm = "none",
    bidirectional: o.Bidirectional = False,
    init: o.Init = None,
    gain: o.Gain = 1.0,
    settings: o.Settings = None,
    layer: o.Layer = None,
    key: o.Key = None,
    activation: o.Activation = None,
    gate_order: o.GateOrder = None,
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
    diagram: o.DrawCell = False,
    force: o.Force = False,
    mkdir: o.Mkdir = False,
    fail_on: o.FailOn = None,
    reproducible: o.Reproducible = False,
    dry_run: o.DryRun = False,
    config: o.Config = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    color: o.Color = "auto",
    progress: o.Progress = "auto",
) -> None:
    """Measure how far gradients reach through one model: a cell with random weights, or a checkpoint.

    Standard output begins with the answer in one sentence. A bad verdict is not an error: see --fail-on.
    """
    request = Request.of(locals())
    condition = None if fail_on is None else parse(fail_on)
    if condition:
        condition.check_measured(lags)
    name = o.format_of(format, as_json)
    if (target is None) == (cell is None):
        what = "name a checkpoint or a cell, not both" if target else "name a checkpoint, or a cell with --cell"
        raise UsageError(what, "for instance gradscope analyze --cell gru --steps 200")
    if target is not None and str(target) != "-":
        existing_or_suggest(target)
    own = loss_gradient is not None
    given = {"cells": cell is not None, "checkpoints": target is not None, "data": data is not None, "loss": own}
    pictures = any(map(is_picture, (name, *(path.suffix[1:].lower() for path in output or ()))))
    refuse_idle(context, **given, drive=drive, pictures=pictures)
    one_blas_thread()
    with Sink(
        name, output or (), force=force, mkdir=mkdir, color=color, reproducible=reproducible, quiet=quiet
    ) as sink:
        with stoppable() as stop:
            with progress_line(progress, quiet) as tell, aside():
                models = models_of_cell(request) if target is None else models_of_file(request, target)
                if dry_run:
                    planned = plan_text(request, models)
                else:
                    results, report = _measured(request, models, tell, stop, diagram=diagram)
            if dry_run:
                write_stdout(planned)
                return
            sink.write(report if verbose else report.without_notes())
    end_if_stopped(stop)
    if condition:
        condition.end_if_it_holds(results)


def _measured(
    request: Request, models: list[Model], tell: Progress, stop: Stop, *, diagram: bool
) -> tuple[dict[str, Result], Report]:
    results = measure(request, models, tell, stop)
    stop.hold()
    from gradscope.api import combine

    result = next(iter(results.values())) if len(results) == 1 else combine(results)
    tell("writing")
    if not diagram:
        return results, result.report
    from gradscope.diagram import with_diagrams

    return results, with_diagrams(result.report, {m.label: m.cell for m in models if m.label in results})
