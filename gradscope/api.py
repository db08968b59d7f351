"""The Python interface: make or load a cell, analyze it, keep the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.analysis._measure import measure
from gradscope.analysis._run import Run
from gradscope.analysis.lyapunov import LONGEST_BURN, usual_burn
from gradscope.dynamics.budget import Plan
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.loss import Loss, given_loss, random_loss
from gradscope.dynamics.progress import Progress, no_progress
from gradscope.dynamics.start import lead_in_of, start_of
from gradscope.dynamics.trajectory import run
from gradscope.errors import Interrupted, UsageError
from gradscope.kernels.kinds import kernel_of
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.gate import gate_names, keep_signs
from gradscope.networks.loop import Loop
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack, backward, cells_of
from gradscope.numerics.nonfinite import NonFinite
from gradscope.remedies import try_changes
from gradscope.report import environment, section
from gradscope.report.build import analysis_document, comparison_document
from gradscope.report.case import Case
from gradscope.report.remedy import Remedy
from gradscope.report.tables import count
from gradscope.result import Result
from gradscope.settings import Settings, from_keywords, with_keywords

__all__ = ["Origin", "Result", "analyze", "combine", "compare", "cut_short", "run_analysis"]


@dataclass(frozen=True)
class Origin:
    """What whoever asks for an analysis knows of the model and its input, for the document.

    Attributes:
        model: fields of the document's `model`; `source` is "init" for weights drawn by `config["init"]`.
        config: settings, beside those that the analysis itself has.
        warnings: {code, message, where}.
        nonfinite: values that were found not to be finite when the input was read.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, Any]] = ()
    nonfinite: Sequence[NonFinite] = ()


