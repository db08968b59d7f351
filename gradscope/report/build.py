"""From analysis values to the JSON document, and nothing else: units are changed here, names are given here.

Natural logs become log10 for magnitudes and stay nats per step for rates. A number that is not finite becomes
null, with a record of where and what it was; one that is not determined becomes null.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gradscope import __version__
from gradscope.analysis.finite import NonFinite
from gradscope.analysis.gates import GateStatistics
from gradscope.analysis.gradients import GradientNorms
from gradscope.analysis.paths import Paths
from gradscope.analysis.products import Products
from gradscope.analysis.reach import Reach
from gradscope.analysis.steps import StepSpectra
from gradscope.jacobian import Array
from gradscope.report.verdict import LN10, Evidence, Verdict, judge

__all__ = ["SCHEMA_VERSION", "Measured", "analysis_document", "comparison_document", "envelope"]

SCHEMA_VERSION = "1.0"
EIGENVALUES_KEPT = 1600  # enough to draw the cloud; the spectra of all steps would be most of the file

Document = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that was measured of one model. None: was not asked for, or does not apply.

    `last` is the gradient of the last step's loss alone, where other steps have a loss too: `reach` is read from
    it, since a gradient that arrives from everywhere tells nothing of how far it came.
    """

    norms: GradientNorms
    last: GradientNorms | None
    reach: Reach
    products: Products | None
    steps: StepSpectra | None
    paths: Paths | None
    gates: dict[str, GateStatistics]
    nonfinite: tuple[NonFinite, ...]


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
    advisable: bool,
) -> Document:
    """Build the document of kind "analysis"; see `gradscope schema` for what each field means."""
    verdict = judge(_evidence(measured, name, model, keep_gates, advisable))
    document = envelope("analysis", config) | {
        "model": model,
        "verdict": _verdict(verdict),
        "metrics": _metrics(measured),
        "series": _series(measured),
        "warnings": warnings,
    }
    records = [_record(r) for r in measured.nonfinite]
    cleaned: Document = strict(document, "", records)
    return cleaned | {"nonfinite": records}


def comparison_document(results: list[Document], names: list[str], config: Document) -> Document:
    """Build the document of kind "comparison" from documents of kind "analysis"."""
    order = sorted(range(len(results)), key=lambda i: -_reached(results[i]))
    parts: list[str] = []
    for i in order:
        whole = _reached(results[i]) >= _steps(results[i])
        far = f"all {_steps(results[i])}" if whole else f"{_reached(results[i])}"
        parts.append(f"{names[i]} {far}" if parts else f"{names[i]} reaches {far} steps back")
    bars = {r["metrics"]["reach_threshold"] for r in results}
    bar = f"{bars.pop():g}" if len(bars) == 1 else "its threshold"
    lengths = {_steps(r) for r in results}
    seed = {r["config"].get("seed") for r in results}
    facts = [f"{lengths.pop()} steps"] if len(lengths) == 1 else []
    facts += [f"seed {seed.pop()}"] if len(seed) == 1 else []
    tail = f" ({', '.join(facts)})" if facts else ""
    sentence = f"REACH: {', '.join(parts)}, with at least {bar} of the gradient left{tail}"
    return envelope("comparison", config) | {
        "verdict": {"sentence": sentence, "order": [names[i] for i in order]},
        "results": [
            {"name": n} | {k: v for k, v in r.items() if k != "run"} for n, r in zip(names, results, strict=True)
        ],
        "warnings": [],
    }


def _reached(result: Document) -> int:
    reach = result["metrics"]["reach"]
    return reach if isinstance(reach, int) else 0


def _steps(result: Document) -> int:
    return len(result["series"]["timestep"]) - 1


def _verdict(verdict: Verdict) -> Document:
    findings = [dataclasses.asdict(f) for f in verdict.findings]
    return {"state": verdict.state, "sentence": verdict.sentence, "findings": findings}


