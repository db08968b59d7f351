"""The Python interface: make or load a cell, analyze it, keep the result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.analysis._measure import measure
from gradscope.analysis._plan import plan_of
from gradscope.analysis._run import Run
from gradscope.analysis.lyapunov import LONGEST_BURN, usual_burn
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.course import Course, course_of
from gradscope.dynamics.loss import Loss, given_loss, random_loss
from gradscope.dynamics.progress import Progress, no_progress
from gradscope.errors import Interrupted, UsageError
from gradscope.maps.jacobian import Array
from gradscope.networks.network import Network
from gradscope.networks.stack import backward
from gradscope.numerics.nonfinite import NonFinite
from gradscope.options import table
from gradscope.remedies import try_changes
from gradscope.report import environment, section
from gradscope.report.build import analysis_document, comparison_document
from gradscope.report.case import Request
from gradscope.report.facts import case_of
from gradscope.report.remedy import Remedy
from gradscope.result import Result
from gradscope.settings import Settings, from_keywords, with_keywords

__all__ = ["Origin", "Result", "analyze", "combine", "compare", "cut_short", "run_analysis"]


@dataclass(frozen=True)
class Origin:
    """What whoever asks for an analysis knows of the model and its input, for the document.

    Attributes:
        model: fields of the document's `model`; `source` is "init" for weights drawn by `config["init"]`.
        config: settings, beside those that the analysis itself has.
        warnings: {code, message, where}.
        nonfinite: values that were found not to be finite when the input was read.
        request: how the command line asked for the model; None in Python.
        columns: names of the inputs; empty where they have none.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, Any]] = ()
    nonfinite: Sequence[NonFinite] = ()
    request: Request | None = None
    columns: Sequence[str] = ()


