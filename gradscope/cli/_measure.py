"""From models to results: read or make the input, ask whether it fits into memory, and analyze.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradscope.budget import Plan
from gradscope.cli._models import Model
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
            inputs, warnings, records = _inputs(request, model)
        except InputError as error:
            if len(models) == 1 or not request.data:
                raise
            refused.append((model, error))
            continue
        prefix = f"{model.label}: " if len(models) > 1 else ""
        results[model.label] = analyze(
            model.cell,
            inputs,
            loss=request.loss,
            loss_gradient=_fitted(request, model, gradient, inputs),
            warmup=request.warmup_steps,
            seed=request.seed,
            lags=min(request.lags, inputs.shape[1]),
            spectrum=request.spectrum,
            step_spectra=request.spectra_of,
            threshold=request.threshold,
            name=model.title,
            progress=lambda text, prefix=prefix: tell(prefix + text),  # type: ignore[misc]
            origin=Origin(model.facts, request.config(), (*model.warnings, *warnings), records),
        )
    if not results:
        raise refused[0][1]
    for model, reason in refused:
        first = next(iter(results.values())).document
        message = f"{model.label} was left out: {reason.message}"
        first["warnings"].append({"code": "GS-LEFT-OUT", "message": message, "where": model.label})
    return results


def _fitted(request: Request, model: Model, gradient: Array | None, inputs: Array) -> Array | None:
    """Cut a loss gradient as the data were cut: to the first sequences, and to the measured steps."""
    from gradscope.cells._stack import backward

    if gradient is None:
        return None
    batch, steps, warmup = inputs.shape[0], inputs.shape[1], request.warmup_steps
    if gradient.ndim > 1 and request.batch is not None:
        gradient = gradient[:batch]
    if gradient.ndim == 3 and gradient.shape[1] >= steps:
        # a backward direction warms up at the end of the data
        gradient = gradient[:, : steps - warmup] if backward(model.cell) else gradient[:, warmup:steps]
    return gradient


def plan_of(request: Request, model: Model, batch: int, steps: int) -> Plan:
    """Return what a run of so many sequences and steps, warm-up included, takes of memory."""
    cell = model.cell
    weights = sum(w.size for w in cell.weights().values())
    dense = request.lags > 0
    return Plan(cell.state_size, cell.network_input_size, weights, steps, batch, cell.dtype.itemsize, dense)


def lengths(request: Request, model: Model) -> tuple[int, int]:
    """Return how many sequences and how many steps, warm-up included, a run has; real data are read for that."""
    if request.data is None:
        return request.batch or 8, (request.steps or 200) + request.warmup_steps
    values, _, _ = _inputs(request, model)
    return values.shape[0], values.shape[1]


def _inputs(request: Request, model: Model) -> tuple[Array, list[dict[str, Any]], list[Any]]:
    """Return inputs (B, T, m), warnings, and records of values that are not finite."""
    from gradscope.analysis.finite import NonFinite
    from gradscope.data._load import load_inputs
    from gradscope.dynamics.drive import drive

    width, warmup = model.cell.network_input_size, request.warmup_steps

    def check(batch: int, steps: int) -> None:
        plan_of(request, model, batch, steps).check(request.max_memory)

    if request.data is None:
        batch, steps = lengths(request, model)
        check(batch, steps)
        made = drive(request.drive, batch, steps, width, scale=request.input_scale, seed=request.seed)
        text = "The input is all zeros: this is the autonomous network."
        return made, [] if made.any() else [{"code": "GS-NO-DRIVE", "message": text, "where": "input"}], []
    if request.embedding:
        return _embedded(request, model, width, check)
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
    have = values.shape[1] - warmup
    if request.steps is not None and have < request.steps:
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
    return values if request.steps is None else values[:, : request.steps + request.warmup_steps]


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
