"""Every option of an analysis, in one table, and what is made from it.

A field of `Settings` is an option of `gradscope analyze` and `compare`, with `python=True` a keyword of
`gradscope.analyze`, a key of `--config` files, an entry of a document's `config`, a part of suggested commands and of
the reference page. To add one takes a line here, and the place where it acts.
"""

from __future__ import annotations

import dataclasses
import inspect
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.options import (
    ALWAYS,
    FILE,
    FLAG,
    GIVEN,
    NEVER,
    SHOWN,
    TEXT,
    Choice,
    Count,
    Pairs,
    Real,
    Size,
    Where,
    option,
    table,
)

__all__ = [
    "Settings",
    "as_number",
    "command_options",
    "config_schema",
    "footer_parts",
    "from_keywords",
    "with_keywords",
]

F = TypeVar("F", bound=Callable[..., Any])

STEPS, BATCH, WARMUP = 200, 8, 50  # of synthetic input: measured steps, sequences, steps before
INPUT_SIZE = 32  # features of synthetic input
HIDDEN = 128  # units of a layer
THRESHOLD = 1e-3  # fraction of the gradient norm that defines the reach

# Where options have an effect. Kinds of models: "cell" (weights drawn at random), "function" (of a user's file),
# "checkpoint".
FOR_CELL_OR_FUNCTION = Where(
    lambda _, kinds: "cell" in kinds or "function" in kinds,
    "applies only to cells with random weights, not to checkpoints",
    "omit it",
)
# a function has its own weights
FOR_RANDOM_CELL = Where(lambda _, kinds: "cell" in kinds, FOR_CELL_OR_FUNCTION.reason, FOR_CELL_OR_FUNCTION.hint)
FOR_CHECKPOINT = Where(
    lambda _, kinds: "checkpoint" in kinds,
    "applies only to checkpoints, and none is given",
    "name a checkpoint, or omit it",
)
FOR_REAL_DATA = Where(
    lambda s, _: s.data is not None,
    "applies only to real input, and --data is not given",
    "give --data FILE, or omit it",
)
NO_TOKENS = "applies only to data of real numbers; with --embedding, the data are token ids"
FOR_NUMBERS = (FOR_REAL_DATA, Where(lambda s, _: s.embedding is None, NO_TOKENS, "omit it"))
FOR_SYNTHETIC_INPUT = Where(
    lambda s, _: s.data is None, "applies only to synthetic input, and --data is given", "omit one of them"
)
FOR_SYNTHETIC_INPUT_OR_LOOP = Where(
    lambda s, _: s.data is None or s.closed_loop, FOR_SYNTHETIC_INPUT.reason, FOR_SYNTHETIC_INPUT.hint
)
FOR_LOOP = Where(lambda s, _: s.closed_loop, "applies only to closed-loop operation", "give --drive self, or omit it")
FOR_RANDOM_LOSS = Where(
    lambda s, _: s.loss_gradient is None,
    "applies only to the random readout, and --loss-gradient replaces it",
    "omit one of them",
)
FOR_SPECTRA = Where(lambda s, _: s.lags > 0, "has no effect with --lags 0, which omits spectra", "omit one of them")
FOR_MODELS = Where(
    lambda _, kinds: bool(kinds),
    "runs the model again, and a saved result holds no model",
    "name a cell or a checkpoint",
)

READING = ("analyze", "compare", "inspect")  # commands that read checkpoints
model, inputs, analysis = (partial(option, panel=panel) for panel in ("Model", "Input", "Analysis"))


