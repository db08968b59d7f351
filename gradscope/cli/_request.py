"""From options to cells, inputs and results: what `analyze` and `compare` have in common.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gradscope import _rooms
from gradscope.cli._output import shown
from gradscope.cli._saved import piped
from gradscope.errors import InputError, ResourceError, UsageError

if TYPE_CHECKING:
    from gradscope.api import Result
    from gradscope.cells._base import BaseCell
    from gradscope.jacobian import Array

__all__ = [
    "Model",
    "Request",
    "exists",
    "lengths",
    "measure",
    "models_of_cell",
    "models_of_file",
    "seekable",
    "settings_of",
    "use_threads",
]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Settings that have no default: they are in the document where they were given.
WHERE_GIVEN = (
    "layer",
    "key",
    "activation",
    "gate_order",
    "embedding",
    "data_key",
    "columns",
    "delimiter",
    "decimal",
    "layout",
)


@dataclass(frozen=True)
class Request:
    """Every option that decides what is computed, as typed or as defaulted."""

    cell: str | None = None
    hidden: int = 128
    input_size: int | None = None
    layers: int = 1
    bidirectional: bool = False
    init: str = "pytorch"
    gain: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)
    layer: str | None = None
    key: str | None = None
    activation: str | None = None
    gate_order: str | None = None
    data: Path | None = None
    data_key: str | None = None
    embedding: str | None = None
    columns: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    layout: str | None = None
    nan: str = "keep"
    drive: str = "noise"
    input_scale: float = 1.0
    steps: int | None = None
    batch: int | None = None
    warmup: int | None = None
    loss: str = "last"
    loss_gradient: Path | None = None
    spectrum: int = 16
    lags: int = 32
    step_spectra: str = "auto"
    threshold: float = 1e-3
    dtype: str = "float64"
    seed: int = 0
    max_memory: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Pick the fields out of a command's arguments.

        Raises:
            UsageError: --set without "=", or input from standard input.
        """
        if str(options.get("data")) == "-":
            raise UsageError("--data cannot be read from standard input", "write it to a file, and name that")
        known = {f.name for f in fields(cls)} - {"settings"}
        return cls(settings=settings_of(options.get("settings")), **{k: v for k, v in options.items() if k in known})

    def config(self) -> dict[str, Any]:
        """Return the settings for the document: every one that was used, resolved."""
        config: dict[str, Any] = {}
        if self.cell:
            config = {k: getattr(self, k) for k in ("cell", "hidden", "layers", "init", "gain")}
            config |= {"bidirectional": True} if self.bidirectional else {}
            config["set"] = self.settings
        if self.data:
            config |= {"data": self.data.name, "nan": self.nan}
        else:
            config |= {"drive": self.drive, "input_scale": self.input_scale}
        if self.loss_gradient:
            config["loss_gradient"] = self.loss_gradient.name
        config |= {k: getattr(self, k) for k in WHERE_GIVEN if getattr(self, k) is not None}
        return config | {"spectrum": self.spectrum, "threshold": self.threshold, "dtype": self.dtype}

    @property
    def spectra_of(self) -> int | None:
        """Of how many steps spectra are taken: a number, None for "auto"."""
        if self.step_spectra == "auto":
            return None
        return sys.maxsize if self.step_spectra == "all" else int(self.step_spectra)


@dataclass(frozen=True, eq=False)
class Model:
    """A cell with its names and what its source says of it."""

    label: str
    title: str
    cell: BaseCell
    facts: dict[str, Any]
    warnings: tuple[dict[str, Any], ...] = ()
    embedding: Array | None = None


def settings_of(pairs: list[str] | None) -> dict[str, str]:
    """Split KEY=VALUE pairs.

    Raises:
        UsageError: one has no "=".
    """
    split = [pair.partition("=") for pair in pairs or []]
    for key, equals, _ in split:
        if not equals or not key:
            raise UsageError(f"--set takes KEY=VALUE, not '{key}'", "for instance --set forget_bias=1")
    return {key.strip(): value.strip() for key, _, value in split}


