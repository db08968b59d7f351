"""The Python interface: make or load a cell, analyze it, keep the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gradscope import _rooms
from gradscope.analysis import finite
from gradscope.analysis._loss import given_loss, random_loss
from gradscope.analysis.gates import gate_statistics
from gradscope.analysis.gradients import GradientNorms, gradient_norms
from gradscope.analysis.paths import paths
from gradscope.analysis.products import products
from gradscope.analysis.reach import THRESHOLD, reach
from gradscope.analysis.steps import step_spectra
from gradscope.cells._base import BaseCell
from gradscope.cells._stack import Direction, Stack, cells_of
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.jacobian import Array
from gradscope.report import environment
from gradscope.report.build import analysis_document, comparison_document
from gradscope.report.model import Report
from gradscope.report.numbers import Measured
from gradscope.report.present import from_document

__all__ = ["Result", "analyze", "compare"]

Progress = Callable[[str], None]


class Result:
    """What was found, as a document that can be saved, drawn and read again.

    Attributes:
        document: the JSON document; `gradscope schema` says what each field means.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def verdict(self) -> dict[str, Any]:
        """State, sentence and findings."""
        return dict(self.document["verdict"])

    @property
    def metrics(self) -> dict[str, Any]:
        """Single numbers; rates in nats per step."""
        return dict(self.document["metrics"])

    @property
    def series(self) -> dict[str, Any]:
        """Numbers by time step and by lag; magnitudes as log10."""
        return dict(self.document["series"])

    @property
    def report(self) -> Report:
        """The result as sentences, tables and panels."""
        return from_document(self.document)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return self.document

    def to_json(self) -> str:
        """Return the document as strict JSON with one trailing newline."""
        return str(self.render("json"))

    def render(self, name: str, **options: Any) -> str | bytes:
        """Return the result in a format of the render room ("text", "md", "png", ...).

        Raises:
            UsageError: there is no such format.
        """
        rendered: str | bytes = _rooms.load("render", name).render(self.report, **options)
        return rendered

    def save(self, path: str | Path) -> None:
        """Write the result in the format of the suffix (.json, .png, .svg, .pdf, .csv, .md), replacing what is there.

        Raises:
            UsageError: the suffix is not known.
        """
        path = Path(path)
        content = self.render(path.suffix.lstrip(".").lower() or "json")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def plot(self, path: str | Path) -> None:
        """Write the picture; the suffix decides between png, svg and pdf."""
        self.save(path)

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Read a result that was saved as JSON.

        Raises:
            InputError: the file is not one.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot read a result from {path}: {error}") from error
        from_document(document)  # refuses what it cannot present
        return cls(document)

    def __repr__(self) -> str:
        return str(self.document["verdict"]["sentence"])

    def _repr_markdown_(self) -> str:
        return str(self.render("md"))


