"""Numbers and series of the document: units are changed here, names are given here.

Natural logs become log10 for magnitudes and stay nats per step for rates. What is not determined is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradscope.analysis.crossings import Crossings
from gradscope.analysis.depth import LayerGradient
from gradscope.analysis.eigen import Eigenvalues
from gradscope.analysis.finite import NonFinite
from gradscope.analysis.gates import GateStatistics
from gradscope.analysis.gradients import GradientNorms
from gradscope.analysis.lyapunov import LyapunovSpectrum
from gradscope.analysis.paths import Paths
from gradscope.analysis.products import Products
from gradscope.analysis.reach import Reach
from gradscope.analysis.steps import StepSpectra
from gradscope.analysis.timescales import TimeScales
from gradscope.maps.jacobian import Array
from gradscope.networks.interface import Fact

__all__ = ["LN10", "Measured", "median", "metrics", "series", "timesteps"]

EIGENVALUES_KEPT = 1600  # enough to draw the cloud; the spectra of all steps would be most of the file
TIMES_KEPT = 201  # time constants, of all units and sequences
LONGEST_SERIES = 100_000  # entries; beyond, a document would be hundreds of megabytes
NEGLIGIBLE = 1e-6  # of the largest share by crossings: smaller ones at both ends are left out of the document
LN10 = math.log(10.0)
MOST = 709.0  # e^709 is the largest float64

Document = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that was measured of one model. None: was not asked for, or does not apply.

    `last` is the gradient of the last step's loss alone, where other steps have a loss too: `reach` is read from
    it, since a gradient that arrives from everywhere tells nothing of how far it came. `loss_ends` is the last step
    that has a loss, where each may have one. `missing` names the parts that somebody's asking to stop left out.
    """

    norms: GradientNorms
    last: GradientNorms | None
    reach: Reach
    products: Products | None
    growth: LyapunovSpectrum | None
    eigenvalues: Eigenvalues | None
    steps: StepSpectra | None
    paths: Paths | None
    gates: dict[str, GateStatistics]
    nonfinite: tuple[NonFinite, ...]
    crossings: Crossings | None = None
    times: TimeScales | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    layers: tuple[LayerGradient, ...] = ()
    loss_ends: int | None = None
    missing: tuple[str, ...] = ()


def metrics(m: Measured) -> Document:
    """Return the single numbers."""
    gain = m.reach.log_gain / LN10
    spread = float(gain.std(ddof=1)) if len(gain) > 1 and np.isfinite(gain).all() else None
    document: Document = {
        "log10_gain": median(gain),
        "log10_gain_sd": spread,
        "rate": m.reach.rate,
        "rate_ci95": list(m.reach.interval) if m.reach.interval else None,
        "half_life": m.reach.half_life,
        "reach": m.reach.reach,
        "reach_threshold": m.reach.threshold,
        "underflow_lag": m.reach.underflow,
    }
    if m.layers:
        document["layers"] = [_layer(x) for x in m.layers]
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
        document["product_condition"] = _condition(m.products)
        document["surviving_directions"] = _whole(m.products.surviving[-1])
    if m.growth is not None:
        document |= _growth_metrics(m.growth)
    if m.times is not None:
        document["time_constant"] = _times(m.times)
    if m.facts:
        document["of_cell"] = {name: {"value": f.value, "meaning": f.meaning} for name, f in m.facts.items()}
    if m.paths is not None:
        if m.paths.has_around:
            document["around_share"] = _known(m.paths.mean)
        document["gate_share"] = {name: _known(mean) for name, mean in m.paths.gate_mean.items()}
    return document


def _layer(x: LayerGradient) -> Document:
    largest = {"log10_largest": x.log_largest / LN10, "lag_of_largest": x.lag}
    return {"name": x.name, "log10_last": x.log_last / LN10, **largest, "reach": x.reach}


QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


def _times(t: TimeScales) -> Document:
    """Return quantiles over units and sequences: order statistics, since some may be infinite."""
    values = np.sort(t.steps, axis=None)
    at = {name: float(values[round(q * (values.size - 1))]) for name, q in QUANTILES.items()}
    return at | {"near_one_share": t.near_one}


def _times_by_share(t: TimeScales) -> Document:
    """Return the time constants of as many units, evenly chosen from the shortest to the longest, as can be drawn."""
    values = np.sort(t.steps, axis=None)
    share = np.linspace(0, 1, min(values.size, TIMES_KEPT)) if values.size > 1 else np.ones(1)
    return {"share": share.tolist(), "steps": values[np.rint(share * (values.size - 1)).astype(int)].tolist()}


def _four(m: Measured) -> Document:
    """Return four quantities over the whole run of the first sequence that are not the same."""
    assert m.products is not None
    document = {
        "spectral_norm": _log10(median(m.products.log_norm[-1])),
        "spectral_radius": _log10(median(m.products.log_radius[-1])),
    }
    if m.steps is not None:
        with np.errstate(divide="ignore"):
            radii = np.log(m.steps.radius[:, :1])  # of the sequence whose product it is
        document["sum_of_step_radii"] = _log10(_mean_times(radii, m.reach.steps))
        document["sum_of_step_norms"] = _log10(_mean_times(m.steps.log_norm[:, :1], m.reach.steps))
    return document


def _condition(p: Products) -> float | None:
    """Return the largest condition of the product over sequences; None where it is not known."""
    top = float(p.log_condition.max())
    return float(np.exp(top)) if top < MOST else math.inf if top == math.inf or top >= MOST else None


