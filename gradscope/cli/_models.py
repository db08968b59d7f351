"""From a request to models: a cell with random weights, or the recurrent layers of a checkpoint.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope import plugins
from gradscope.cli._mine import fetch, is_own, refuse_idle_settings, refuse_settings
from gradscope.cli._mine import made as own_made
from gradscope.cli._output import shown
from gradscope.cli._request import Request, exists
from gradscope.cli._saved import piped
from gradscope.errors import GradscopeError, InputError, ResourceError, UsageError

if TYPE_CHECKING:
    from gradscope.checking.user_file import Own
    from gradscope.files.layouts._base import RecurrentLayer
    from gradscope.files.layouts._load import Checkpoint
    from gradscope.maps.jacobian import Array
    from gradscope.networks.interface import BaseCell
    from gradscope.networks.loop import Loop

__all__ = ["Model", "existing_or_suggest", "models_of_cell", "models_of_file", "seekable"]


@dataclass(frozen=True, eq=False)
class Model:
    """A cell with its names and what its source says of it."""

    label: str
    title: str
    cell: BaseCell
    facts: dict[str, Any]
    warnings: tuple[dict[str, Any], ...] = ()
    embedding: Array | None = None


def models_of_cell(request: Request, label: str | None = None) -> list[Model]:
    """Make the cell that was asked for, after asking whether it fits into memory.

    Raises:
        UsageError: an unknown cell, initialisation or setting.
        ResourceError: it does not fit.
    """
    from gradscope.dynamics.budget import Plan
    from gradscope.networks.cell import cell_class
    from gradscope.networks.create import create, directions
    from gradscope.networks.loop import closed_loop
    from gradscope.networks.sound import refuse_unsound_class

    assert request.cell is not None
    own = fetch(request.cell) if is_own(request.cell) else None
    if own is not None and own.cell_class is None:
        return [_model_of_function(request, own, label)]
    if own is None:
        refuse_settings(request.cell)
    cls, hidden = own and own.cell_class or cell_class(request.cell), request.hidden
    refuse_unsound_class(cls)
    plugins.load("inits", request.initialisation)
    inputs = request.input_size or (_width_of_data(request) if request.data else 32)
    above, ways = request.layers - 1, 1 + request.bidirectional
    rows = len(cls.gates) * hidden * ways
    matrices = cls.recurrent_weights or bool(cls.products)
    own_width = hidden if matrices else 0
    weights = rows * (own_width + inputs + 2) + rows * (own_width + hidden * ways + 2) * above
    state = hidden * len(cls.parts) * (1 if request.bidirectional else request.layers)
    steps, size = (request.steps or 200) + request.warmup_steps, 4 if request.dtype == "float32" else 8
    dense = request.lags > 0 and (matrices or request.layers > 1 or request.feeds_itself)
    plan = Plan(state, inputs, weights, steps, request.batch or 8, size, dense)
    plan.check(request.max_memory)
    options: dict[str, Any] = {
        "hidden_size": hidden,
        "input_size": inputs,
        "layers": request.layers,
        "residual": request.residual,
        "norm": request.norm,
        "init": request.init,
        "gain": request.gain,
        "seed": request.seed,
        "dtype": request.dtype,
        **request.settings,
    }
    title, cell = (own.name, cls) if own else (request.cell.upper().replace("_", " "), request.cell)
    label = label or (own.name if own else request.cell)
    name = f"{title}, {hidden} unit{'s'[: hidden != 1]}"
    name += f", {request.layers} layers" if request.layers > 1 else ""
    name += ", residual" if request.residual else ""
    name += "" if request.norm == "none" else f", {request.norm} norm"
    facts: dict[str, Any] = {"source": "init", "init": request.initialisation, **_facts_of_file(own)}
    if request.feeds_itself and request.bidirectional:
        raise UsageError("a bidirectional network cannot feed itself", "leave out --bidirectional or --drive self")
    if request.feeds_itself:
        made_loop = closed_loop(create(cell, **options), seed=request.seed)
        noted = [{"code": "GS-ASSUME", "message": DRAWN, "where": "model.readout"}]
        facts |= {"readout": made_loop.name, "assumptions": [DRAWN]}
        return [Model(label, f"{name}, closed loop", made_loop, facts, tuple(noted))]
    if not request.bidirectional:
        return [Model(label, name, create(cell, **options), facts)]
    note = {"code": "GS-DIRECTIONS", "message": ACROSS, "where": "model"}
    made = directions(cell, **options)
    return [Model(f"{label}.{n}", f"{name}, {n}", c, facts | {"layer": n}, (note,)) for n, c in made.items()]


def _facts_of_file(own: Own | None) -> dict[str, Any]:
    return {} if own is None else {"cell": own.name, "path": own.path.name, "sha256": own.sha256}


def _model_of_function(request: Request, own: Own, label: str | None) -> Model:
    """Make the cell of a function in a file; its sizes are those of the file, where it has some.

    Raises:
        UsageError: an option or a setting has no effect.
        InputError: the function fails, or does not return what it must.
    """
    given = {"--dtype": request.dtype != "float64", "--drive self": request.feeds_itself}
    if label is None:  # in a comparison, options may be for others
        given |= {"--layers": request.layers > 1, "--bidirectional": request.bidirectional, "--gain": request.gain != 1}
        given |= {"--residual": request.residual, "--norm": request.norm != "none"}
        given |= {"--init": request.init is not None, "--hidden": request.hidden != Request.hidden}
        given |= {"--input-size": request.input_size is not None}
    refuse_idle_settings(own, given)
    inputs = request.input_size or (_width_of_data(request) if request.data else 32)
    cell = own_made(own, request.hidden, inputs, request.seed, request.settings)
    assumptions = [cell.assumption] if hasattr(cell, "assumption") else []
    facts = {"source": "python", **_facts_of_file(own), "settings": request.set, "assumptions": assumptions}
    notes = tuple({"code": "GS-ASSUME", "message": a, "where": "model"} for a in assumptions)
    title = f"{own.name} of {own.path.name}, state of {cell.state_size}"
    return Model(label or own.name, title, cell, facts, notes)


DRAWN = "The readout is drawn at random, as nn.Linear draws its weights and bias: U(-1/sqrt(H), 1/sqrt(H))."
ACROSS = "Each direction is a chain of its own: paths that change direction between layers are not in these numbers."


def _width_of_data(request: Request) -> int:
    from gradscope.files.data._load import width_of

    assert request.data is not None
    return width_of(request.data, key=request.data_key, columns=request.columns)


def models_of_file(request: Request, target: Path) -> list[Model]:
    """Read the recurrent layers of a checkpoint; "-" is standard input.

    Raises:
        InputError: it cannot be read, or holds none.
        UsageError: the layer that was asked for is not there.
    """
    from gradscope.files.layouts._load import choose_layers, read_checkpoint, read_embedding, read_readout
    from gradscope.networks.stack import Direction, Stack

    options: dict[str, Any] = {"key": request.key, "activation": request.activation, "gate_order": request.gate_order}
    with seekable(target) as path:
        checkpoint = read_checkpoint(path, dtype=request.dtype, **options)
        embedding = read_embedding(path, request.embedding, key=request.key) if request.embedding else None
        chosen = choose_layers(checkpoint.layers, request.layer)
        if request.feeds_itself and request.readout is None:
            raise _no_readout(checkpoint, chosen)
        head = (
            read_readout(path, request.readout, key=request.key) if request.feeds_itself and request.readout else None
        )
    models = []
    for layer in chosen:
        facts = {
            "source": "checkpoint",
            "path": path.name,
            "sha256": checkpoint.sha256,
            "format": checkpoint.format,
            "layer": layer.name,
            "assumptions": list(layer.assumptions),
        }
        notes = [{"code": "GS-ASSUME", "message": a, "where": f"model.{layer.name}"} for a in layer.assumptions]
        notes += [
            {"code": "GS-NOTE", "message": n, "where": f"model.{layer.name}"} for n in (*checkpoint.notes, *layer.notes)
        ]
        if isinstance(layer.cell, Direction):
            notes.append({"code": "GS-DIRECTIONS", "message": ACROSS, "where": "model"})
        title = f"{layer.kind.upper()} {layer.name}, {layer.hidden_size} unit{'s'[: layer.hidden_size != 1]}"
        title += f", {layer.layers} layers" if isinstance(layer.cell, Stack) else ""
        cell = layer.cell
        if head:
            cell = _fed_back(layer, head, several=len(chosen) > 1)
            title, facts["readout"] = f"{title}, closed loop", cell.name
        models.append(Model(layer.name, title, cell, facts, tuple(notes), embedding))
    return models


def _fed_back(layer: RecurrentLayer, head: tuple[str, Array, str | None, Array | None], *, several: bool) -> Loop:
    """Close the loop around one network of a checkpoint.

    Raises:
        InputError: the readout does not fit.
        UsageError: the network is bidirectional.
    """
    from gradscope.files.display import printable
    from gradscope.networks.loop import closed_loop

    matrix, R, bias, b = head
    try:
        return closed_loop(layer.cell, R, b, name=printable(f"{matrix} and {bias}" if bias else matrix))
    except GradscopeError as error:
        hint = f"{error.hint}{'; ' if error.hint else ''}--layer chooses one network" if several else error.hint
        raise type(error)(f"{layer.name}: {error.message}", hint) from None


def _no_readout(checkpoint: Checkpoint, chosen: Sequence[RecurrentLayer]) -> UsageError:
    """Name the matrices that could feed a network's output back."""
    from gradscope.files.display import printable
    from gradscope.networks.loop import check_loop

    fit: list[str] = []
    for layer in chosen:
        check_loop(layer.cell)
        want = (layer.cell.input_size, layer.cell.output.stop - layer.cell.output.start)
        fit += [printable(name) for name, (shape, _) in checkpoint.others.items() if shape == want]
    first = chosen[0].cell
    shape = f"({first.input_size}, {first.output.stop - first.output.start})"
    known = f"matrices that fit: {', '.join(dict.fromkeys(fit))}" if fit else f"no other matrix has its shape, {shape}"
    hint = f"{known}; rows are what it makes, columns the units that it reads"
    return UsageError("--drive self needs --readout NAME, the linear layer whose output is the next input", hint)


