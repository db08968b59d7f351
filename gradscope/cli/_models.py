"""From settings to models: a cell with random weights, a function of a file, or the recurrent layers of a checkpoint.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope import plugins
from gradscope.cli._files import exists, seekable
from gradscope.cli._user_cell import SIZES, fetch, is_user_file, refuse_idle_settings, refuse_settings
from gradscope.errors import GradscopeError, UsageError, shown
from gradscope.options import table
from gradscope.report.case import Request
from gradscope.settings import FOR_RANDOM_CELL, INPUT_SIZE, Settings

if TYPE_CHECKING:
    from gradscope.checking.user_file import UserFile
    from gradscope.files.layouts._base import RecurrentLayer
    from gradscope.files.layouts._load import Checkpoint
    from gradscope.maps.jacobian import Array
    from gradscope.networks.network import Network

DRAWN_READOUT = "The readout is random, initialised like nn.Linear: U(-1/sqrt(H), 1/sqrt(H))."
ITS_INPUT = "if one feeds it, select it with --layer and pass its own input with --data"
DIRECTIONS = "Each direction is a separate chain: paths that change direction between layers are not included."


@dataclass(frozen=True, eq=False)
class Model:
    """A cell with its names, its settings, and what its source says of it.

    Attributes:
        label: its name among several.
        title: its name in the sentence.
        cell: the network.
        settings: as given.
        config: the settings that have an effect on it, resolved, for the document.
        facts: fields of the document's `model`.
        warnings: {code, message, where}.
        embedding: matrix of a checkpoint that tokens are looked up in, or None.
        request: what a suggested command repeats.
        idle: {option: error} of options that have no effect on the file that it is from.
    """

    label: str
    title: str
    cell: Network
    settings: Settings
    config: dict[str, Any]
    facts: dict[str, Any]
    warnings: tuple[dict[str, Any], ...] = ()
    embedding: Array | None = None
    request: Request | None = None
    idle: Mapping[str, UsageError] = field(default_factory=dict)


def models_of_cell(settings: Settings, label: str | None = None, embedding: Array | None = None) -> list[Model]:
    """Create the cell that is named, after asking whether it fits into memory; each direction is a model.

    Args:
        settings: of the cell.
        label: its name in a comparison.
        embedding: (tokens, width), what tokens are looked up in.

    Raises:
        UsageError: an unknown cell, initialisation or setting.
        ResourceError: it does not fit.
    """
    from gradscope.analysis._plan import plan_of_class
    from gradscope.checking.create import create, directions
    from gradscope.checking.declarations import check_class
    from gradscope.networks.cell import cell_class

    assert settings.cell is not None
    user_file = fetch(settings.cell) if is_user_file(settings.cell) else None
    if user_file is not None and user_file.cell_class is None:
        return [_model_of_function(settings, user_file, label, embedding)]
    if user_file is None:
        refuse_settings(settings.cell)
    cls = user_file and user_file.cell_class or cell_class(settings.cell)
    check_class(cls)
    request = Request(str(settings.cell), settings)
    settings = replace(settings, input_size=_inputs(settings, embedding))
    init = settings.init or cls.usual_init
    plugins.load("inits", init)
    plan_of_class(cls, settings).check(settings.max_memory)
    if settings.closed_loop and settings.bidirectional:
        raise UsageError("a bidirectional network cannot run in a closed loop", "omit --bidirectional or --drive self")
    name = user_file.name if user_file else str(settings.cell)
    facts: dict[str, Any] = {"source": "init", "init": init, **_facts_of_file(user_file)}
    config = replace(settings, init=init, cell=f"{user_file.path.name}:{name}" if user_file else name).config({"cell"})
    title, label = _title(settings, user_file.name if user_file else None), label or name
    if not settings.bidirectional:
        cell = create(cls if user_file else name, **_keywords(settings))
        model = Model(label, title, cell, settings, config, facts, embedding=embedding, request=request)
        return [_closed_at_random(model) if settings.closed_loop else model]
    note = {"code": "GS-DIRECTIONS", "message": DIRECTIONS, "where": "model"}
    return [
        Model(
            f"{label}.{n}", f"{title}, {n}", cell, settings, config, facts | {"layer": n}, (note,), embedding, request
        )
        for n, cell in directions(cls if user_file else name, **_keywords(settings)).items()
    ]


def _closed_at_random(model: Model) -> Model:
    """Close the loop around a network by a random readout."""
    from gradscope.networks.loop import closed_loop

    loop = closed_loop(model.cell, seed=model.settings.seed)
    facts = model.facts | {"assumptions": [DRAWN_READOUT]}
    return replace(model, cell=loop, title=f"{model.title}, closed loop", facts=facts)


def _keywords(settings: Settings) -> dict[str, Any]:
    """Return the settings as keywords of `gradscope.create`."""
    names = ("input_size", "layers", "residual", "norm", "init", "gain", "seed", "dtype")
    return {"hidden_size": settings.hidden, **{n: getattr(settings, n) for n in names}, **settings.set}


def _inputs(settings: Settings, embedding: Array | None) -> int:
    """Return the number of input features: as given, or those of embedding or data, or the usual one."""
    if settings.input_size or not settings.data:
        return settings.input_size or INPUT_SIZE
    if embedding is not None:
        return int(embedding.shape[1])
    from gradscope.files.data._load import width_of

    return width_of(
        settings.data,
        key=settings.data_key,
        columns=settings.columns,
        delimiter=settings.delimiter,
        decimal=settings.decimal,
    )


def _title(settings: Settings, name: str | None) -> str:
    title = (
        f"{name or str(settings.cell).upper().replace('_', ' ')}, {settings.hidden} unit{'s'[: settings.hidden != 1]}"
    )
    title += f", {settings.layers} layers" if settings.layers > 1 else ""
    title += ", residual" if settings.residual else ""
    return title + ("" if settings.norm == "none" else f", {settings.norm} norm")


def _facts_of_file(user_file: UserFile | None) -> dict[str, Any]:
    return (
        {} if user_file is None else {"cell": user_file.name, "path": user_file.path.name, "sha256": user_file.sha256}
    )


def _model_of_function(settings: Settings, user_file: UserFile, label: str | None, embedding: Array | None) -> Model:
    """Create the cell of a function in a file; its sizes are those of the file, where it has some.

    Raises:
        UsageError: an option or a setting has no effect.
        InputError: the function fails, or does not return what it must.
    """
    from gradscope.checking.user_file import build

    given = {"dtype"} if settings.dtype != "float64" else set()
    given |= {"drive"} if settings.closed_loop else set()
    if label is None:  # in a comparison, options may be for others
        names = (*(n for n, row in table(Settings).items() if FOR_RANDOM_CELL in row.where), *SIZES)
        given |= {n for n in names if getattr(settings, n) != getattr(Settings(), n)}
    refuse_idle_settings(user_file, given)
    cell = build(user_file, settings.hidden, _inputs(settings, embedding), settings.seed, settings.set)
    config = replace(settings, cell=f"{user_file.path.name}:{user_file.name}").config({"function"})
    if user_file.size("state_size") is not None:
        del config["hidden"]
    facts = {**_facts_of_file(user_file), "settings": config["set"]}
    title = f"{user_file.name} of {user_file.path.name}, state size {cell.state_size}"
    fixed = {name: size for name, constant in SIZES.items() if (size := user_file.size(constant)) is not None}
    if settings.data:
        fixed.pop("input_size", None)  # that of the data
    request = Request(str(settings.cell), settings, fixed)
    return Model(label or user_file.name, title, cell, settings, config, facts, (), embedding, request)


def models_of_file(settings: Settings, target: Path, *, among: bool = False) -> list[Model]:
    """Read the recurrent layers of a checkpoint; "-" is standard input.

    Args:
        settings: how to read it.
        target: the file.
        among: whether there are other files, so that an option without effect on this one is noted only.

    Raises:
        InputError: it cannot be read, or holds none.
        UsageError: the layer that was asked for is not there, or an option has no effect.
    """
    from gradscope.files.layouts._base import LayoutOptions, idle_options
    from gradscope.files.layouts._load import choose_layers, read_checkpoint, read_embedding, read_readout

    stated = {"key": settings.key, "activation": settings.activation, "gate_order": settings.gate_order}
    head = embedding = None
    with seekable(target) as path:
        checkpoint = read_checkpoint(path, dtype=settings.dtype, **stated)
        if settings.embedding:
            embedding = read_embedding(path, settings.embedding, key=settings.key)
        chosen = choose_layers(checkpoint.layers, settings.layer)
        idle = idle_options(chosen, LayoutOptions(settings.activation, settings.gate_order))
        if idle and not among:
            raise next(iter(idle.values()))
        without: dict[str, Any] = dict.fromkeys(idle)
        settings = replace(settings, **without)
        if settings.closed_loop:
            if settings.readout is None:
                raise _no_readout(checkpoint, chosen)
            head = read_readout(path, settings.readout, key=settings.key)
    shared = _on_the_same_input(chosen)
    models = [_model_of_layer(settings, checkpoint, layer, shared, path.name, embedding) for layer in chosen]
    named = str(target) if str(target) != "-" else ""
    alike = [_alike(settings, layer) for layer in chosen]
    if any(one != alike[0] for one in alike):  # no one cell is like all of them
        alike = [replace(one, layer=layer.name) for one, layer in zip(alike, chosen, strict=True)]
    models = [replace(m, request=Request(named, one), idle=idle) for m, one in zip(models, alike, strict=True)]
    if head is None:
        return models
    return [_closed(m, layer, head, several=len(chosen) > 1) for m, layer in zip(models, chosen, strict=True)]


def _on_the_same_input(layers: Sequence[RecurrentLayer]) -> dict[str, str]:
    """Return {path of a module: an assumption}, of those that are run on the input of another one."""
    from gradscope.files.layouts._base import IN_A_LIST

    first, *others = dict.fromkeys(layer.path for layer in layers)
    known = {layer.path for layer in layers if any(a.endswith(IN_A_LIST) for a in layer.assumptions)}
    text = f"run on the input itself, as {first} is, not on the output of another module; {ITS_INPUT}"
    return {path: text for path in others if path not in known}


def _model_of_layer(
    settings: Settings,
    checkpoint: Checkpoint,
    layer: RecurrentLayer,
    shared: Mapping[str, str],
    path: str,
    embedding: Array | None,
) -> Model:
    """Return a recurrent layer of a checkpoint with what its file says of it."""
    from gradscope.networks.stack import Direction, Stack

    assumptions = [*layer.assumptions]
    assumptions += [f"{layer.name}: {shared[layer.path]}"] if layer.path in shared else []
    facts = {
        "source": "checkpoint",
        "path": path,
        "sha256": checkpoint.sha256,
        "format": checkpoint.format,
        "layer": layer.name,
        "assumptions": assumptions,
    }
    where = f"model.{layer.name}"
    notes = [{"code": "GS-NOTE", "message": n, "where": where} for n in (*checkpoint.notes, *layer.notes)]
    if isinstance(layer.cell, Direction):
        notes.append({"code": "GS-DIRECTIONS", "message": DIRECTIONS, "where": "model"})
    title = f"{layer.kind.upper()} {layer.name}"
    title += f" without {len(layer.unused)} of its parameters" if layer.unused else ""
    title += f", {layer.hidden_size} unit{'s'[: layer.hidden_size != 1]}"
    title += f", {layer.layers} layers" if isinstance(layer.cell, Stack) else ""
    title += ", white noise" if settings.data is None and settings.drive == "noise" else ""
    config = settings.config({"checkpoint"})
    return Model(layer.name, title, layer.cell, settings, config, facts, tuple(notes), embedding)


def _alike(settings: Settings, layer: RecurrentLayer) -> Settings:
    """Return the settings with which a cell with random weights is like a layer of a checkpoint."""
    from_data = settings.data is not None  # the data decide on the number of inputs
    return replace(
        settings,
        hidden=layer.hidden_size,
        layers=layer.layers,
        bidirectional=layer.bidirectional,
        input_size=None if from_data else layer.cell.network.network_input_size,
    )


def _closed(
    model: Model, layer: RecurrentLayer, head: tuple[str, Array, str | None, Array | None], *, several: bool
) -> Model:
    """Close the loop around one network of a checkpoint.

    Raises:
        InputError: the readout does not fit.
        UsageError: the network is bidirectional.
    """
    from gradscope.files.display import printable
    from gradscope.networks.loop import closed_loop

    matrix, R, bias, b = head
    try:
        loop = closed_loop(layer.cell, R, b, name=printable(f"{matrix} and {bias}" if bias else matrix))
    except GradscopeError as error:
        hint = f"{error.hint}{'; ' if error.hint else ''}--layer chooses one network" if several else error.hint
        raise type(error)(f"{layer.name}: {error.message}", hint) from None
    return replace(model, cell=loop, title=f"{model.title}, closed loop")


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
    hint = f"{known}; rows are network inputs, columns are hidden units"
    return UsageError("--drive self needs --readout NAME, the linear layer whose output is the next input", hint)


def existing_or_suggest(path: Path) -> None:
    """Refuse a target that is the name of a cell, or a file of data, or a program: nobody asked to run it.

    Raises:
        UsageError: it is.
    """
    if is_user_file(str(path)):
        raise UsageError(f"{shown(path)} is a Python file, not a checkpoint", f"to run it: --cell {shown(path)}")
    only_data = {*plugins.suffixes("data")} - {*plugins.suffixes("checkpoints")}
    if path.suffix.lower() in only_data and exists(path):
        raise UsageError(f"{shown(path)} holds data, not a model", f"pass data with --data {shown(path)}")
    if str(path) in plugins.names("cells") and not exists(path):
        raise UsageError(f"there is no file {shown(path)}", f"for the built-in cell, use --cell {path.name}")
