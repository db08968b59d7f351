"""What panels and tables of several sections read from a document, as plain numbers."""

from __future__ import annotations

import math
from typing import Any

from gradscope.numerics.formats import LARGEST_FINITE, ROUNDS_TO_ZERO
from gradscope.report.model import Level, Mark

STYLES = ("solid", "dashed", "dotted", "dashdot")

Document = dict[str, Any]


def back(values: list[Any]) -> list[Any]:
    """Return values by time step in the order in which the gradient goes: by lag."""
    return list(reversed(values))


def lags(document: Document) -> list[int]:
    """Return how many steps before the last one each entry of a series is, the last one first."""
    timestep = document["series"]["timestep"]
    return [timestep[-1] - t for t in reversed(timestep)]


def followed(document: Document) -> Document:
    """Return the gradient that reach is read from: that of the last step's loss."""
    series = document["series"]
    band: Document = series.get("log10_last_step_gradient_norm", series["log10_gradient_norm"])["state"]
    return band


def relative(band: Document) -> tuple[list[Any], list[Any], list[Any]]:
    """Return (median, p05, p95) by lag, relative to the median at lag 0."""
    start = band["median"][-1] or 0.0
    rows = ([None if x is None else x - start for x in back(band[k])] for k in ("median", "p05", "p95"))
    y, low, high = rows
    return y, low, high


def format_limits() -> tuple[Level, ...]:
    """Return the norms below which number formats have nothing left, and those above which they overflow."""
    below = tuple(Level(bits * math.log10(2), f"{name} underflows") for name, bits in ROUNDS_TO_ZERO.items())
    # bfloat16 and float32 have nearly the same largest number: one line
    above = {"float16": "float16 overflows", "float32": "float32 and bfloat16 overflow"}
    return below + tuple(Level(math.log10(LARGEST_FINITE[name]), label) for name, label in above.items())


def horizon(document: Document) -> tuple[Mark, ...]:
    """Return the number of steps beyond which single trajectories are not reproducible, where there is one."""
    steps = document["metrics"].get("predictability_horizon")
    return () if steps is None else (Mark(steps, "predictability horizon"),)


def kinds(document: Document, path: str) -> set[str]:
    """Return what the missing numbers of an array are: "-inf", "inf", "nan"."""
    return {r["kind"] for r in document["nonfinite"] if r["path"] == path}


def layer_outputs(document: Document) -> list[str]:
    """Return the series of every layer's output: with what goes up within the same step, where that is there."""
    layers: dict[str, str] = {}
    for part in document["model"]["state"]:
        layer, _, name = part["name"].rpartition(".")
        if layer and layer not in layers:
            layers[layer] = f"{layer}.{name}"
    series = document["series"]["log10_gradient_norm"]
    return [f"{n}_total" if f"{n}_total" in series else n for n in layers.values()]