@dataclass(frozen=True)
class Settings:
    """Every option that decides what is computed, as given or as defaulted."""

    cell: str | None = model(
        None,
        "Cell with random weights: {names}; or a user-defined cell from a Python file, which is executed",
        TEXT,
        metavar="NAME|FILE.py[:NAME]",
        room="cells",
        where=(FOR_CELL_OR_FUNCTION,),
        commands=("analyze",),
        record=SHOWN,
        repeat=False,
    )
    hidden: int = model(HIDDEN, "Hidden units of a layer", Count(), where=(FOR_CELL_OR_FUNCTION,), record=SHOWN)
    input_size: int | None = model(
        None,
        "Number of input features",
        Count(),
        where=(FOR_CELL_OR_FUNCTION,),
        record=NEVER,
        usual=f"{INPUT_SIZE}; with real data, the number in the data",
    )
    layers: int = model(1, "Number of layers", Count(), where=(FOR_RANDOM_CELL,), record=ALWAYS)
    residual: bool = model(
        False,
        "Residual connections: every layer above the first adds its output to its input",
        FLAG,
        where=(FOR_RANDOM_CELL,),
    )
    norm: str = model(
        "none",
        "Normalisation of the input of every layer above the first",
        Choice("none", "layer", "rms"),
        where=(FOR_RANDOM_CELL,),
    )
    bidirectional: bool = model(
        False, "Analyze both directions, each as a separate chain", FLAG, where=(FOR_RANDOM_CELL,)
    )
    init: str | None = model(
        None,
        "Initialisation: {names}",
        TEXT,
        room="inits",
        where=(FOR_RANDOM_CELL,),
        record=SHOWN,
        repeat=False,
        usual="pytorch, or the default of the cell",
    )
    gain: float = model(
        1.0, "Factor on the recurrent weights", Real(), metavar="G", where=(FOR_RANDOM_CELL,), record=ALWAYS
    )
    set: dict[str, str] = model(
        {},
        "Setting of the cell or of the initialisation: forget_bias=1, activation=relu, tmax=200. Repeatable",
        Pairs(),
        where=(FOR_CELL_OR_FUNCTION,),
        commands=("analyze", "compare", "check-cell"),
        record=ALWAYS,
        repeat=False,
    )
    layer: str | None = model(None, "Recurrent layer of the checkpoint", TEXT, where=(FOR_CHECKPOINT,), usual="all")
    key: str | None = model(
        None, "State dict to read if the checkpoint holds several", TEXT, where=(FOR_CHECKPOINT,), commands=READING
    )
    activation: str | None = model(
        None,
        "Activation of an RNN whose checkpoint does not state it",
        Choice("tanh", "relu"),
        where=(FOR_CHECKPOINT,),
        commands=READING,
        usual="tanh",
    )
    gate_order: str | None = model(
        None,
        "Order of the gates in the checkpoint, such as ifog",
        TEXT,
        metavar="ORDER",
        where=(FOR_CHECKPOINT,),
        commands=READING,
        usual="PyTorch's: ifgo, rzn",
    )

    data: Path | None = inputs(None, "Real input: {names}", FILE, room="data")
    data_key: str | None = inputs(None, "Array to read, where the file holds several", TEXT, where=(FOR_REAL_DATA,))
    embedding: str | None = inputs(
        None,
        "Embedding matrix of the checkpoint, if the data are token ids; in compare for cells with random weights, too",
        TEXT,
        metavar="KEY",
        where=(FOR_CHECKPOINT, FOR_REAL_DATA),
    )
    columns: str | None = inputs(
        None, "Columns of a CSV file, by name or index", TEXT, metavar="A,B", where=FOR_NUMBERS, usual="all"
    )
    delimiter: str | None = inputs(
        None, "CSV delimiter", TEXT, metavar="C", where=FOR_NUMBERS, usual="detected automatically"
    )
    decimal: str | None = inputs(
        None, "CSV decimal separator", TEXT, metavar="C", where=FOR_NUMBERS, usual="detected automatically"
    )
    layout: str | None = inputs(
        None, "Axis order of 3-D data: batch, time, feature", Choice("btf", "tbf"), where=(FOR_REAL_DATA,), usual="btf"
    )
    nan: str = inputs(
        "keep",
        "Treatment of nonfinite values in the data",
        Choice("keep", "drop", "zero", "error"),
        where=FOR_NUMBERS,
        record=ALWAYS,
    )
    drive: str = inputs(
        "noise",
        "Synthetic input; self: closed loop, the output is the next input, after --data or noise as warm-up",
        Choice("noise", "zeros", "sine", "self"),
        where=(FOR_SYNTHETIC_INPUT_OR_LOOP,),
        record=SHOWN,
    )
    readout: str | None = inputs(
        None,
        "With --drive self: linear layer of the checkpoint whose output is the next input",
        TEXT,
        where=(FOR_CHECKPOINT, FOR_LOOP),
    )
    input_scale: float = inputs(
        1.0, "Scale of the synthetic input", Real(), metavar="S", where=(FOR_SYNTHETIC_INPUT,), record=ALWAYS
    )
    steps: int | None = inputs(
        None,
        "Number of measured time steps",
        Count(),
        python=True,
        record=SHOWN,
        usual=f"{STEPS}; with real data, all",
        metavar="T",
    )
    batch: int | None = inputs(
        None,
        "Number of independent sequences",
        Count(),
        python=True,
        record=SHOWN,
        usual=f"{BATCH}; with real data, all",
        metavar="B",
    )
    warmup: int | None = inputs(
        None,
        "Steps run before the measured ones; in a closed loop, steps of the loop",
        Count(0),
        python=True,
        record=SHOWN,
        usual=f"{WARMUP}; 0 with real data",
    )

    loss: str = analysis(
        "last",
        "Loss: random unit-norm readout of the last hidden state, or the mean or sum over all",
        Choice("last", "mean", "sum"),
        where=(FOR_RANDOM_LOSS,),
        python=True,
        record=SHOWN,
    )
    loss_gradient: Path | None = analysis(
        None, "Gradient of a user-defined loss, dL/dh, of shape (H,), (B, H) or (B, T, H)", FILE, metavar="FILE.npy"
    )
    spectrum: int = analysis(
        16,
        "Number of Lyapunov exponents, and of singular values and eigenvalues of the Jacobian product",
        Count(1, {"full": sys.maxsize}),
        metavar="K|full",
        where=(FOR_SPECTRA,),
        python=True,
        record=ALWAYS,
    )
    lags: int = analysis(
        32,
        "Number of lags at which the Jacobian product is measured; 0 leaves out products and spectra",
        Count(0),
        python=True,
        record=ALWAYS,
    )
    step_spectra: int | None = analysis(
        None,
        "Number of time steps whose Jacobian spectrum is computed",
        Count(1, {"all": sys.maxsize, "auto": None}),
        where=(FOR_SPECTRA,),
        python=True,
        record=ALWAYS,
        usual="auto: as many as fit in 0.1 s",
    )
    threshold: float = analysis(
        THRESHOLD, "Fraction of the gradient norm that defines the reach", Real(0, 1), python=True, record=ALWAYS
    )
    remedies: bool = analysis(
        False,
        "If the gradient vanishes or explodes, also measure the effect of other biases and recurrent weights",
        FLAG,
        where=(FOR_MODELS,),
        python=True,
        repeat=False,
    )
    dtype: str = analysis("float64", "Floating-point precision", Choice("float64", "float32"), record=SHOWN)
    seed: int = analysis(0, "Seed of weights, input and readout", Count(0), python=True, record=SHOWN)
    threads: int = analysis(
        1,
        "Number of models analyzed at once, as far as memory allows; one model uses one thread",
        Count(),
        record=NEVER,
        repeat=False,
    )
    max_memory: int | None = analysis(
        None,
        "Memory limit, such as 2GiB; fewer intermediate states are stored if needed",
        Size(),
        python=True,
        record=NEVER,
        repeat=False,
        usual="half of the free memory; over 1GiB only if needed",
    )

    @property
    def closed_loop(self) -> bool:
        """Whether the network's output is its next input."""
        return self.drive == "self"

    @property
    def measured_steps(self) -> int:
        """Measured steps of synthetic input."""
        return STEPS if self.steps is None else self.steps

    @property
    def sequences(self) -> int:
        """Sequences of synthetic input."""
        return BATCH if self.batch is None else self.batch

    @property
    def warmup_steps(self) -> int:
        """Steps run before the measured ones."""
        if self.warmup is not None:
            return self.warmup
        return 0 if self.data and not self.closed_loop else WARMUP

    def config(self, model_kinds: Collection[str] = (), *, python: bool = False) -> dict[str, Any]:
        """Return the settings for the document: those that have an effect.

        Args:
            model_kinds: kinds of model, as for `Where`.
            python: only what `gradscope.analyze` takes.
        """
        config: dict[str, Any] = {}
        for name, row in table(Settings).items():
            value = getattr(self, name)
            left_out = row.record == NEVER or value is None or (row.record == GIVEN and value == row.default)
            if not left_out and not row.unmet(self, model_kinds) and (row.python or not python):
                config[name] = _json_value(value)
        return config


