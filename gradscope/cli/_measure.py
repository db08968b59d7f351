"""From models to results: read or make the input, ask whether it fits into memory, and analyze.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from gradscope.cli._mine import is_own
from gradscope.cli._models import Model
from gradscope.cli._output import shown
from gradscope.cli._request import Request
from gradscope.cli._signals import Stop
from gradscope.dynamics.budget import Plan, allowed_bytes, operations
from gradscope.errors import InputError, Interrupted, UsageError

if TYPE_CHECKING:
    from gradscope.maps.jacobian import Array
    from gradscope.result import Result

__all__ = [
    "Job",
    "calls_of",
    "jobs_of",
    "lengths",
    "measure",
    "measure_all",
    "operations_of",
    "plan_of",
    "sorted_out",
]


@dataclass(frozen=True, eq=False)
class Job:
    """One model to be measured, as one request asks for it.

    Attributes:
        request: what is asked for.
        model: of what.
        among: whether it is one of several, any of which may be left out where the data do not fit it.
    """

    request: Request
    model: Model
    among: bool


def measure(request: Request, models: list[Model], tell: Callable[[str], None], stop: Stop) -> dict[str, Result]:
    """Analyze every model on the same inputs; one whose width the data do not have is left out, and said.

    Raises:
        InputError: the data fit none of the models.
        ResourceError: a run does not fit into memory.
        Interrupted: somebody asked to stop, and nothing is known yet.
    """
    from gradscope.api import cut_short

    outcomes = measure_all(jobs_of(request, models), request.threads, tell, stop)
    results = sorted_out(models, outcomes)
    missing = [m.label for m, o in zip(models, outcomes, strict=True) if o is None]
    if missing:
        next(iter(results.values())).document["warnings"].append(cut_short(missing, "model"))
    return results


def jobs_of(request: Request, models: list[Model]) -> list[Job]:
    """Return what there is to measure."""
    return [Job(request, model, len(models) > 1) for model in models]


def measure_all(
    jobs: list[Job], threads: int, tell: Callable[[str], None], stop: Stop
) -> list[Result | InputError | None]:
    """Measure every model, up to `threads` at once as far as memory allows; None: interrupted before its gradients.

    Threads, since large products release Python's lock: as measured, processes take 15 to 40 % more processor time, and
    a second to start. Parts of one analysis are not run at once: the longest of them takes about two thirds of it.
    """
    from gradscope.result import Result

    at_once = min(threads, len(jobs), *(_room(job) for job in jobs)) if threads > 1 else 1
    tells = [_prefixed(tell, f"{job.model.label}: " if len(jobs) > 1 else "") for job in jobs]
    measured = _one_by_one if at_once == 1 else partial(_at_once, at_once)
    outcomes = measured(jobs, tells, stop)
    if stop.code and not any(isinstance(o, Result) for o in outcomes):
        raise Interrupted(stop.code)
    return outcomes


def _one_by_one(jobs: list[Job], tells: list[Callable[[str], None]], stop: Stop) -> list[Result | InputError | None]:
    """Measure models in this thread, where a signal raises `Interrupted` wherever it is."""
    outcomes: list[Result | InputError | None] = [None] * len(jobs)
    with suppress(Interrupted):
        for number, (job, tell) in enumerate(zip(jobs, tells, strict=True)):
            outcomes[number] = _measured(job, tell)
            if stop.code:  # it came while this one was measured
                break
    return outcomes


def _at_once(
    threads: int, jobs: list[Job], tells: list[Callable[[str], None]], stop: Stop
) -> list[Result | InputError | None]:
    """Measure models in several threads; one that is interrupted notices when it reports progress."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    abandoned = Event()
    users = Lock()  # a user's file may hold arrays that its functions write to: one of its cells at a time

    def measured(job: Job, tell: Callable[[str], None]) -> Result | InputError | None:
        with users if is_own(job.request.cell or "") else nullcontext(), suppress(Interrupted):
            return _measured(job, _interruptible(tell, stop, abandoned))
        return None

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(measured, job, tell) for job, tell in zip(jobs, tells, strict=True)]
        try:
            with suppress(Interrupted):  # raised here, in the main thread; the others see stop.code
                wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # a second signal
            abandoned.set()
            raise
        finally:
            for future in futures:
                future.cancel()
            if any(f.done() and not f.cancelled() and f.exception() for f in futures):
                abandoned.set()
    return [None if future.cancelled() else future.result() for future in futures]


