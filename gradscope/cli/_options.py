"""The options that commands share, written once: name, help text, parser and panel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradscope import plugins
from gradscope.cli._config import apply_config
from gradscope.cli._numbers import count, real, size
from gradscope.errors import UsageError

MODEL, INPUT, ANALYSIS, OUTPUT = "Model", "Input", "Analysis", "Output"


def complete(room: str) -> Any:
    """Return a completion of names of a room."""

    def names(incomplete: str) -> list[str]:
        return [n for n in plugins.names(room) if n.startswith(incomplete)]

    return names


def complete_cells(suffix: str) -> Any:
    """Return a completion of names of cells, and of files that end so, with the folders on the way."""

    def names(incomplete: str) -> list[str]:
        folder, _, begun = incomplete.rpartition("/")
        start = f"{folder}/" if "/" in incomplete else ""
        try:
            found = sorted(p for p in Path(start or ".").iterdir() if p.name.startswith(begun))
        except OSError:
            found = []
        shown = [p for p in found if begun or not p.name.startswith(".")]
        files = [f"{start}{p.name}" for p in shown if p.is_file() and p.name.endswith(suffix)]
        return [*complete("cells")(incomplete), *files, *(f"{start}{p.name}/" for p in shown if p.is_dir())]

    return names


def _listed(room: str, without: str = "") -> str:
    return ", ".join(n for n in plugins.names(room) if n != without)


def _choice(name: str, known: tuple[str, ...]) -> Any:
    def parse(text: str) -> str:
        if text not in known:
            raise UsageError(
                f"{name}: there is no '{text}'", f"{plugins.suggest(text, known)}known: {', '.join(known)}"
            )
        return text

    parse.__name__ = "NAME"
    return parse


def _step_spectra(text: str) -> str:
    return text if text in ("all", "auto") else str(count("--step-spectra")(text))


def option(*names: str, panel: str, **more: Any) -> Any:
    """Declare an option in one of the four panels of the help; whether a file can be read is found out by reading."""
    return typer.Option(*names, rich_help_panel=panel, show_default=False, readable=False, **more)


CellName = Annotated[
    str | None,
    option(
        "--cell",
        panel=MODEL,
        metavar="NAME|FILE.py[:NAME]",
        autocompletion=complete_cells(".py"),
        help=f"A cell with random weights: {_listed('cells')}; or one of your own, from a Python file, which is run.",
    ),
]
Hidden = Annotated[
    int, option("--hidden", panel=MODEL, metavar="N", parser=count("--hidden"), help="Units of a layer (128).")
]
InputSize = Annotated[
    int | None,
    option(
        "--input-size",
        panel=MODEL,
        metavar="N",
        parser=count("--input-size"),
        help="Number of inputs (32; with --data, the data's).",
    ),
]
Layers = Annotated[
    int, option("--layers", panel=MODEL, metavar="N", parser=count("--layers"), help="Layers of the network (1).")
]
Residual = Annotated[
    bool,
    option(
        "--residual",
        panel=MODEL,
        help="Residual connections between layers: each above the bottom one adds its output to what it is given.",
    ),
]
Norm = Annotated[
    str,
    option(
        "--norm",
        panel=MODEL,
        metavar="NAME",
        parser=_choice("--norm", ("none", "layer", "rms")),
        help="Normalise what a layer is given by the one below: none, layer, rms (none).",
    ),
]
Bidirectional = Annotated[
    bool, option("--bidirectional", panel=MODEL, help="Analyze both directions, each as a chain.")
]
Init = Annotated[
    str | None,
    option(
        "--init",
        panel=MODEL,
        metavar="NAME",
        autocompletion=complete("inits"),
        help=f"Initialisation: {_listed('inits')} (pytorch, or the cell's own).",
    ),
]
Gain = Annotated[
    float,
    option("--gain", panel=MODEL, metavar="G", parser=real("--gain"), help="Factor on the recurrent weights (1)."),
]
Settings = Annotated[
    list[str] | None,
    option(
        "--set",
        panel=MODEL,
        metavar="KEY=VALUE",
        help="A setting of the cell or the initialisation: forget_bias=1, activation=relu, tmax=200. Repeatable.",
    ),
]
Layer = Annotated[
    str | None, option("--layer", panel=MODEL, metavar="NAME", help="Which recurrent layer of a checkpoint (all).")
]
Key = Annotated[
    str | None, option("--key", panel=MODEL, metavar="NAME", help="Which of several state dicts of a checkpoint.")
]
Activation = Annotated[
    str | None,
    option(
        "--activation",
        panel=MODEL,
        metavar="NAME",
        parser=_choice("--activation", ("tanh", "relu")),
        help="tanh or relu, for an RNN whose file does not say (tanh).",
    ),
]
GateOrder = Annotated[
    str | None,
    option(
        "--gate-order",
        panel=MODEL,
        metavar="ORDER",
        help="Order of the gates in the file, such as ifog (PyTorch's: ifgo, rzn).",
    ),
]

Data = Annotated[Path | None, option("--data", panel=INPUT, metavar="FILE", help=f"Real input: {_listed('data')}.")]
DataKey = Annotated[str | None, option("--data-key", panel=INPUT, metavar="NAME", help="Which array of an npz.")]
Embedding = Annotated[
    str | None,
    option(
        "--embedding",
        panel=INPUT,
        metavar="KEY",
        help="The data are tokens: look them up in this matrix of the checkpoint.",
    ),
]
Columns = Annotated[
    str | None, option("--columns", panel=INPUT, metavar="A,B", help="Columns of a csv, by name or index (all).")
]
Delimiter = Annotated[str | None, option("--delimiter", panel=INPUT, metavar="C", help="Of a csv (found out).")]
Decimal = Annotated[
    str | None, option("--decimal", panel=INPUT, metavar="C", help="Decimal sign of a csv (found out).")
]
Layout = Annotated[
    str | None,
    option(
        "--layout",
        panel=INPUT,
        metavar="btf|tbf",
        parser=_choice("--layout", ("btf", "tbf")),
        help="Axes of 3-D data: batch, time, feature in this order (btf).",
    ),
]
Nan = Annotated[
    str,
    option(
        "--nan",
        panel=INPUT,
        metavar="keep|drop|zero|error",
        parser=_choice("--nan", ("keep", "drop", "zero", "error")),
        help="What to do with data that are not finite (keep, and say where).",
    ),
]
Drive = Annotated[
    str,
    option(
        "--drive",
        panel=INPUT,
        metavar="NAME",
        parser=_choice("--drive", ("noise", "zeros", "sine", "self")),
        help="Made-up input: noise, zeros, sine; or self: the network's own output, after --data or noise (noise).",
    ),
]
Readout = Annotated[
    str | None,
    option(
        "--readout",
        panel=INPUT,
        metavar="NAME",
        help="With --drive self: the linear layer of the checkpoint whose output is the next input.",
    ),
]
InputScale = Annotated[
    float,
    option(
        "--input-scale", panel=INPUT, metavar="S", parser=real("--input-scale"), help="Factor on made-up input (1)."
    ),
]
Steps = Annotated[
    int | None,
    option("--steps", panel=INPUT, metavar="T", parser=count("--steps"), help="Measured steps (200, or the data's)."),
]
Batch = Annotated[
    int | None,
    option(
        "--batch", panel=INPUT, metavar="B", parser=count("--batch"), help="Independent sequences (8, or the data's)."
    ),
]
Warmup = Annotated[
    int | None,
    option(
        "--warmup",
        panel=INPUT,
        metavar="N",
        parser=count("--warmup", 0),
        help="Steps run before the measured ones (50; 0 with --data). With --drive self, steps on its own output (50).",
    ),
]

Loss = Annotated[
    str,
    option(
        "--loss",
        panel=ANALYSIS,
        metavar="last|mean|sum",
        parser=_choice("--loss", ("last", "mean", "sum")),
        help="A random readout of length one of the last h, or of every h (last).",
    ),
]
LossGradient = Annotated[
    Path | None,
    option("--loss-gradient", panel=ANALYSIS, metavar="FILE.npy", help="Your own dL/dh: (H,), (B,H) or (B,T,H)."),
]
Spectrum = Annotated[
    int,
    option(
        "--spectrum",
        panel=ANALYSIS,
        metavar="K|full",
        parser=count("--spectrum", full=True),
        help="How many Lyapunov exponents, singular values and eigenvalues of the product (16).",
    ),
]
Lags = Annotated[
    int,
    option(
        "--lags",
        panel=ANALYSIS,
        metavar="N",
        parser=count("--lags", 0),
        help="At how many lags the product is measured; 0: no spectra (32).",
    ),
]
StepSpectra = Annotated[
    str,
    option(
        "--step-spectra",
        panel=ANALYSIS,
        metavar="N|all|auto",
        parser=_step_spectra,
        help="Of how many single steps spectra are taken (auto: what a tenth of a second buys).",
    ),
]
Threshold = Annotated[
    float,
    option(
        "--threshold",
        panel=ANALYSIS,
        metavar="X",
        parser=real("--threshold", 0, 1),
        help="Fraction of the gradient that reach asks for (1e-3).",
    ),
]
Remedies = Annotated[
    bool,
    option(
        "--remedies",
        panel=ANALYSIS,
        help="Where the gradient vanishes or explodes, also measure what other biases and recurrent weights do to it.",
    ),
]
Dtype = Annotated[
    str,
    option(
        "--dtype",
        panel=ANALYSIS,
        metavar="NAME",
        parser=_choice("--dtype", ("float64", "float32")),
        help="Precision of the computation (float64).",
    ),
]
Seed = Annotated[
    int,
    option(
        "--seed", panel=ANALYSIS, metavar="N", parser=count("--seed", 0), help="Seed of weights, input and readout (0)."
    ),
]
Threads = Annotated[
    int,
    option(
        "--threads",
        panel=ANALYSIS,
        metavar="N",
        parser=count("--threads"),
        help="Number of models that are measured at the same time, each on one processor core (1).",
    ),
]
MaxMemory = Annotated[
    int | None,
    option(
        "--max-memory",
        panel=ANALYSIS,
        metavar="SIZE",
        parser=size,
        help="Keep less of a run than would be quickest, or refuse it, to use no more than this, such as 2GiB "
        "(half of what is free; over 1GiB only where it must).",
    ),
]

Format = Annotated[
    str | None,
    option(
        "--format",
        panel=OUTPUT,
        metavar="NAME",
        autocompletion=complete("render"),
        parser=_choice("--format", plugins.names("render")),
        help=f"Of standard output: {_listed('render')} (text).",
    ),
]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="The same as --format json.")]
Outputs = Annotated[
    list[Path] | None,
    option(
        "-o",
        "--output",
        panel=OUTPUT,
        metavar="FILE",
        help=f"Write a file; the suffix decides: {_listed('render', 'text')}. Repeatable.",
    ),
]
DrawCell = Annotated[
    bool,
    option(
        "--diagram",
        panel=OUTPUT,
        help="Pictures show the cell instead of panels, lines as wide as the shares of the gradient.",
    ),
]
Force = Annotated[bool, option("--force", panel=OUTPUT, help="Replace files that exist.")]
Mkdir = Annotated[bool, option("--mkdir", panel=OUTPUT, help="Make directories that are missing.")]
FailOn = Annotated[
    str | None,
    option(
        "--fail-on",
        panel=OUTPUT,
        metavar="LIST|EXPR",
        help="Exit with 3 on these verdicts (exploding,vanishing) or when 'reach < 50' holds.",
    ),
]
Reproducible = Annotated[
    bool, option("--reproducible", panel=OUTPUT, help="Leave out times and versions: two runs are the same bytes.")
]
DryRun = Annotated[bool, option("--dry-run", panel=OUTPUT, help="Say what would be done and how much memory it takes.")]
Color = Annotated[
    str,
    option(
        "--color",
        panel=OUTPUT,
        metavar="auto|always|never",
        parser=_choice("--color", ("auto", "always", "never")),
        help="Colours (auto).",
    ),
]
Progress = Annotated[
    str,
    option(
        "--progress",
        panel=OUTPUT,
        metavar="auto|plain|none",
        parser=_choice("--progress", ("auto", "plain", "none")),
        help="On standard error (auto).",
    ),
]
Quiet = Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="Only the first line.")]
Verbose = Annotated[bool, option("--verbose", "-v", panel=OUTPUT, help="Also say what was assumed and converted.")]
Config = Annotated[
    Path | None,
    option(
        "--config",
        panel=OUTPUT,
        metavar="FILE.toml",
        is_eager=True,
        callback=apply_config,
        help="Options from a file, by their long names; the command line wins.",
    ),
]


def format_of(format: str | None, as_json: bool) -> str:
    """Settle --format and --json.

    Raises:
        UsageError: they say different things.
    """
    if as_json and format not in (None, "json"):
        raise UsageError(f"--json and --format {format} say different things", "give one of them")
    return "json" if as_json else format or "text"
