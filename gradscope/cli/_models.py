"""From a request to models: a cell with random weights, or the recurrent layers of a checkpoint.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope import _rooms
from gradscope.cli._output import shown
from gradscope.cli._request import Request, exists
from gradscope.cli._saved import piped
from gradscope.errors import InputError, ResourceError, UsageError

if TYPE_CHECKING:
    from gradscope.cells._base import BaseCell
    from gradscope.jacobian import Array

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
    from gradscope._create import create, directions
    from gradscope.budget import Plan
    from gradscope.cells._base import cell_class

    assert request.cell is not None
    cls, hidden = cell_class(request.cell), request.hidden
    _rooms.load("inits", request.init)
    inputs = request.input_size or (_width_of_data(request) if request.data else 32)
    above, ways = request.layers - 1, 1 + request.bidirectional
    rows = len(cls.gates) * hidden * ways
    weights = rows * (hidden + inputs + 2) + rows * (hidden + hidden * ways + 2) * above
    state = hidden * len(cls.parts) * (1 if request.bidirectional else request.layers)
    steps, size = (request.steps or 200) + request.warmup_steps, 4 if request.dtype == "float32" else 8
    plan = Plan(state, inputs, weights, steps, request.batch or 8, size, request.lags > 0)
    plan.check(request.max_memory)
    options: dict[str, Any] = {
        "hidden_size": hidden,
        "input_size": inputs,
        "layers": request.layers,
        "init": request.init,
        "gain": request.gain,
        "seed": request.seed,
        "dtype": request.dtype,
        **request.settings,
    }
    name = f"{request.cell.upper()}, {hidden} unit{'s'[: hidden != 1]}"
    name += f", {request.layers} layers" if request.layers > 1 else ""
    facts = {"source": "init", "init": request.init}
    if not request.bidirectional:
        return [Model(label or request.cell, name, create(request.cell, **options), facts)]
    note = {"code": "GS-DIRECTIONS", "message": ACROSS, "where": "model"}
    made = directions(request.cell, **options)
    return [
        Model(f"{label or request.cell}.{n}", f"{name}, {n}", c, facts | {"layer": n}, (note,)) for n, c in made.items()
    ]


ACROSS = "Each direction is a chain of its own: paths that change direction between layers are not in these numbers."


def _width_of_data(request: Request) -> int:
    from gradscope.data._load import width_of

    assert request.data is not None
    return width_of(request.data, key=request.data_key, columns=request.columns)


def models_of_file(request: Request, target: Path) -> list[Model]:
    """Read the recurrent layers of a checkpoint; "-" is standard input.

    Raises:
        InputError: it cannot be read, or holds none.
        UsageError: the layer that was asked for is not there.
    """
    from gradscope.cells._stack import Direction, Stack
    from gradscope.layouts._load import choose_layers, read_embedding, read_network

    options: dict[str, Any] = {"key": request.key, "activation": request.activation, "gate_order": request.gate_order}
    with seekable(target) as path:
        network = read_network(path, dtype=request.dtype, **options)
        embedding = read_embedding(path, request.embedding, key=request.key) if request.embedding else None
    models = []
    for found in choose_layers(network.found, request.layer):
        facts = {
            "source": "checkpoint",
            "path": path.name,
            "sha256": network.sha256,
            "format": network.format,
            "layer": found.name,
            "assumptions": list(found.assumptions),
        }
        notes = [{"code": "GS-ASSUME", "message": a, "where": f"model.{found.name}"} for a in found.assumptions]
        notes += [
            {"code": "GS-NOTE", "message": n, "where": f"model.{found.name}"} for n in (*network.notes, *found.notes)
        ]
        if isinstance(found.cell, Direction):
            notes.append({"code": "GS-DIRECTIONS", "message": ACROSS, "where": "model"})
        title = f"{found.kind.upper()} {found.name}, {found.hidden_size} unit{'s'[: found.hidden_size != 1]}"
        title += f", {found.layers} layers" if isinstance(found.cell, Stack) else ""
        models.append(Model(found.name, title, found.cell, facts, tuple(notes), embedding))
    return models


@contextmanager
def seekable(target: Path) -> Iterator[Path]:
    """Give the path of a checkpoint; standard input is copied, since readers go back and forth.

    Raises:
        InputError: standard input is empty.
        ResourceError: the copy cannot be written.
    """
    from gradscope.report.build import PIPED

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
    """Refuse a target that is the name of a cell, or a file of data.

    Raises:
        UsageError: it is.
    """
    if path.suffix.lower() in (".npy", ".csv", ".tsv") and exists(path):
        raise UsageError(f"{shown(path)} holds data, not a model", f"data go to --data {path.name}")
    if str(path) in _rooms.names("cells") and not exists(path):
        raise UsageError(f"there is no file {shown(path)}", f"for the built-in cell write --cell {path.name}")