def from_keywords(keywords: Mapping[str, Any]) -> Settings:
    """Return the settings that keywords of `gradscope.analyze` give, checked.

    Raises:
        UsageError: an unknown keyword, or a value out of range.
    """
    rows = {name: row for name, row in table(Settings).items() if row.python}
    for name in keywords:
        if name == "threads":
            raise UsageError(
                "analyze runs one model in one thread", "gradscope.compare takes threads, for several models"
            )
        if name not in rows:
            hint = f"{plugins.suggest(name, list(rows))}known: {', '.join(rows)}"
            raise UsageError(f"analyze takes no setting '{name}'", hint)
    return Settings(**{name: rows[name].parsed(name, value) for name, value in keywords.items()})


def with_keywords(function: F) -> F:
    """Show the settings that `gradscope.analyze` takes in the signature and docstring of a function of **settings."""
    rows = {name: row for name, row in table(Settings).items() if row.python}
    signature = inspect.signature(function)
    types = {f.name: f.type for f in dataclasses.fields(Settings)}
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for name, row in rows.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=row.default, annotation=types[name]))
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    lines = "\n".join(f"        {name}: {row.text}" for name, row in rows.items())
    document, placeholder = function.__doc__ or "", "        **settings: the options of an analysis."
    assert placeholder in document or not document, f"the docstring of {function.__name__} has no '**settings'"  # -OO
    function.__doc__ = document.replace(placeholder, lines)
    return function