def _evidence(m: Measured, name: str, model: Document, keep_gates: dict[str, str], advisable: bool) -> Evidence:
    logs = (m.last or m.norms).state[::-1]  # by lag
    with np.errstate(invalid="ignore"):
        median = np.median(logs, axis=1)
    zero = np.flatnonzero(np.isneginf(median))
    finite = bool(np.isfinite(median).all())
    gain = _median(m.reach.log_gain)
    top = int(np.argmax(median)) if finite else 0
    share = m.paths.mean if m.paths else math.nan
    radius = _median(m.steps.radius.ravel()) if m.steps else None
    return Evidence(
        name=name,
        steps=m.reach.steps,
        log10_gain=None if gain is None else gain / LN10,
        rate=m.reach.rate,
        interval=m.reach.interval,
        half_life=m.reach.half_life,
        reach=m.reach.reach,
        threshold=m.reach.threshold,
        zero_from=int(zero[0]) if zero.size and not m.nonfinite else None,
        peak=(top, float(median[top] - median[0]) / LN10) if finite and top else None,
        underflow=m.reach.underflow,
        nonfinite=tuple(_place(r) for r in m.nonfinite),
        gates={g: (s.low_share, s.high_share, s.never_active) for g, s in m.gates.items()},
        around_share=None if math.isnan(share) else share,
        step_radius=radius,
        cell=str(model["cell"]),
        keep_gates=keep_gates,
        advisable=advisable,
        everywhere=m.last is not None,
    )


