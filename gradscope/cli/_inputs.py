"""What is a model run along? Real data, tokens that are looked up, or synthetic input; cut to what was asked for.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradscope.cli._models import Model
from gradscope.errors import InputError, UsageError, shown
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.maps.jacobian import Array
    from gradscope.numerics.nonfinite import NonFinite

Check = Callable[[int, int], None]  # takes sequences and steps; raises ResourceError where they do not fit


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model is run along.

    Attributes:
        values: (B, T, m), warm-up included; None for a closed loop, and for input that is to be drawn.
        lead_in: (B, N, m), read before, from a zero state; None for nothing, and for what is to be drawn.
        batch: B.
        steps: T, warm-up included.
        warnings: {code, message, where}, for the document.
        nonfinite: values of the data that are not finite.
        columns: names of the inputs in the data; empty where they have none.
    """

    values: Array | None
    lead_in: Array | None
    batch: int
    steps: int
    warnings: list[dict[str, Any]] = field(default_factory=list)
    nonfinite: list[NonFinite] = field(default_factory=list)
    columns: tuple[str, ...] = ()


def lengths(model: Model) -> tuple[int, int]:
    """Return how many sequences and how many steps, warm-up included, a run has; real data are read for that.

    Raises:
        InputError: the data cannot be read, or do not fit the model.
    """
    settings = model.settings
    if settings.data is None:
        return settings.sequences, settings.measured_steps + settings.warmup_steps
    inputs = inputs_of(model, lambda batch, steps: None)
    return inputs.batch, inputs.steps


def inputs_of(model: Model, check: Check) -> Inputs:
    """Read what the model is run along; `check` asks for memory before it is taken.

    Raises:
        InputError: the data cannot be read, or do not fit the model.
        UsageError: --embedding for a model of no checkpoint.
        ResourceError: the run does not fit into memory.
    """
    settings = model.settings
    if settings.data is None:
        return _synthetic(model, check)
    closed = settings.measured_steps + settings.warmup_steps if settings.closed_loop else 0
    read = _embedded if settings.embedding else _read
    inputs = read(model, lambda batch, steps: check(batch, max(steps, closed)))
    if settings.closed_loop:
        note = _loop_note(inputs.steps, settings.data.name)
        return Inputs(None, inputs.values, inputs.batch, closed, [*inputs.warnings, note], inputs.nonfinite)
    return inputs


def _synthetic(model: Model, check: Check) -> Inputs:
    """Say what will be drawn; `dynamics.course` draws it."""
    from gradscope.dynamics.drive import LEAD_IN

    settings, width = model.settings, model.cell.network_input_size
    batch, steps = lengths(model)
    check(batch, steps)
    warnings = []
    if settings.closed_loop:
        warnings.append(_loop_note(LEAD_IN, None))
    elif settings.drive == "zeros" or not (settings.input_scale and width):
        text = "The input is zero: the network runs autonomously."
        if settings.drive == "zeros":
            text += f" Each sequence starts from the state after {LEAD_IN} steps of white noise."
        warnings.append({"code": "GS-NO-DRIVE", "message": text, "where": "input"})
    return Inputs(None, None, batch, steps, warnings)


def _loop_note(steps: int, data: str | None) -> dict[str, Any]:
    what = f"{steps} step{'s'[: steps != 1]} of {shown(data) if data else 'white noise'}"
    text = f"Closed loop: after {what}, the next input is the readout of the output, without sampling."
    return {"code": "GS-CLOSED-LOOP", "message": text, "where": "input"}


def _read(model: Model, check: Check) -> Inputs:
    """Return the numbers of the data, with warnings, records of values that are not finite, and names of columns."""
    from gradscope.files.data._load import load_inputs

    settings = model.settings
    assert settings.data is not None
    read = load_inputs(
        settings.data,
        input_size=model.cell.network.network_input_size,
        layout=settings.layout,
        columns=settings.columns,
        delimiter=settings.delimiter,
        decimal=settings.decimal,
        nan=settings.nan,
        dtype=settings.dtype,
        key=settings.data_key,
    )
    values = _cut(settings, read.values)
    check(values.shape[0], values.shape[1])
    warnings = [{"code": c, "message": m, "where": "data"} for c, m in read.warnings]
    warnings += [{"code": "GS-NOTE", "message": n, "where": "data"} for n in read.notes]
    warnings += _layout_note(settings, values)
    warnings += [{"code": "GS-SHORT-DATA", "message": text, "where": "data"} for text in _short(settings, values)]
    return Inputs(values, None, len(values), values.shape[1], warnings, list(read.nonfinite), read.columns)


