"""From models to results: read or make the input, ask whether it fits into memory, and analyze.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradscope.budget import Plan
from gradscope.cli._models import Model
from gradscope.cli._output import shown
from gradscope.cli._request import Request
from gradscope.errors import InputError, UsageError

if TYPE_CHECKING:
    from gradscope.jacobian import Array
    from gradscope.result import Result

__all__ = ["lengths", "measure", "plan_of"]


def measure(request: Request, models: list[Model], tell: Callable[[str], None]) -> dict[str, Result]:
    """Analyze every model on the same inputs; one whose width the data do not have is left out, and said.

    Raises:
        InputError: the data fit none of the models.
        ResourceError: a run does not fit into memory.
    """
    from gradscope.api import Origin, analyze
    from gradscope.data._load import load_array

    gradient = None if request.loss_gradient is None else load_array(request.loss_gradient)
    results: dict[str, Result] = {}
    refused: list[tuple[Model, InputError]] = []
    for model in models:
        tell(f"{model.label}: input" if len(models) > 1 else "input")
        try:
            ways = _inputs(request, model)
        except InputError as error:
            if len(models) == 1 or not request.data:
                raise
            refused.append((model, error))
            continue
        prefix = f"{model.label}: " if len(models) > 1 else ""
        results[model.label] = analyze(
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
            name=model.title,
            progress=lambda text, prefix=prefix: tell(prefix + text),  # type: ignore[misc]
            origin=Origin(model.facts, request.config(), (*model.warnings, *ways.warnings), ways.records),
        )
    if not results:
        raise refused[0][1]
    for model, reason in refused:
        first = next(iter(results.values())).document
        message = f"{model.label} was left out: {reason.message}"
        first["warnings"].append({"code": "GS-LEFT-OUT", "message": message, "where": model.label})
    return results


def _fitted(request: Request, model: Model, gradient: Array | None, ways: _Ways) -> Array | None:
    """Cut a loss gradient as the data were cut: to the first sequences, and to the measured steps."""
    from gradscope.cells._stack import backward

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
    from gradscope.analysis.growth import affordable
    from gradscope.cells._stack import cells_of

    cell = model.cell
    weights = sum(w.size for w in cell.weights().values())
    dense, inputs = request.lags > 0, cell.network.network_input_size
    polar = sum(c.U.size for c in cells_of(cell) if not c.keep_gates) if request.remedies else 0
    values = min(request.spectrum, cell.state_size)
    columns = 2 * values * min(batch, affordable(steps, cell.state_size, values))  # one frame leads, one counts
    return Plan(cell.state_size, inputs, weights, steps, batch, cell.dtype.itemsize, dense, polar, columns)


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
    from gradscope.data._load import load_inputs

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
    from gradscope.data._load import load_tokens

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