AXES = {
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


def _median(values: Array) -> float | None:
    with np.errstate(invalid="ignore"):
        value = float(np.median(values)) if values.size else math.nan
    return None if math.isnan(value) else value


def _log10(value: float | None) -> float | None:
    return None if value is None else value / LN10


def _metrics(m: Measured) -> Document:
    gain = m.reach.log_gain / LN10
    spread = float(gain.std(ddof=1)) if len(gain) > 1 and np.isfinite(gain).all() else None
    document: Document = {
        "log10_gain": _median(gain),
        "log10_gain_sd": spread,
        "rate": m.reach.rate,
        "rate_ci95": list(m.reach.interval) if m.reach.interval else None,
        "half_life": m.reach.half_life,
        "reach": m.reach.reach,
        "reach_threshold": m.reach.threshold,
        "underflow_lag": m.reach.underflow,
    }
    if m.steps is not None:
        radius = m.steps.radius[np.isfinite(m.steps.radius)]
        known = radius.size > 0
        document["step_spectral_radius"] = {
            "median": float(np.median(radius)) if known else None,
            "min": float(radius.min()) if known else None,
            "max": float(radius.max()) if known else None,
        }
    if m.products is not None:
        document["log10_product"] = _four(m)
    if m.paths is not None:
        document["around_share"] = None if math.isnan(m.paths.mean) else m.paths.mean
    return document


def _four(m: Measured) -> Document:
    """Return four quantities over the whole run that are not the same; the norm decides."""
    assert m.products is not None
    document = {
        "spectral_norm": _log10(_median(m.products.log_norm[-1])),
        "spectral_radius": _log10(_median(m.products.log_radius[-1])),
    }
    if m.steps is not None:
        with np.errstate(divide="ignore"):
            radii = np.log(m.steps.radius)
        document["sum_of_step_radii"] = _log10(_mean_times(radii, m.reach.steps))
        document["sum_of_step_norms"] = _log10(_mean_times(m.steps.log_norm, m.reach.steps))
    return document


def _mean_times(values: Array, steps: int) -> float | None:
    mean = float(values.mean()) if values.size else math.nan
    return None if math.isnan(mean) else mean * steps


def _series(m: Measured) -> Document:
    steps = m.reach.steps
    document: Document = {
        "timestep": list(range(steps + 1)),
        "log10_gradient_norm": {name: _band(logs / LN10) for name, logs in m.norms.logs.items()},
    }
    if m.last is not None:
        document["log10_last_step_gradient_norm"] = {"state": _band(m.last.state / LN10)}
    if m.steps is not None:
        at = m.steps.timestep.tolist()
        document["step_spectral_radius"] = {"timestep": at} | _spread(m.steps.radius)
        document["step_spectral_norm"] = {"timestep": at} | _spread(np.exp(m.steps.log_norm))
        document["eigenvalues"] = _cloud(m.steps)
    if m.products is not None:
        p = m.products
        document["product"] = {
            "lag": p.lags.tolist(),
            "sequences": int(p.log_norm.shape[1]),
            "log10_spectral_norm": _medians(p.log_norm),
            "log10_frobenius_norm": _medians(p.log_frobenius),
            "log10_spectral_radius": _medians(p.log_radius),
        }
        values = [_medians(p.log_singular[k].T) for k in range(len(p.lags))]
        document["singular"] = {"lag": p.lags.tolist(), "log10_values": values, "log10_floor": math.log10(p.floor)}
    document["gates"] = {name: _gate(s) for name, s in m.gates.items()}
    if m.paths is not None:
        share = m.paths.around_share
        document["paths"] = {"around_share": [None if math.isnan(x) else x for x in _nanmedian(share)]}
    return document


def _gate(s: GateStatistics) -> Document:
    document: Document = {
        "mean": s.mean,
        "low_share": s.low_share,
        "high_share": s.high_share,
        "histogram": s.histogram.tolist(),
        "edges": s.edges.tolist(),
    }
    return document if s.never_active is None else document | {"never_active": s.never_active}


def _band(log10: Array) -> Document:
    """Return median, 5-95 % band, and log10 of the mean square, over sequences."""
    top = log10.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        square = np.log10((10 ** (2 * (log10 - top))).mean(axis=1)) + 2 * top[:, 0]
    return _spread(log10) | {"mean_square": square.tolist()}


def _spread(values: Array) -> Document:
    """Return the median and the 5-95 % band over the last axis."""
    # between -inf and a number there is nothing to interpolate
    method: Literal["linear", "lower"] = "linear" if np.isfinite(values).all() else "lower"
    with np.errstate(invalid="ignore"):
        low, mid, high = (np.percentile(values, q, axis=-1, method=method) for q in (5.0, 50.0, 95.0))
    return {"median": mid.tolist(), "p05": low.tolist(), "p95": high.tolist()}


def _nanmedian(values: Array) -> list[float]:
    known = [row[np.isfinite(row)] for row in values]
    return [float(np.median(row)) if row.size else math.nan for row in known]


def _medians(rows: Array) -> list[float | None]:
    """Return the median over sequences in log10; None where it is not determined for any of them."""
    out: list[float | None] = []
    for row in rows:
        known = row[~np.isnan(row)]
        out.append(float(np.median(known)) / LN10 if known.size == row.size and row.size else None)
    return out


def _cloud(steps: StepSpectra) -> Document:
    """Return eigenvalues of evenly spaced steps of the first sequence, few enough to draw."""
    finite = np.flatnonzero(np.isfinite(steps.radius[:, 0]))
    n = steps.eigenvalues.shape[-1]
    room = max(1, EIGENVALUES_KEPT // n)
    rows = finite if len(finite) <= room else finite[np.linspace(0, len(finite) - 1, room).round().astype(int)]
    values = steps.eigenvalues[rows, 0]
    inside = np.abs(steps.eigenvalues[finite, 0])
    return {
        "timestep": steps.timestep[rows].tolist(),
        "real": [[float(f"{x:.6g}") for x in row] for row in values.real],
        "imag": [[float(f"{x:.6g}") for x in row] for row in values.imag],
        "outside_share": float((inside > 1).mean()) if inside.size else None,
    }


def _record(r: NonFinite) -> Document:
    return {"path": r.path, "kind": r.kind, "count": r.count, "first": list(r.first)}


def strict(value: Any, path: str, records: list[Document]) -> Any:
    """Replace numbers that are not finite by None, and note them: one record for an array and a kind."""
    if isinstance(value, dict):
        return {k: strict(v, f"{path}.{k}" if path else k, records) for k, v in value.items()}
    if isinstance(value, list):
        cleaned = [strict(v, f"{path}[{i}]", records) if isinstance(v, dict | list) else v for i, v in enumerate(value)]
        return _strict_numbers(cleaned, path, records)
    return _strict_numbers([value], path, records)[0]


def _strict_numbers(values: list[Any], path: str, records: list[Document]) -> list[Any]:
    bad = [(i, repr(v)) for i, v in enumerate(values) if isinstance(v, float) and not math.isfinite(v)]
    for kind in dict.fromkeys(k for _, k in bad):
        at = [i for i, k in bad if k == kind]
        records.append({"path": path, "kind": kind, "count": len(at), "first": [at[0]]})
    lost = {i for i, _ in bad}
    return [None if i in lost else v for i, v in enumerate(values)]
