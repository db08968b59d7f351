"""From models to results, one after the other or several at once.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, NamedTuple

from gradscope.cli._inputs import inputs_of, lengths, loss_gradient_of
from gradscope.cli._models import Model
from gradscope.cli._signals import Stop
from gradscope.cli._user_cell import is_user_file
from gradscope.dynamics.budget import allowed_bytes
from gradscope.errors import InputError, Interrupted
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.dynamics.progress import Progress
    from gradscope.result import Result

    Outcome = Result | InputError | None


class Job(NamedTuple):
    """A model to measure.

    Attributes:
        model: the model.
        among: whether it is one of several of a file, any of which is left out if data do not fit it.
        beside: settings of the other cells of the same command.
        progress: takes (name, done, total).
    """

    model: Model
    among: bool
    beside: tuple[Settings, ...]
    progress: Progress


def measure_all(groups: list[list[Model]], threads: int, progress: Progress, stop: Stop) -> list[list[Outcome]]:
    """Measure every model of every group, up to `threads` at once as far as memory allows.

    The outcome of a model is None if a signal came before its gradients were known, and an `InputError` where the data
    do not fit one of several models of a group.

    Threads, since large products release Python's lock: as measured, processes take 15 to 40 % more processor time, and
    a second to start. Parts of one analysis are not run at once: the longest of them takes about two thirds of it.

    Raises:
        InputError: the data do not fit the only model of a group.
        Interrupted: interrupted by a signal before there was a result.
        ResourceError: a run does not fit into memory.
    """
    from gradscope.result import Result

    models = [model for group in groups for model in group]
    at_once = min(threads, len(models), *map(_room, models)) if threads > 1 else 1
    several = len(models) > 1
    jobs = [
        Job(m, len(group) > 1, _beside(m, models), _prefixed(progress, f"{m.label}: " * several))
        for group in groups
        for m in group
    ]
    outcomes = _one_by_one(jobs, stop) if at_once <= 1 else _at_once(at_once, jobs, stop)
    if stop.code and not any(isinstance(o, Result) for o in outcomes):
        raise Interrupted(stop.code)
    rest = iter(outcomes)
    return [[next(rest) for _ in group] for group in groups]


def _beside(model: Model, models: list[Model]) -> tuple[Settings, ...]:
    return tuple(m.settings for m in models if m is not model and m.settings.cell is not None)


def _one_by_one(jobs: list[Job], stop: Stop) -> list[Outcome]:
    """Measure models in this thread, where a signal raises `Interrupted` wherever it is."""
    outcomes: list[Outcome] = [None] * len(jobs)
    with suppress(Interrupted):
        for number, job in enumerate(jobs):
            outcomes[number] = _measured(job, job.progress)
            if stop.code:  # it came while this one was measured
                break
    return outcomes


def _at_once(threads: int, jobs: list[Job], stop: Stop) -> list[Outcome]:
    """Measure models in several threads; one that is interrupted notices when it reports progress."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    abandoned = Event()
    users = Lock()  # a user's file may hold arrays that its functions write to: one of its cells at a time

    def measured(job: Job) -> Outcome:
        with users if is_user_file(job.model.settings.cell) else nullcontext(), suppress(Interrupted):
            return _measured(job, _interruptible(job.progress, stop, abandoned))
        return None

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(measured, job) for job in jobs]
        try:
            with suppress(Interrupted):  # raised here, in the main thread; the others see stop.code
                wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
            if any(f.done() and not f.cancelled() and f.exception() for f in futures):
                abandoned.set()
            wait(futures)  # within `try`: a second signal may come while those that run are waited for
        except BaseException:
            abandoned.set()
            for future in futures:
                future.cancel()
            raise
    return [None if future.cancelled() else future.result() for future in futures]


def _interruptible(progress: Progress, stop: Stop, abandoned: Event) -> Progress:
    """Return `progress` that raises `Interrupted`: once where a signal has come, always where all is abandoned."""
    interrupted = False

    def report(name: str, done: int, total: int, /) -> None:
        nonlocal interrupted
        if abandoned.is_set() or (stop.code and not interrupted):
            interrupted = True
            raise Interrupted(stop.code)
        progress(name, done, total)

    return report


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda name, done, total: progress(prefix + name, done, total)


def sorted_out(models: list[Model], outcomes: list[Outcome]) -> dict[str, Result]:
    """Return the results by name, with notes on models that the data do not fit.

    Raises:
        InputError: they fit none of the models.
    """
    refused = [(m.label, o) for m, o in zip(models, outcomes, strict=True) if isinstance(o, InputError)]
    rows = zip(models, outcomes, strict=True)
    results = {m.label: o for m, o in rows if o is not None and not isinstance(o, InputError)}
    notes = [{"code": "GS-LEFT-OUT", "message": f"{n} was not measured: {e.message}", "where": n} for n, e in refused]
    if results:
        next(iter(results.values())).document["warnings"].extend(notes)
    elif refused:
        raise refused[0][1]
    return results


def _measured(job: Job, progress: Progress) -> Result | InputError:
    """Analyze one model; the error is returned where data do not fit one of several."""
    from gradscope.analysis._plan import plan_of
    from gradscope.api import Origin, run_analysis

    progress("input", 0, 0)
    model, settings = job.model, job.model.settings
    try:
        inputs = inputs_of(model, lambda *sizes: plan_of(model.cell, settings, *sizes).check(settings.max_memory))
    except InputError as error:
        if not job.among or not settings.data:
            raise
        return error
    request = model.request and replace(model.request, others=job.beside)
    warnings = (*model.warnings, *inputs.warnings)
    origin = Origin(model.facts, model.config, warnings, inputs.nonfinite, request, inputs.columns)
    return run_analysis(
        model.cell,
        inputs.values,
        # real data say how many sequences there are
        replace(settings, batch=None if settings.data else settings.batch, lags=min(settings.lags, inputs.steps)),
        lead_in=inputs.lead_in,
        loss_gradient=loss_gradient_of(model, inputs),
        name=model.title,
        progress=progress,
        origin=origin,
    )


def _room(model: Model) -> int:
    """Return how many runs of this size fit into memory side by side."""
    from gradscope.analysis._plan import plan_of

    try:
        batch, steps = lengths(model)
    except InputError:  # raised again when the model is measured
        return 1
    return max(1, allowed_bytes(model.settings.max_memory) // plan_of(model.cell, model.settings, batch, steps).total)