@with_keywords
def analyze(
    cell: Network | JacobianChain,
    inputs: Array | None = None,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Run a cell along its input, linearise every step, and measure how far gradients reach.

    Args:
        cell: a cell, or a `JacobianChain` of your own Jacobians (then there is no input).
        inputs: (B, T, m) or (T, m); None for seeded white noise. A closed loop has none.
        lead_in: (B, N, m) or (N, m): what the network reads first, from a zero state; the run starts in the state
            where this leaves it. None for nothing; for a closed loop, 50 steps of seeded white noise.
        loss_gradient: your own dL/dh: (H,), (B, H) or (B, T, H), in the order of the inputs; it replaces `loss`.
        name: name of the model in the sentence.
        progress: a function of (name, done, total), called when a part begins and while it goes on: "products", 16,
            400. The total is 0 where work is not counted. See `gradscope.dynamics.progress.Progress`.
        **settings: the options of an analysis.

    Raises:
        InputError: shapes do not fit.
        UsageError: an unknown setting, or a value out of range.
    """
    options = from_keywords(settings)
    _check_cell(cell)
    chain = isinstance(cell, JacobianChain)
    if lead_in is not None and chain:
        raise UsageError("a chain of Jacobians has no lead-in", "leave lead_in out")
    if (options.steps, options.batch) != (None, None) and (inputs is not None or chain):
        raise UsageError(
            "steps and batch are for synthetic inputs", "cut the inputs themselves: inputs[:batch, :steps]"
        )
    if options.warmup is None and inputs is not None:
        options = replace(options, warmup=0)
    return run_analysis(
        cell, inputs, options, lead_in=lead_in, loss_gradient=loss_gradient, name=name, progress=progress
    )


def run_analysis(
    cell: Network | JacobianChain,
    inputs: Array | None,
    settings: Settings,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Result:
    """Analyze a cell with checked settings; see `analyze`.

    Args:
        cell: a cell or a chain.
        inputs: as for `analyze`, warm-up included.
        settings: the options; `steps` and `batch` are for synthetic inputs, drawn where `inputs` is None.
        lead_in: as for `analyze`.
        loss_gradient: as for `analyze`.
        name: as for `analyze`.
        progress: as for `analyze`.
        origin: what is known of model and input, for the document.

    Raises:
        InputError: shapes do not fit.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    origin = origin or Origin(config=settings.config(python=True))
    progress = progress or no_progress
    linearised = _linearised(cell, inputs, settings, lead_in, loss_gradient, origin, progress)
    answers, missing = measure(linearised.run, settings)
    remedies = settings.remedies and not missing
    if settings.remedies and missing:
        missing = (*missing, "remedies")
    case = _case(cell, linearised, answers, settings, origin, name, remedies=remedies)
    rerun, loss = linearised.rerun, linearised.run.loss
    del linearised  # its states make room for those of changed cells
    tried: tuple[Remedy, ...] | None = () if remedies else None
    if remedies and rerun is not None and isinstance(cell, Network):
        try:
            tried = try_changes(cell, rerun, loss, answers, progress)
        except Interrupted:
            tried, missing = None, ("remedies",)
    progress("report", 0, 1)
    notes = [*map(dict, origin.warnings), *section.warnings(case)]
    document = analysis_document(case, [*notes, *([cut_short(missing, "series")] if missing else [])], tried)
    document["run"] = environment.describe(started, time.perf_counter() - clock)
    progress("report", 1, 1)
    return Result(document)


@dataclass(frozen=True, eq=False)
class _Linearised:
    """A model along its input, and what runs a changed one on the same input; None for a chain."""

    run: Run
    warmup: int = 0
    lead_in_steps: int = 0
    rerun: Callable[[Network], JacobianChain] | None = None


def _linearised(
    cell: Network | JacobianChain,
    inputs: Array | None,
    settings: Settings,
    lead_in: Array | None,
    loss_gradient: Array | None,
    origin: Origin,
    progress: Progress,
) -> _Linearised:
    """Run the cell and linearise it; the end of the warm-up turns the frame of the exponents, too."""
    if isinstance(cell, JacobianChain):
        return _Linearised(Run(cell, cell, _loss(cell, settings, loss_gradient), None, origin.nonfinite, progress))
    progress("running the cell", 0, 0)
    seed, batch, warmup = settings.seed, settings.batch, settings.warmup_steps
    lead_in = lead_in_of(cell, inputs, lead_in, batch, seed)
    if inputs is None:
        batch = len(lead_in) if batch is None and lead_in is not None else settings.sequences
        inputs = drive("noise", batch, settings.measured_steps + warmup, cell.network_input_size, seed=seed)
    lead = min(warmup, LONGEST_BURN)
    storage = _storage(cell, inputs, dense=settings.lags > 0 and not cell.diagonal, limit=settings.max_memory)
    along = partial(run, warmup=warmup, storage=storage)
    longer = linearise(along(cell, inputs, keep=lead, start=start_of(cell, lead_in)))
    chain, burn = longer.after(lead), max(lead, usual_burn(longer.steps))
    if loss_gradient is not None and np.ndim(loss_gradient) == 3 and backward(cell):
        loss_gradient = np.asarray(loss_gradient)[:, ::-1]  # it runs from the last step of the data to the first
    loss = _loss(chain, settings, loss_gradient)

    def rerun(changed: Network) -> JacobianChain:
        return linearise(along(changed, inputs, start=start_of(changed, lead_in)))

    lead_in_steps = 0 if lead_in is None else int(np.shape(lead_in)[-2])
    return _Linearised(Run(chain, longer, loss, burn, origin.nonfinite, progress), warmup, lead_in_steps, rerun)


def _loss(chain: JacobianChain, settings: Settings, gradient: Array | None) -> Loss:
    return random_loss(chain, settings.loss, settings.seed) if gradient is None else given_loss(chain, gradient)


def _case(
    cell: Network | JacobianChain,
    linearised: _Linearised,
    answers: Mapping[str, Any],
    settings: Settings,
    origin: Origin,
    name: str | None,
    *,
    remedies: bool,
) -> Case:
    """Put the answers together with what the document says of model and settings."""
    chain, loss = linearised.run.chain, linearised.run.loss
    facts = _facts(cell) | dict(origin.model)
    config = dict(origin.config)
    config |= {"lead_in": linearised.lead_in_steps} if linearised.lead_in_steps else {}
    config |= {
        "steps": chain.steps,
        "batch": chain.batch,
        "warmup": linearised.warmup,
        "loss": loss.name,
        "seed": settings.seed,
        "lags": settings.lags,
        "spectrum": min(settings.spectrum, chain.size),
        "step_spectra": len(answers["steps"].timestep) if "steps" in answers else 0,
        "threshold": settings.threshold,
        **({"remedies": True} if remedies else {}),
    }
    network = cell if isinstance(cell, Network) else None
    return Case(
        answers,
        name=f"{name or _title(facts)}, {count(chain.steps)}, seed {settings.seed}",
        model=facts,
        config=config,
        keep_gates={} if network is None else _keep_gates(network, 1),
        forget_gates={} if network is None else _keep_gates(network, -1),
        path_kinds=None if network is None or not cells_of(network) else _path_kinds(chain),
    )


def _storage(cell: Network, inputs: Array, *, dense: bool, limit: int | None) -> str:
    """Choose what is kept of a run."""
    weights, saved = sum(w.size for w in cell.weights().values()), sum(kernel_of(cell).saved_rows)
    batch, steps = np.shape(inputs)[:2] if np.ndim(inputs) == 3 else (1, np.shape(inputs)[0])
    width = cell.network_input_size
    plan = Plan(cell.state_size, width, weights, steps, batch, cell.dtype.itemsize, dense, saved=saved)
    return plan.fitting(limit).storage


def _check_cell(cell: Any) -> None:
    """Refuse what is near to a cell, and say how to get one."""
    if isinstance(cell, Network | JacobianChain):
        return
    if isinstance(cell, Mapping):
        name = next(iter(cell), "NAME")
        raise UsageError("analyze takes one cell, and this is a dict of them", f"choose one: layers[{str(name)!r}]")
    if isinstance(cell, str | Path):
        raise UsageError(f"analyze takes a cell, not the text {str(cell)!r}", "see gradscope.create and gradscope.load")
    raise UsageError(f"analyze takes a cell, not {type(cell).__name__}", "gradscope.from_step takes a function")


def cut_short(names: Sequence[str], where: str) -> dict[str, str]:
    """Return the note that names what was not measured, since somebody asked to stop."""
    return {"code": "GS-INTERRUPTED", "message": f"Interrupted; not measured: {', '.join(names)}.", "where": where}


@with_keywords
def compare(
    models: Mapping[str, Network | Result],
    inputs: Array | None = None,
    *,
    lead_in: Array | None = None,
    loss_gradient: Array | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Analyze several cells on the same inputs, side by side.

    Args:
        models: {name: cell or result}; a result is taken as it is.
        inputs: (B, T, m) or (T, m), the same for all cells; None for seeded white noise.
        lead_in: as for `analyze`.
        loss_gradient: as for `analyze`.
        progress: as for `analyze`.
        **settings: the options of an analysis.

    Raises:
        UsageError: there are no models.
        InputError: shapes do not fit.
    """
    if not models:
        raise UsageError("there is nothing to compare", "name at least one cell, checkpoint or saved result")
    given: dict[str, Any] = {"lead_in": lead_in, "loss_gradient": loss_gradient, "progress": progress, **settings}
    results = {n: m if isinstance(m, Result) else analyze(m, inputs, name=n, **given) for n, m in models.items()}
    return combine(results)


def combine(results: Mapping[str, Result]) -> Result:
    """Put results side by side in one document of kind "comparison"."""
    documents = [r.document for r in results.values()]
    shared = {k: v for k, v in documents[0]["config"].items() if all(d["config"].get(k) == v for d in documents)}
    document = comparison_document(documents, list(results), shared)
    runs = [d["run"] for d in documents if "run" in d]
    if runs:
        document["run"] = runs[0] | {"duration_s": sum(r["duration_s"] for r in runs)}
    return Result(document)


def _title(facts: Mapping[str, Any]) -> str:
    size = facts["hidden_size"]
    if facts["cell"] in ("jacobians", "function"):
        return f"own {facts['cell']}, state of {size}"
    loop = ", closed loop" if "readout" in facts else ""
    return f"{str(facts['cell']).upper().replace('_', ' ')}, {size} unit{'s'[: size != 1]}{loop}"


def _keep_gates(cell: Network, open_keeps: int) -> dict[str, str]:
    layers = list(cell.network.layers) if isinstance(cell.network, Stack) else [""]
    return {
        f"{n}.{gate}" if n else gate: gate_names(c.gates).get(gate, gate)
        for n, c in zip(layers, cells_of(cell), strict=False)
        for gate, sign in keep_signs(c.gates).items()
        if sign == open_keeps
    }


def _path_kinds(chain: JacobianChain) -> tuple[bool, bool]:
    """Return whether any of the state goes around recurrent weights in the first step, and whether any crosses such."""
    return bool(chain.at(0).jvp_skip(np.ones((chain.size, chain.batch), chain.dtype)).any()), not chain.diagonal


def _between(cell: Network | JacobianChain) -> dict[str, Any]:
    """Return what is between the layers of a network, as far as something is."""
    network = None if isinstance(cell, JacobianChain) else cell.network
    if isinstance(network, Direction):
        norms, residual = {} if network.norm is None else {"": network.norm}, network.residual
    elif isinstance(network, Stack):
        norms, residual = dict(network.norms), network.residual
    else:
        return {}
    facts: dict[str, Any] = {"residual": True} if residual else {}
    return facts | ({"norm": ", ".join(dict.fromkeys(n.name for n in norms.values()))} if norms else {})


def _kind(cls: type[Cell]) -> str:
    """Return the name that a cell has in the room; of one that is not there, the name of its class."""
    name = cls.__module__.rpartition(".")[2]
    inside = name in plugins.names("cells") and plugins.load("cells", name).__name__ == cls.__module__
    return name if inside else cls.__name__


def _facts(cell: Network | JacobianChain) -> dict[str, Any]:
    """Return the document's `model`, as far as the cell itself tells."""
    sizes = cell.sizes
    cells = [] if isinstance(cell, JacobianChain) else cells_of(cell)
    kind = _kind(type(cells[0])) if cells else "jacobians" if isinstance(cell, JacobianChain) else "function"
    return {
        "source": "python",
        "cell": kind,
        "input_size": 0 if isinstance(cell, JacobianChain) else cell.network.input_size,
        "hidden_size": cells[0].hidden_size if cells else sum(sizes.values()),
        "layers": max(len(cells), 1),
        "state": [{"name": n, "size": k} for n, k in sizes.items()],
        "settings": cells[0].changed_settings() if cells else {},
        "assumptions": [cell.assumption] if isinstance(cell, FunctionCell) else [],
        **_between(cell),
        **({"readout": cell.name} if isinstance(cell, Loop) else {}),
    }