@with_keywords
def analyze(
    cell: Network | JacobianChain,
    inputs: Array | None = None,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Run a cell along its input, linearise every step, and measure how far gradients reach.

    Args:
        cell: a cell, or a `JacobianChain` of your own Jacobians (then there is no input).
        inputs: (B, T, m) or (T, m); None for seeded white noise. A closed loop has none.
        lead_in: (B, N, m) or (N, m): what the network reads first, from a zero state; the run starts in the state
            where this leaves it. None for nothing; for a closed loop, 50 steps of seeded white noise.
        loss_gradient: your own dL/dh: (H,), (B, H) or (B, T, H), in the order of the inputs; it replaces `loss`.
        name: name of the model in the sentence.
        progress: a function of (name, done, total), called when a part begins and while it goes on: "products", 16,
            400. The total is 0 where work is not counted. See `gradscope.dynamics.progress.Progress`.
        **settings: the options of an analysis.

    Raises:
        InputError: shapes do not fit.
        UsageError: an unknown setting, or a value out of range.
    """
    options = from_keywords(settings)
    _check_cell(cell)
    chain = isinstance(cell, JacobianChain)
    if lead_in is not None and chain:
        raise UsageError("a chain of Jacobians takes no lead_in", "omit lead_in")
    if (options.steps, options.batch) != (None, None) and (inputs is not None or chain):
        raise UsageError("steps and batch are for synthetic inputs", "slice the inputs instead: inputs[:batch, :steps]")
    if options.warmup is None and inputs is not None:
        options = replace(options, warmup=0)
    return run_analysis(
        cell, inputs, options, lead_in=lead_in, loss_gradient=loss_gradient, name=name, progress=progress
    )


def run_analysis(
    cell: Network | JacobianChain,
    inputs: Array | None,
    settings: Settings,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Result:
    """Analyze a cell with checked settings; see `analyze`.

    Args:
        cell: a cell or a chain.
        inputs: as for `analyze`, warm-up included.
        settings: the options; `steps` and `batch` are for synthetic inputs, drawn where `inputs` is None.
        lead_in: as for `analyze`.
        loss_gradient: as for `analyze`.
        name: as for `analyze`.
        progress: as for `analyze`.
        origin: what is known of model and input, for the document.

    Raises:
        InputError: shapes do not fit.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    origin = origin or Origin(config=settings.config(python=True))
    progress = progress or no_progress
    course = None if isinstance(cell, JacobianChain) else _course(cell, inputs, lead_in, settings)
    run = _run(cell, course, settings, loss_gradient, origin, progress)
    answers, missing = measure(run, settings)
    remedies = settings.remedies and not missing
    if settings.remedies and missing:
        missing = (*missing, "remedies")
    config = dict(origin.config) | _resolved(run, course, settings, answers, remedies=remedies)
    case = case_of(cell, run.chain, answers, config, known=origin.model, name=name, request=origin.request)
    loss = run.loss
    del run  # its states make room for those of changed cells
    tried: tuple[Remedy, ...] | None = () if remedies else None
    if remedies and course is not None and isinstance(cell, Network):
        try:
            tried = try_changes(cell.changes, course.chain, loss, answers, progress)
        except Interrupted:
            tried, missing = None, ("remedies",)
    progress("report", 0, 1)
    notes = [*map(dict, origin.warnings), *section.warnings(case)]
    document = analysis_document(case, [*notes, *([cut_short(missing, "series")] if missing else [])], tried)
    document["run"] = environment.describe(started, time.perf_counter() - clock)
    progress("report", 1, 1)
    return Result(document)


def _course(cell: Network, inputs: Array | None, lead_in: Array | None, settings: Settings) -> Course:
    """Return what the cell is run along, and store as much of the run as memory allows."""
    course = course_of(cell, inputs, lead_in, settings)
    return replace(course, storage=plan_of(cell, settings, course.batch, course.steps).storage)


def _run(
    cell: Network | JacobianChain,
    course: Course | None,
    settings: Settings,
    gradient: Array | None,
    origin: Origin,
    progress: Progress,
) -> Run:
    """Run the cell and linearise it; the end of the warm-up turns the frame of the exponents, too."""
    if isinstance(cell, JacobianChain):
        return Run(cell, cell, _loss(cell, settings, gradient), None, origin.nonfinite, progress)
    assert course is not None
    progress("running the cell", 0, 0)
    lead = min(course.warmup, LONGEST_BURN)
    longer = course.chain(cell, keep=lead)
    chain, burn = longer.after(lead), max(lead, usual_burn(longer.steps))
    if gradient is not None and np.ndim(gradient) == 3 and backward(cell):
        gradient = np.asarray(gradient)[:, ::-1]  # it runs from the last step of the data to the first
    loss, further = _loss(chain, settings, gradient), partial(course.further, cell)
    return Run(chain, longer, loss, burn, origin.nonfinite, progress, origin.columns, further=further)


def _loss(chain: JacobianChain, settings: Settings, gradient: Array | None) -> Loss:
    return random_loss(chain, settings.loss, settings.seed) if gradient is None else given_loss(chain, gradient)


def _resolved(
    run: Run, course: Course | None, settings: Settings, answers: Mapping[str, Any], *, remedies: bool
) -> dict[str, Any]:
    """Return the settings that are known once the cell has been run, for the document."""
    chain, lead_in = run.chain, None if course is None else course.lead_in
    return {
        **({} if lead_in is None else {"lead_in": int(lead_in.shape[1])}),
        "steps": chain.steps,
        "batch": chain.batch,
        "warmup": 0 if course is None else course.warmup,
        "loss": run.loss.name,
        "seed": settings.seed,
        "lags": settings.lags,
        "spectrum": min(settings.spectrum, chain.size),
        "step_spectra": len(answers["steps"].timestep) if "steps" in answers else 0,
        "threshold": settings.threshold,
        **({"remedies": True} if remedies else {}),
    }


def _check_cell(cell: Any) -> None:
    """Refuse what is near to a cell, and say how to get one."""
    if isinstance(cell, Network | JacobianChain):
        return
    if isinstance(cell, Mapping):
        name = next(iter(cell), "NAME")
        raise UsageError("analyze takes one cell, not a dict of cells", f"choose one: layers[{str(name)!r}]")
    if isinstance(cell, str | Path):
        raise UsageError(f"analyze takes a cell, not the text {str(cell)!r}", "see gradscope.create and gradscope.load")
    raise UsageError(f"analyze takes a cell, not {type(cell).__name__}", "gradscope.from_step takes a function")


def cut_short(names: Sequence[str], where: str) -> dict[str, str]:
    """Return the note that names what was not measured, since somebody asked to stop."""
    return {"code": "GS-INTERRUPTED", "message": f"Interrupted; not measured: {', '.join(names)}.", "where": where}


@with_keywords
def compare(
    models: Mapping[str, Network | Result],
    inputs: Array | None = None,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    progress: Progress | None = None,
    threads: int = 1,
    **settings: Any,
) -> Result:
    """Analyze several cells on the same inputs, side by side.

    Args:
        models: {name: cell or result}; a result is taken as it is.
        inputs: (B, T, m) or (T, m), the same for all cells; None for seeded white noise.
        lead_in: as for `analyze`.
        loss_gradient: as for `analyze`.
        progress: as for `analyze`; with threads, it is called from each of them.
        threads: number of models analyzed at once; each takes the memory of a run. The numbers are the same. Functions
            of your own are then called from several threads, so they must not share arrays that they write to.
        **settings: the options of an analysis.

    Raises:
        UsageError: there are no models, or a setting is unknown or out of range.
        InputError: shapes do not fit.
    """
    if not models:
        raise UsageError("there is nothing to compare", "name at least one cell, checkpoint or saved result")
    given: dict[str, Any] = {"lead_in": lead_in, "loss_gradient": loss_gradient, "progress": progress, **settings}

    def result(name: str) -> Result:
        model = models[name]
        return model if isinstance(model, Result) else analyze(model, inputs, name=name, **given)

    at_once = table(Settings)["threads"].parsed("threads", threads)
    if at_once == 1:
        return combine({name: result(name) for name in models})
    with ThreadPoolExecutor(at_once) as pool:
        futures = {name: pool.submit(result, name) for name in models}
        try:
            return combine({name: future.result() for name, future in futures.items()})
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, what has not begun is not waited for


def combine(results: Mapping[str, Result]) -> Result:
    """Put results side by side in one document of kind "comparison"."""
    documents = [r.document for r in results.values()]
    shared = {k: v for k, v in documents[0]["config"].items() if all(d["config"].get(k) == v for d in documents)}
    document = comparison_document(documents, list(results), shared)
    runs = [d["run"] for d in documents if "run" in d]
    if runs:
        document["run"] = runs[0] | {"duration_s": sum(r["duration_s"] for r in runs)}
    return Result(document)