def _short(settings: Settings, values: Array) -> list[str]:
    """Return what the data hold less of than was asked for, in sentences."""
    texts = []
    measured = values.shape[1] - settings.warmup_steps
    if settings.steps is not None and measured < settings.steps and not settings.closed_loop:
        texts.append(f"The data hold {_plural(measured, 'step')} after warm-up; --steps {settings.steps} ignored.")
    if settings.batch is not None and len(values) < settings.batch:
        texts.append(f"The data hold {_plural(len(values), 'sequence')}; --batch {settings.batch} ignored.")
    return texts


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s'[: count != 1]}"


def _cut(settings: Settings, values: Array) -> Array:
    """Return as many sequences and steps as were asked for, warm-up included."""
    values = values if settings.batch is None else values[: settings.batch]
    if settings.steps is None or settings.closed_loop:
        return values
    return values[:, : settings.steps + settings.warmup_steps]


def _embedded(model: Model, check: Check) -> Inputs:
    """Look tokens up in the embedding of the checkpoint."""
    from gradscope.files.data._load import load_tokens

    settings, width = model.settings, model.cell.network.network_input_size
    assert settings.data is not None
    if model.embedding is None:
        raise UsageError("--embedding names a matrix of a checkpoint, and this model is not from a checkpoint")
    tokens = load_tokens(settings.data, key=settings.data_key)
    one = len(tokens) == 1  # a sequence has one axis, whatever the layout
    tokens = _cut(settings, tokens.T if settings.layout == "tbf" and not one else tokens)
    count, size = model.embedding.shape
    if size != width:
        raise InputError(f"the embedding '{settings.embedding}' has width {size}; the model has {width} inputs")
    if tokens.size and not (0 <= tokens.min() and tokens.max() < count):
        raise InputError(
            f"token ids range from {tokens.min()} to {tokens.max()}; the embedding has rows 0 to {count - 1}"
        )
    check(tokens.shape[0], tokens.shape[1])
    notes = _layout_note(settings, tokens)
    if one and settings.layout is not None:
        notes.append({"code": "GS-NO-EFFECT", "message": "--layout has no effect on one sequence.", "where": "data"})
    values = model.embedding[tokens].astype(settings.dtype)
    return Inputs(values, None, len(tokens), tokens.shape[1], notes)


def _layout_note(settings: Settings, values: Array) -> list[dict[str, Any]]:
    """Note how the axes were read where that may be wrong: more sequences than steps."""
    if settings.layout is not None or not len(values) > values.shape[1] > 1:
        return []
    text = f"The data were read as {len(values)} sequences of {values.shape[1]} steps; "
    return [{"code": "GS-LAYOUT", "message": f"{text}if time is the first axis, pass --layout tbf.", "where": "data"}]


def loss_gradient_of(model: Model, inputs: Inputs) -> Array | None:
    """Return the user's dL/dh, cut as the data were: to the first sequences, and to the measured steps.

    Raises:
        InputError: the file cannot be read.
    """
    from gradscope.files.data._load import load_array
    from gradscope.networks.stack import backward

    settings = model.settings
    if settings.loss_gradient is None:
        return None
    gradient = load_array(settings.loss_gradient)
    if gradient.ndim > 1 and settings.batch is not None:
        gradient = gradient[: inputs.batch]
    if gradient.ndim == 3 and gradient.shape[1] >= inputs.steps:
        # a backward direction warms up at the end of the data
        measured = slice(inputs.steps - settings.warmup_steps)
        gradient = gradient[:, measured] if backward(model.cell) else gradient[:, settings.warmup_steps : inputs.steps]
    return gradient
