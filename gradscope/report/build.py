"""From analysis values to the JSON document: verdict, metrics, series, and what is not finite."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import Any

import numpy as np

from gradscope._version import __version__
from gradscope.analysis.finite import NonFinite
from gradscope.report.numbers import LN10, Measured, median, metrics, series
from gradscope.report.remedy import Remedy, told
from gradscope.report.strict import strict
from gradscope.report.trust import trust
from gradscope.report.verdict import Evidence, Verdict, judge

__all__ = ["SCHEMA_VERSION", "analysis_document", "comparison_document", "envelope", "state_of"]

SCHEMA_VERSION = "1.0"
PIPED = "standard input"  # the path of a model that came through a pipe
WITHOUT_WEIGHTS = ("jacobians", "function")  # kinds of model of which no change is known
NAMED = 5  # models that the sentence of a comparison names

Document = dict[str, Any]


def envelope(kind: str, config: Document) -> Document:
    """Return what every document begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "tool": {"name": "gradscope", "version": __version__},
        "config": config,
    }


def analysis_document(
    measured: Measured,
    *,
    name: str,
    config: Document,
    model: Document,
    warnings: list[Document],
    keep_gates: dict[str, str],
    sampled: bool,
    advisable: bool,
    forget_gates: dict[str, str] | None = None,
    roads: tuple[bool, bool] | None = None,
    remedies: tuple[Remedy, ...] | None = None,
) -> Document:
    """Build the document of kind "analysis"; see `gradscope schema` for what each field means."""
    evidence = _evidence(measured, name, model, config, keep_gates, sampled=sampled, advisable=advisable)
    verdict = judge(dataclasses.replace(evidence, forget_gates=forget_gates or {}, roads=roads))
    if verdict.state != "nonfinite":
        warmup = None if model["cell"] == "jacobians" else int(config.get("warmup", 0))
        checked = trust(measured.growth, measured.products, str(config.get("dtype", "float64")), warmup)
        known = {f.code for f in verdict.findings} & {"GS-TRANSIENT"}
        verdict = dataclasses.replace(
            verdict, findings=(*verdict.findings, *(f for f in checked if f.code not in known))
        )
    if remedies is not None:
        verdict = told(verdict, evidence, remedies, "lead-in" if "readout" in model else "inputs")
    document = envelope("analysis", config) | {
        "model": model,
        "verdict": _verdict(verdict),
        "metrics": metrics(measured),
        "series": series(measured),
        "warnings": warnings,
    }
    if remedies is not None:
        document["remedies"] = [_remedy(r) for r in remedies]
    records = [_record(r) for r in measured.nonfinite]
    cleaned: Document = strict(document, "", records)
    return cleaned | {"nonfinite": records}


def state_of(measured: Measured) -> str:
    """Return the verdict's state alone: it depends on nothing but what was measured."""
    model = {"source": "python", "cell": "", "hidden_size": 0}
    return judge(_evidence(measured, "", model, {}, {}, sampled=False, advisable=False)).state


def comparison_document(results: list[Document], names: list[str], config: Document) -> Document:
    """Build the document of kind "comparison" from documents of kind "analysis"."""
    order = sorted(range(len(results)), key=lambda i: -_reached(results[i]))
    parts = [f"{_far(results[i])} in {names[i]}" for i in order[:NAMED]]
    if len(order) > NAMED:
        parts.append(f"no further in {len(order) - NAMED} more")
    bars = {r["metrics"]["reach_threshold"] for r in results}
    bar = f"{bars.pop():g}" if len(bars) == 1 else "its threshold"
    lengths = {_steps(r) for r in results}
    seed = {r["config"].get("seed") for r in results}
    facts = [f"{lengths.pop()} steps"] if len(lengths) == 1 else []
    facts += [f"seed {seed.pop()}"] if len(seed) == 1 else []
    tail = f" ({', '.join(facts)})" if facts else ""
    sentence = f"REACH: at least {bar} of the gradient gets back {', '.join(parts)}{tail}"
    return envelope("comparison", config) | {
        "verdict": {"sentence": sentence, "order": [names[i] for i in order]},
        "results": [
            {"name": n} | {k: v for k, v in r.items() if k != "run"} for n, r in zip(names, results, strict=True)
        ],
        "warnings": _unlike(results),
    }


def _far(result: Document) -> str:
    reached = _reached(result)
    plural = "step" if reached == 1 else "steps"
    return f"all {reached} {plural}" if reached == _steps(result) else f"{reached} {plural}"


def _unlike(results: list[Document]) -> list[Document]:
    """Warn where the models were not run alike."""
    apart = []
    for key in ("steps", "batch", "warmup", "data", "drive", "input_scale", "loss", "seed", "threshold", "dtype"):
        values = list(dict.fromkeys(str(r["config"].get(key, "none")) for r in results))
        apart += [f"{key} {' and '.join(values)}"] if len(values) > 1 else []
    # a direction of a bidirectional network sees what its layer does, not what the network is given
    directed = [any(w["code"] == "GS-DIRECTIONS" for w in r["warnings"]) for r in results]
    given = [r for r, one in zip(results, directed, strict=True) if not (one or r["config"].get("data"))]
    inputs = list(dict.fromkeys(str(r["model"]["input_size"]) for r in given))
    apart += [f"inputs {' and '.join(inputs)}"] if len(inputs) > 1 else []
    if not apart:
        return []
    text = f"The models were not run alike: {'; '.join(apart)}."
    return [{"code": "GS-UNLIKE", "message": text, "where": "config"}]