def _interruptible(tell: Callable[[str], None], stop: Stop, abandoned: Event) -> Callable[[str], None]:
    """Return `tell`, which raises `Interrupted` once where a signal has come, and always where all is given up."""
    interrupted = False

    def report(text: str) -> None:
        nonlocal interrupted
        if abandoned.is_set() or (stop.code and not interrupted):
            interrupted = True
            raise Interrupted(stop.code)
        tell(text)

    return report


def _prefixed(tell: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda text: tell(prefix + text)


def sorted_out(models: list[Model], outcomes: list[Result | InputError | None]) -> dict[str, Result]:
    """Return the results by name, with notes on models that the data do not fit.

    Raises:
        InputError: they fit none of the models.
    """
    refused = [(m.label, o) for m, o in zip(models, outcomes, strict=True) if isinstance(o, InputError)]
    rows = zip(models, outcomes, strict=True)
    results = {m.label: o for m, o in rows if o is not None and not isinstance(o, InputError)}
    notes = [{"code": "GS-LEFT-OUT", "message": f"{n} was left out: {e.message}", "where": n} for n, e in refused]
    if results:
        next(iter(results.values())).document["warnings"].extend(notes)
    elif refused:
        raise refused[0][1]
    return results


def _measured(job: Job, tell: Callable[[str], None]) -> Result | InputError:
    """Analyze one model; the error is returned where data do not fit one of several."""
    from gradscope.api import Origin, analyze
    from gradscope.files.data._load import load_array

    request, model = job.request, job.model
    tell("input")
    gradient = None if request.loss_gradient is None else load_array(request.loss_gradient)
    try:
        ways = _inputs(request, model)
    except InputError as error:
        if not job.among or not request.data:
            raise
        return error
    return analyze(
        model.cell,
        ways.inputs,
        lead_in=ways.lead_in,
        steps=ways.steps - request.warmup_steps if ways.inputs is None else None,
        loss=request.loss,
        loss_gradient=_fitted(request, model, gradient, ways),
        warmup=request.warmup_steps,
        seed=request.seed,
        lags=min(request.lags, ways.steps),
        spectrum=request.spectrum,
        step_spectra=request.spectra_of,
        threshold=request.threshold,
        remedies=request.remedies,
        max_memory=request.max_memory,
        name=model.title,
        progress=tell,
        origin=Origin(model.facts, request.config(), (*model.warnings, *ways.warnings), ways.records),
    )


def _room(job: Job) -> int:
    """Return how many runs of this size fit into memory side by side."""
    try:
        batch, steps = lengths(job.request, job.model)
    except InputError:  # it will be said in its turn
        return 1
    plan = plan_of(job.request, job.model, batch, steps)
    return max(1, allowed_bytes(job.request.max_memory) // plan.total)


def _fitted(request: Request, model: Model, gradient: Array | None, ways: _Ways) -> Array | None:
    """Cut a loss gradient as the data were cut: to the first sequences, and to the measured steps."""
    from gradscope.networks.stack import backward

    if gradient is None:
        return None
    batch, steps, warmup = ways.batch, ways.steps, request.warmup_steps
    if gradient.ndim > 1 and request.batch is not None:
        gradient = gradient[:batch]
    if gradient.ndim == 3 and gradient.shape[1] >= steps:
        # a backward direction warms up at the end of the data
        gradient = gradient[:, : steps - warmup] if backward(model.cell) else gradient[:, warmup:steps]
    return gradient


def plan_of(request: Request, model: Model, batch: int, steps: int) -> Plan:
    """Return what a run of so many sequences and steps, warm-up included, takes of memory."""
    from gradscope.analysis.lyapunov import affordable
    from gradscope.networks.stack import cells_of

    cell = model.cell
    weights = sum(w.size for w in cell.weights().values())
    dense, inputs = request.lags > 0 and not cell.diagonal, cell.network.network_input_size
    polar = sum(c.U.size for c in cells_of(cell) if c.U is not None and not c.keep_gates) if request.remedies else 0
    values = min(request.spectrum, cell.state_size)
    columns = 2 * values * min(batch, affordable(steps, cell.state_size, values))  # one frame leads, one counts
    size, keeps = cell.dtype.itemsize, sum(cell.keeps)
    plan = Plan(cell.state_size, inputs, weights, steps, batch, size, dense, polar, columns, keeps, kept=cell.kept_name)
    return plan.fitting(request.max_memory)


def operations_of(request: Request, model: Model, batch: int, steps: int) -> dict[str, float]:
    """Return the number of floating-point operations of each part of a run; `steps` include the warm-up."""
    from gradscope.analysis.lyapunov import affordable
    from gradscope.analysis.steps import WORK
    from gradscope.networks.stack import cells_of

    n, measured, cells = model.cell.state_size, max(1, steps - request.warmup_steps), cells_of(model.cell)
    values = min(request.spectrum, n)
    return operations(
        plan_of(request, model, batch, steps),
        # Jacobians of a function are matrices
        recurrent=sum(c.U.size for c in cells if c.U is not None) if cells else n**2,
        measured=measured,
        values=values,
        lags=min(request.lags, measured),
        sequences=min(batch, affordable(steps, n, values)),
        spectra=min(measured * batch, request.spectra_of or max(6, int(WORK / n**3))),
        paths=any(len(c.gates) > 1 for c in cells),
    )


def calls_of(model: Model, batch: int, steps: int) -> int:
    """Return the number of calls of a user's function: for the run, and once for its Jacobians; 0 for other cells."""
    from gradscope.networks.function import FunctionCell

    return steps * batch * (1 + model.cell.jacobian_calls) if isinstance(model.cell, FunctionCell) else 0


def lengths(request: Request, model: Model) -> tuple[int, int]:
    """Return how many sequences and how many steps, warm-up included, a run has; real data are read for that."""
    if request.data is None:
        return request.batch or 8, (request.steps or 200) + request.warmup_steps
    ways = _inputs(request, model)
    return ways.batch, ways.steps


@dataclass(frozen=True, eq=False)
class _Ways:
    """What a model is run along.

    Attributes:
        inputs: (B, T, m), warm-up included; None for a network that feeds itself.
        lead_in: (B, N, m), what it reads before; None for nothing.
        steps: T, warm-up included.
        batch: B.
        warnings, records: for the document.
    """

    inputs: Array | None
    lead_in: Array | None
    steps: int
    batch: int
    warnings: list[dict[str, Any]]
    records: list[Any]


def _inputs(request: Request, model: Model) -> _Ways:
    """Read or make what the model is run along."""
    width = model.cell.network.network_input_size
    own = (request.steps or 200) + request.warmup_steps

    def check(batch: int, steps: int) -> None:
        plan_of(request, model, batch, max(steps, own) if request.feeds_itself else steps).check(request.max_memory)

    if request.data is None:
        return _made(request, model, width, check)
    read = _embedded if request.embedding else _read
    values, warnings, records = read(request, model, width, check)
    if request.feeds_itself:
        note = _loop_note(request, model, values.shape[1], request.data.name)
        return _Ways(None, values, own, len(values), [*warnings, note], records)
    return _Ways(values, None, values.shape[1], len(values), warnings, records)


def _made(request: Request, model: Model, width: int, check: Callable[[int, int], None]) -> _Ways:
    """Make input; a network that is left to itself is set going by noise, each sequence its own way."""
    from gradscope.dynamics.drive import LEAD_IN, drive

    batch, steps = lengths(request, model)
    check(batch, steps)
    options: dict[str, Any] = {"scale": request.input_scale, "seed": request.seed}
    alone = request.feeds_itself or request.drive == "zeros"
    lead_in = drive("noise", batch, LEAD_IN, width, **options) if alone else None
    if request.feeds_itself:
        return _Ways(None, lead_in, steps, batch, [_loop_note(request, model, LEAD_IN, None)], [])
    made, warnings = drive(request.drive, batch, steps, width, **options), []
    if not made.any():
        text = "The input is all zeros: this is the autonomous network."
        text += f" Each sequence starts where {LEAD_IN} steps of white noise took it." if alone else ""
        warnings.append({"code": "GS-NO-DRIVE", "message": text, "where": "input"})
    return _Ways(made, lead_in, steps, batch, warnings, [])


def _loop_note(request: Request, model: Model, steps: int, data: str | None) -> dict[str, Any]:
    """Say how the loop is closed, and what came before."""
    what = f"{steps} step{'s'[: steps != 1]} of {shown(data) if data else 'white noise'}"
    text = f"Each sequence reads {what}; from then on its next input is the readout of its output, without sampling."
    return {"code": "GS-CLOSED-LOOP", "message": text, "where": "input"}


def _read(
    request: Request, model: Model, width: int, check: Callable[[int, int], None]
) -> tuple[Array, list[dict[str, Any]], list[Any]]:
    """Return inputs (B, T, m), warnings, and records of values that are not finite."""
    from gradscope.analysis.finite import NonFinite
    from gradscope.files.data._load import load_inputs

    assert request.data is not None
    read = load_inputs(
        request.data,
        input_size=width,
        layout=request.layout,
        columns=request.columns,
        delimiter=request.delimiter,
        decimal=request.decimal,
        nan=request.nan,
        dtype=request.dtype,
        key=request.data_key,
    )
    values = _cut(request, read.values)
    check(values.shape[0], values.shape[1])
    warnings = [{"code": c, "message": m, "where": "data"} for c, m in read.warnings]
    warnings += [{"code": "GS-NOTE", "message": n, "where": "data"} for n in read.notes]
    warnings += _layout_note(request, values)
    have = values.shape[1] - request.warmup_steps
    if request.steps is not None and have < request.steps and not request.feeds_itself:
        text = f"The data have {have} steps after warm-up, fewer than --steps {request.steps}."
        warnings.append({"code": "GS-SHORT-DATA", "message": text, "where": "data"})
    if request.batch is not None and len(values) < request.batch:
        text = f"The data have {len(values)} sequences, fewer than --batch {request.batch}."
        warnings.append({"code": "GS-SHORT-DATA", "message": text, "where": "data"})
    records = [NonFinite(r["path"], r["kind"], r["count"], tuple(r["first"])) for r in read.nonfinite]
    return values, warnings, records


def _cut(request: Request, values: Array) -> Array:
    """Keep as many sequences and steps as were asked for, warm-up included."""
    values = values if request.batch is None else values[: request.batch]
    if request.steps is None or request.feeds_itself:
        return values
    return values[:, : request.steps + request.warmup_steps]


def _embedded(
    request: Request, model: Model, width: int, check: Callable[[int, int], None]
) -> tuple[Array, list[dict[str, Any]], list[Any]]:
    """Look tokens up in the checkpoint's embedding."""
    from gradscope.files.data._load import load_tokens

    assert request.data is not None
    if model.embedding is None:
        raise UsageError("--embedding names a matrix of a checkpoint, and this model comes from none")
    tokens = load_tokens(request.data, key=request.data_key)
    tokens = _cut(request, tokens.T if request.layout == "tbf" else tokens)
    count, size = model.embedding.shape
    if size != width:
        raise InputError(f"the embedding '{request.embedding}' has width {size}; the model has {width} inputs")
    if tokens.size and not (0 <= tokens.min() and tokens.max() < count):
        raise InputError(f"tokens run from {tokens.min()} to {tokens.max()}; the embedding has rows 0 to {count - 1}")
    check(tokens.shape[0], tokens.shape[1])
    return model.embedding[tokens].astype(request.dtype), _layout_note(request, tokens), []


def _layout_note(request: Request, values: Array) -> list[dict[str, Any]]:
    """Say how the axes were read where it may be wrong: more sequences than steps."""
    if request.layout is not None or not len(values) > values.shape[1] > 1:
        return []
    text = f"The data were read as {len(values)} sequences of {values.shape[1]} steps; "
    return [{"code": "GS-LAYOUT", "message": f"{text}if time is the first axis, pass --layout tbf.", "where": "data"}]