@contextmanager
def seekable(target: Path) -> Iterator[Path]:
    """Give the path of a checkpoint; standard input is copied, since readers go back and forth.

    Raises:
        InputError: standard input is empty.
        ResourceError: the copy cannot be written.
    """
    from gradscope.report.advice import PIPED

    if str(target) != "-":
        yield target
        return
    source = piped("pipe a file into it, or name a file instead of -")
    with tempfile.TemporaryDirectory(prefix="gradscope-") as folder:
        path = Path(folder) / PIPED
        try:
            with path.open("wb") as f:
                shutil.copyfileobj(source, f, 1 << 20)
                size = f.tell()
        except OSError as error:
            raise ResourceError(f"cannot copy standard input to {folder}: {error.strerror}") from error
        if not size:
            raise InputError("standard input is empty", "was there an error before it?")
        yield path


def existing_or_suggest(path: Path) -> None:
    """Refuse a target that is the name of a cell, or a file of data, or a program: nobody asked to run it.

    Raises:
        UsageError: it is.
    """
    if is_own(str(path)):
        raise UsageError(f"{shown(path)} is a Python file, and no checkpoint", f"to run it: --cell {shown(path)}")
    if path.suffix.lower() in (".npy", ".csv", ".tsv") and exists(path):
        raise UsageError(f"{shown(path)} holds data, not a model", f"data go to --data {path.name}")
    if str(path) in plugins.names("cells") and not exists(path):
        raise UsageError(f"there is no file {shown(path)}", f"for the built-in cell write --cell {path.name}")