def analyze(
    cell: BaseCell | JacobianChain,
    inputs: Array | None = None,
    *,
    loss: str = "last",
    loss_gradient: Array | None = None,
    steps: int = 200,
    batch: int = 8,
    warmup: int | None = None,
    seed: int = 0,
    lags: int = 32,
    spectrum: int = 16,
    step_spectra_of: int | None = None,
    reach_threshold: float = THRESHOLD,
    name: str | None = None,
    model: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    warnings: Sequence[Mapping[str, Any]] = (),
    nonfinite: Sequence[finite.NonFinite] = (),
    progress: Progress | None = None,
) -> Result:
    """Run a cell along its input, linearise every step, and measure how far gradients reach.

    Args:
        cell: a cell, or a `JacobianChain` of your own Jacobians (then there is no input).
        inputs: (B, T, m) or (T, m); None for seeded white noise.
        loss: "last", "mean" or "sum": a random readout of length one of the last h, or of every h.
        loss_gradient: your own dL/dh instead: (H,), (B, H) or (B, T, H).
        steps: measured steps, where there are no inputs.
        batch: sequences, where there are no inputs.
        warmup: steps run before the measured ones; 50 without inputs, 0 with.
        seed: seed of noise and readout.
        lags: at how many lags the Jacobian product is measured; 0 leaves products and spectra out.
        spectrum: how many singular values are kept.
        step_spectra_of: of how many steps spectra are taken; None for as many as are quick.
        reach_threshold: the fraction of the gradient that `reach` asks for.
        name: what the model is called in the sentence.
        model: fields to add to the document's `model`.
        config: settings to note in the document.
        warnings: {code, message} to note in the document.
        nonfinite: records to add, of values that were found before the run.
        progress: called with a word when a part begins.

    Raises:
        InputError: shapes do not fit.
        UsageError: an unknown loss, or a number out of range.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    if not 0 < reach_threshold < 1:
        raise UsageError(f"the reach threshold must lie between 0 and 1, not {reach_threshold:g}")
    bounds = {"steps": (steps, 1), "batch": (batch, 1), "warmup": (warmup or 0, 0), "seed": (seed, 0)}
    for what, (value, least) in (bounds | {"lags": (lags, 0), "spectrum": (spectrum, 1)}).items():
        if value < least:
            raise UsageError(f"{what} must be at least {least}, not {value}")
    tell = progress or (lambda _: None)
    if isinstance(cell, JacobianChain):
        chain, warmup = cell, 0
    else:
        made_up = inputs is None
        warmup = (50 if made_up else 0) if warmup is None else warmup
        if inputs is None:
            width = cell.network_input_size if isinstance(cell, Direction) else cell.input_size
            inputs = drive("noise", batch, steps + warmup, width, seed=seed)
        tell("running the cell")
        chain = linearise(run(cell, inputs, warmup=warmup))
    tell("gradients")
    readout = random_loss(chain, loss, seed) if loss_gradient is None else given_loss(chain, loss_gradient)
    has_around = chain.trajectory is not None and _has_around(chain)
    norms = gradient_norms(chain, readout, keep=has_around and not readout.at_every_step)
    last = gradient_norms(chain, readout.last_only(), keep=has_around) if readout.at_every_step else None
    met = finite.nonfinite(chain.trajectory) if chain.trajectory else []
    records = [*nonfinite, *(r for r in met if r.path != "inputs" or not nonfinite)]
    sound = not records and bool(np.isfinite(chain.at(0).push(np.ones((chain.size, chain.batch)))).all())
    road = products_ = spectra = None
    if has_around and sound:
        tell("roads")
        road = paths(chain, last or norms)
    if lags and sound:
        tell("products")
        products_ = products(chain, lags=lags, values=spectrum)
        tell("spectra of single steps")
        spectra = step_spectra(chain, steps=step_spectra_of)
    gates = gate_statistics(chain.trajectory) if chain.trajectory else {}
    measured = Measured(
        norms=GradientNorms(norms.logs),  # without the cotangents: nothing needs them any more
        last=last and GradientNorms(last.logs),
        reach=reach((last or norms).state, reach_threshold),
        products=products_,
        steps=spectra,
        paths=road,
        gates=gates,
        nonfinite=tuple(records),
    )
    facts = _facts(cell) | dict(model or {})
    settings = {
        "steps": chain.steps,
        "batch": chain.batch,
        "warmup": warmup,
        "loss": readout.name,
        "seed": seed,
        "lags": lags,
    }
    config = dict(config or {}) | settings
    title = name or _title(facts)
    document = analysis_document(
        measured,
        name=f"{title}, {chain.steps} step{'s'[: chain.steps != 1]}, seed {seed}",
        config=config,
        model=facts,
        warnings=[dict(w) for w in warnings],
        keep_gates={} if isinstance(cell, JacobianChain) else _keep_gates(cell),
        advisable=facts["source"] == "init" and config.get("init", "pytorch") == "pytorch" and not facts["settings"],
    )
    document["run"] = environment.describe(started, time.perf_counter() - clock)
    return Result(document)


def compare(models: Mapping[str, BaseCell | Result], inputs: Array | None = None, **options: Any) -> Result:
    """Analyze several cells on the same inputs, side by side.

    Args:
        models: {name: cell or result}; a result is taken as it is.
        inputs: (B, T, m) or (T, m), the same for all cells; None for seeded white noise.
        **options: as for `analyze`.

    Raises:
        UsageError: there are no models.
        InputError: shapes do not fit.
    """
    if not models:
        raise UsageError("there is nothing to compare", "name at least one cell, checkpoint or saved result")
    results = [m if isinstance(m, Result) else analyze(m, inputs, name=n, **options) for n, m in models.items()]
    return combine(dict(zip(models, results, strict=True)), {})


def combine(results: Mapping[str, Result], config: Mapping[str, Any]) -> Result:
    """Put results side by side in one document of kind "comparison"."""
    documents = [r.document for r in results.values()]
    shared = {k: v for k, v in documents[0]["config"].items() if all(d["config"].get(k) == v for d in documents)}
    document = comparison_document(documents, list(results), shared | dict(config))
    runs = [d["run"] for d in documents if "run" in d]
    if runs:
        document["run"] = runs[0] | {"duration_s": sum(r["duration_s"] for r in runs)}
    return Result(document)


def _title(facts: Mapping[str, Any]) -> str:
    size = facts["hidden_size"]
    if facts["cell"] in ("jacobians", "function"):
        return f"own {facts['cell']}, state of {size}"
    return f"{str(facts['cell']).upper()}, {size} unit{'s'[: size != 1]}"


def _has_around(chain: JacobianChain) -> bool:
    """Tell whether any of the gradient can pass around the recurrent weights."""
    probe = np.ones((chain.size, chain.batch), chain.dtype)
    return bool(chain.at(chain.steps - 1).push_around(probe).any())


def _keep_gates(cell: BaseCell) -> dict[str, str]:
    names = list(cell.layers) if isinstance(cell, Stack) else [""]
    return {
        f"{n}.{gate}" if n else gate: c.gate_names[gate]
        for n, c in zip(names, cells_of(cell), strict=False)
        for gate, sign in c.keep_gates.items()
        if sign > 0
    }


def _facts(cell: BaseCell | JacobianChain) -> dict[str, Any]:
    """Return the document's `model`, as far as the cell itself tells."""
    sizes = cell.sizes
    cells = [] if isinstance(cell, JacobianChain) else cells_of(cell)
    kind = (
        type(cells[0]).__module__.rsplit(".", 1)[-1]
        if cells
        else "jacobians"
        if isinstance(cell, JacobianChain)
        else "function"
    )
    return {
        "source": "init" if cells else "python",
        "cell": kind,
        "input_size": 0 if isinstance(cell, JacobianChain) else cell.input_size,
        "hidden_size": cells[0].hidden_size if cells else sum(sizes.values()),
        "layers": max(len(cells), 1),
        "state": [{"name": n, "size": k} for n, k in sizes.items()],
        "settings": cells[0].changed_settings() if cells else {},
        "assumptions": [],
    }