def _reached(result: Document) -> int:
    reach = result["metrics"]["reach"]
    return reach if isinstance(reach, int) else 0


def _steps(result: Document) -> int:
    return int(result["series"]["timestep"][-1])


def _verdict(verdict: Verdict) -> Document:
    findings = [dataclasses.asdict(f) for f in verdict.findings]
    return {"state": verdict.state, "sentence": verdict.sentence, "findings": findings}


def _remedy(r: Remedy) -> Document:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(r).items()}


def _evidence(
    m: Measured,
    name: str,
    model: Document,
    config: Document,
    keep_gates: dict[str, str],
    *,
    sampled: bool,
    advisable: bool,
) -> Evidence:
    logs = (m.last or m.norms).state[::-1]  # by lag
    with np.errstate(invalid="ignore"):
        middle = np.median(logs, axis=1)
    zero = np.flatnonzero(np.isneginf(logs).mean(axis=1) > 0.5)  # in most sequences
    zero_from = 0 if np.isneginf(logs[0]).any() else int(zero[0]) if zero.size else None
    finite = bool(np.isfinite(middle).all())
    gain = median(m.reach.log_gain)
    top = int(np.argmax(middle)) if finite else 0
    share = m.paths.mean if m.paths else math.nan
    radius = median(m.steps.radius.ravel()) if m.steps else None
    return Evidence(
        name=name,
        steps=m.reach.steps,
        log10_gain=None if gain is None else gain / LN10,
        rate=m.reach.rate,
        interval=m.reach.interval,
        half_life=m.reach.half_life,
        reach=m.reach.reach,
        threshold=m.reach.threshold,
        zero_from=None if m.nonfinite else zero_from,
        peak=(top, float(middle[top] - middle[0]) / LN10) if finite and top else None,
        underflow=m.reach.underflow,
        nonfinite=tuple(_place(r) for r in m.nonfinite),
        gates={g: (s.low_share, s.high_share, s.never_active) for g, s in m.gates.items()},
        around_share=None if math.isnan(share) else share,
        near_one=m.times.near_one if m.times else None,
        layers={x.name: x.reach for x in m.layers},
        cancellation=m.crossings.cancellation if m.crossings else None,
        step_radius=radius,
        cell=_target(model) if model["source"] == "init" else str(model["cell"]),
        keep_gates=keep_gates,
        hidden=int(model["hidden_size"]),
        target=_target(model),
        options=_options(model, config),
        sampled=sampled,
        advisable=advisable,
        everywhere=m.last is not None,
        loss_ends=m.loss_ends,
        measurable=not config.get("remedies") and not _is_function(model),
    )


def _is_function(model: Document) -> bool:
    """Tell whether no change of the model is known, since it has no weights that are known."""
    return model["cell"] in WITHOUT_WEIGHTS or (model["source"] == "python" and "path" in model)


def _target(model: Document) -> str:
    """Return what `gradscope compare` calls the model; "" where it cannot be named there again."""
    if model["source"] == "init":
        own = "path" in model  # a cell class of a file
        return shlex.quote(f"{model['path']}:{model['cell']}") if own else str(model["cell"])
    named = model["source"] == "checkpoint" and model["path"] != PIPED
    return shlex.quote(str(model["path"])) if named else ""


def _options(model: Document, config: Document) -> str:
    """Return what else that command needs. Names come from files: quoted, they are words to any shell."""
    given = {"--layer": model.get("layer") if model["source"] == "checkpoint" else None, "--data": config.get("data")}
    if config.get("drive", "noise") != "noise":
        given |= {"--drive": config["drive"], "--readout": config.get("readout")}
    given |= {f"--{key.replace('_', '-')}": config.get(key) for key in ALSO if config.get(key) != ALSO[key]}
    if model["source"] == "init" and not config.get("data") and model["input_size"] != USUAL_INPUTS:
        given["--input-size"] = model["input_size"]
    if model["source"] == "init":
        given |= {"--layers": config.get("layers", 1) > 1 and config["layers"], "--norm": config.get("norm")}
        given |= {"--residual": config.get("residual")}
    if config.get("data"):
        given = {key: value for key, value in given.items() if key not in ("--steps", "--batch", "--warmup")}
    flags = {option: "" if value is True else f" {shlex.quote(str(value))}" for option, value in given.items() if value}
    return "".join(f" {option}{value}" for option, value in flags.items())


# Settings that a command takes unasked; what differs has to be said again.
ALSO = {"steps": 200, "batch": 8, "warmup": 50, "seed": 0, "input_scale": 1.0, "dtype": "float64"}
USUAL_INPUTS = 32
AXES = {
    "jacobians": ("step",),
    "data": ("sequence", "step", "column"),
    "inputs": ("step", "input", "sequence"),
    "states": ("step", "unit", "sequence"),
}


def _place(r: NonFinite) -> str:
    """Say where values stop being finite; counting begins at 0, as in arrays."""
    axes = AXES.get(r.path)
    where = ", ".join(f"{a} {i}" for a, i in zip(axes, r.first, strict=True)) if axes else f"at {list(r.first)}"
    plural = "value is" if r.count == 1 else "values are"
    return f"{r.count} {plural} {r.kind} in {r.path.removeprefix('model.')}, first {where}"


def _record(r: NonFinite) -> Document:
    return {"path": r.path, "kind": r.kind, "count": r.count, "first": list(r.first)}