def command_options(settings: Settings, model_kinds: Collection[str]) -> str:
    """Return the options that repeat settings in another command, " --layers 2 --seed 1".

    Defaults are left out, and so is what has no effect there.

    Args:
        settings: as given.
        model_kinds: kinds of the models of that command, as for `Where`.
    """
    synthetic = {"steps": STEPS, "batch": BATCH, "warmup": WARMUP, "input_size": INPUT_SIZE}
    usual = {} if settings.data else synthetic
    words: list[str] = []
    for name, row in table(Settings).items():
        value = getattr(settings, name)
        is_default = value is None or value in (row.default, usual.get(name))
        if row.repeat and not is_default and not row.unmet(settings, model_kinds):
            # names come from files: quoted, they are words to any shell
            words += [row.flag] if value is True else [row.flag, shlex.quote(row.typed(value))]
    return "".join(f" {word}" for word in words)


def footer_parts(config: Mapping[str, Any]) -> list[str]:
    """Return the settings of a document in words, "hidden 64", in the order of the table; usual ones are left out."""
    parts = []
    rows = table(Settings)
    for name in (*(n for n in rows if n in config), *(n for n in config if n not in rows)):
        value, row = config[name], rows.get(name)
        usual = row is not None and row.record == ALWAYS and row.default in (None, value)
        if usual or value in (None, "", {}, []) or value is False:
            continue
        words = value if isinstance(value, Mapping) else {name: value}
        parts += [k if v is True else f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in words.items()]
    return parts


def config_schema() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return {name: (meaning, JSON Schema)} of the entries of a document's `config`."""
    rows = table(Settings).items()
    # a list of plug-ins follows a colon: it is cut, since the schema is the same whichever are installed
    return {n: (f"{row.help.partition(': {')[0]}.", row.parser.schema) for n, row in rows if row.record != NEVER}


def _json_value(value: Any) -> Any:
    """Return a value for a document: the name of a file, the settings of a cell as numbers where they are some."""
    if isinstance(value, Path):
        return value.name
    return {k: as_number(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def as_number(text: Any) -> Any:
    """Return a setting of a cell as a number, or as it is where it is none."""
    try:
        return float(text)
    except ValueError:
        return text