def use_threads(count: int) -> None:
    """Set the number of BLAS threads; has to come before numpy is loaded."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)


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
    steps, size = (request.steps or 200) + _warmup(request), 4 if request.dtype == "float32" else 8
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
    from gradscope.cells._stack import Direction
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
        title += f", {found.layers} layers" if found.layers > 1 else ""
        models.append(Model(found.name, title, found.cell, facts, tuple(notes), embedding))
    return models


@contextmanager
def seekable(target: Path) -> Iterator[Path]:
    """Give the path of a checkpoint; standard input is copied, since readers go back and forth.

    Raises:
        InputError: standard input is empty.
        ResourceError: the copy cannot be written.
    """
    if str(target) != "-":
        yield target
        return
    source = piped("pipe a file into it, or name a file instead of -")
    with tempfile.TemporaryDirectory(prefix="gradscope-") as folder:
        path = Path(folder) / "standard input"
        try:
            with path.open("wb") as f:
                shutil.copyfileobj(source, f, 1 << 20)
                size = f.tell()
        except OSError as error:
            raise ResourceError(f"cannot copy standard input to {folder}: {error.strerror}") from error
        if not size:
            raise InputError("standard input is empty", "was there an error before it?")
        yield path


def measure(request: Request, models: list[Model], tell: Callable[[str], None]) -> dict[str, Result]:
    """Analyze every model on the same inputs; one whose width the data do not have is left out, and said.

    Raises:
        InputError: the data fit none of the models.
        ResourceError: a run does not fit into memory.
    """
    from gradscope.api import analyze
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
            loss_gradient=gradient,
            warmup=_warmup(request),
            seed=request.seed,
            lags=min(request.lags, inputs.shape[1]),
            spectrum=request.spectrum,
            step_spectra_of=request.spectra_of,
            reach_threshold=request.threshold,
            name=model.title,
            model=model.facts,
            config=request.config() | {"batch": len(inputs)},
            warnings=(*model.warnings, *warnings),
            nonfinite=records,
            progress=lambda text, prefix=prefix: tell(prefix + text),  # type: ignore[misc]
        )
    if not results:
        raise refused[0][1]
    for model, reason in refused:
        first = next(iter(results.values())).document
        message = f"{model.label} was left out: {reason.message}"
        first["warnings"].append({"code": "GS-LEFT-OUT", "message": message, "where": model.label})
    return results


def lengths(request: Request, model: Model) -> tuple[int, int]:
    """Return how many sequences and how many steps, warm-up included, a run has; real data are read for that."""
    if request.data is None:
        return request.batch or 8, (request.steps or 200) + _warmup(request)
    values, _, _ = _inputs(request, model)
    return values.shape[0], values.shape[1]


def _warmup(request: Request) -> int:
    if request.warmup is not None:
        return request.warmup
    return 0 if request.data else 50


def _inputs(request: Request, model: Model) -> tuple[Array, list[dict[str, Any]], list[Any]]:
    """Return inputs (B, T, m), warnings, and records of values that are not finite."""
    from gradscope.analysis.finite import NonFinite
    from gradscope.budget import Plan
    from gradscope.cells._stack import Direction
    from gradscope.data._load import load_inputs
    from gradscope.dynamics.drive import drive

    cell, warmup = model.cell, _warmup(request)
    width = cell.network_input_size if isinstance(cell, Direction) else cell.input_size
    weights = sum(w.size for w in cell.weights().values())
    itemsize = cell.dtype.itemsize

    def check(batch: int, steps: int) -> None:
        Plan(cell.state_size, width, weights, steps, batch, itemsize, request.lags > 0).check(request.max_memory)

    if request.data is None:
        batch, steps = lengths(request, model)
        check(batch, steps)
        made = drive(request.drive, batch, steps, width, scale=request.input_scale, seed=request.seed)
        quiet = (
            []
            if made.any()
            else [
                {
                    "code": "GS-NO-DRIVE",
                    "message": "The input is all zeros: this is the autonomous network.",
                    "where": "input",
                }
            ]
        )
        return made, quiet, []
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
    return values if request.steps is None else values[:, : request.steps + _warmup(request)]


def _embedded(
    request: Request, model: Model, width: int, check: Callable[[int, int], None]
) -> tuple[Array, list[dict[str, Any]], list[Any]]:
    """Look tokens up in the checkpoint's embedding."""
    from gradscope.data._load import load_tokens

    assert request.data is not None
    if model.embedding is None:
        raise UsageError("--embedding names a matrix of a checkpoint, and this model comes from none")
    tokens = _cut(request, load_tokens(request.data, key=request.data_key))
    count, size = model.embedding.shape
    if size != width:
        raise InputError(f"the embedding '{request.embedding}' has width {size}; the model has {width} inputs")
    if tokens.size and not (0 <= tokens.min() and tokens.max() < count):
        raise InputError(f"tokens run from {tokens.min()} to {tokens.max()}; the embedding has rows 0 to {count - 1}")
    check(tokens.shape[0], tokens.shape[1])
    return model.embedding[tokens].astype(request.dtype), [], []


def existing_or_suggest(path: Path) -> None:
    """Refuse a target that is the name of a cell and not a file.

    Raises:
        UsageError: it is.
    """
    if str(path) in _rooms.names("cells") and not exists(path):
        raise UsageError(f"there is no file {shown(path)}", f"for the built-in cell write --cell {path.name}")


def exists(path: Path) -> bool:
    """Tell whether there is such a file; a name that cannot be one is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