def _whole(values: Array) -> int | None:
    value = median(values)
    return None if value is None else int(value)


def _growth_metrics(g: LyapunovSpectrum) -> Document:
    first, error = float(g.exponents[0]), float(g.standard_errors[0])
    return {
        "lyapunov_1": None if math.isnan(first) else first,
        "lyapunov_1_se": None if math.isnan(error) else error,
        "kaplan_yorke_dimension": g.kaplan_yorke,
        "entropy_rate": g.entropy_rate,
    }


def _growth_series(g: LyapunovSpectrum) -> Document:
    document: Document = {
        "units": "nats/step",
        "exponents": _numbers(g.exponents),
        "standard_errors": _numbers(g.standard_errors),
        "ci95": [None if np.isnan(row).any() else row.tolist() for row in g.interval],
        "errors_over": g.over or None,
        "sequences": len(g.by_sequence),
        "burn_in": g.burn,
        "drifts": g.drift.tolist(),
        "steps": g.steps.tolist(),
        "running": [_numbers(row) for row in g.running],
        "local": [_numbers(row) for row in g.local],
    }
    return document if g.determinant_error is None else document | {"determinant_error": g.determinant_error}


def _numbers(values: Array) -> list[float | None]:
    """Return numbers; None where one is not determined."""
    return [None if math.isnan(x) else float(x) for x in values]


def _mean_times(values: Array, steps: int) -> float | None:
    mean = float(values.mean()) if values.size else math.nan
    return None if math.isnan(mean) else mean * steps


def series(m: Measured) -> Document:
    """Return the numbers by time step, by lag and by gate."""
    at = timesteps(m.reach.steps)
    document: Document = {
        "timestep": at.tolist(),
        "log10_gradient_norm": {name: _band(logs[at] / LN10) for name, logs in m.norms.logs.items()},
    }
    if m.last is not None:
        document["log10_last_step_gradient_norm"] = {"state": _band(m.last.state[at] / LN10)}
    if m.times is not None:
        document["time_constant"] = _times_by_share(m.times)
    if m.steps is not None:
        of = m.steps.timestep.tolist()
        document["step_spectral_radius"] = {"timestep": of} | _spread(m.steps.radius)
        document["step_spectral_norm"] = {"timestep": of} | _spread(np.exp(m.steps.log_norm))
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
        document["reached_from_start"] = {
            "lag": p.lags.tolist(),
            "log10_spectral_norm": _medians(p.log_from_start),
        }
        document["singular"] = {
            "lag": p.lags.tolist(),
            "log10_values": [_medians(p.log_singular[k].T) for k in range(len(p.lags))],
            "surviving_directions": [_whole(row) for row in p.surviving],
        }
    if m.eigenvalues is not None:
        document["product_eigenvalues"] = {
            "log10_values": _numbers(m.eigenvalues.logs / LN10),
            "phases": _numbers(m.eigenvalues.phases),
        }
    if m.growth is not None:
        document["lyapunov"] = _growth_series(m.growth)
    document["gates"] = {name: _gate(s) for name, s in m.gates.items()}
    if m.paths is not None:
        document["paths"] = {
            "around_share": _known_median(m.paths.around_share[at[1:] - 1]),
            "gate_share": {name: _known_median(share[at[1:] - 1]) for name, share in m.paths.gate_share.items()},
        }
        if m.crossings is not None:
            document["paths"]["crossings"] = _crossings(m.crossings)
    return document


def timesteps(steps: int) -> Array:
    """Return the steps that series are given at: all, or of very long runs every so many, and the last."""
    return np.append(np.arange(0, steps, -(-steps // LONGEST_SERIES)), steps)


def _crossings(c: Crossings) -> Document:
    large = np.flatnonzero(np.abs(c.share) >= NEGLIGIBLE * np.abs(c.share).max())
    first, end = int(large[0]), int(large[-1]) + 1
    return {
        "sequence": c.sequence,
        "count": list(range(first, end)),
        "share": c.share[first:end].tolist(),
        "never_share": float(c.share[0]),
        "mean": c.mean,
        "cancellation": c.cancellation,
    }


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
    low, mid, high = _percentiles(values, "linear")
    odd = ~np.isfinite(values).all(axis=-1)
    if odd.any():  # between -inf and a number there is nothing to interpolate
        for row, nearest in zip((low, mid, high), _percentiles(values, "lower"), strict=True):
            row[odd] = nearest[odd]
    return {"median": mid.tolist(), "p05": low.tolist(), "p95": high.tolist()}


def _percentiles(values: Array, method: Literal["linear", "lower"]) -> list[Array]:
    with np.errstate(invalid="ignore"):
        return [np.asarray(np.percentile(values, q, axis=-1, method=method)) for q in (5.0, 50.0, 95.0)]


def _known_median(values: Array) -> list[float | None]:
    known = np.isfinite(values)
    whole = np.asarray(known.all(axis=-1))
    found: list[float | None] = np.median(np.where(whole[:, None], values, 0), axis=-1).tolist()
    for k in np.flatnonzero(~whole):
        row = values[k][known[k]]
        found[k] = float(np.median(row)) if row.size else None
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


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


def median(values: Array) -> float | None:
    """Return the median; None where it is not determined."""
    with np.errstate(invalid="ignore"):
        value = float(np.median(values)) if values.size else math.nan
    return None if math.isnan(value) else value


def _log10(value: float | None) -> float | None:
    return None if value is None else value / LN10
