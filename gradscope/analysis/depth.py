"""In which layer does the gradient die?

The output of a layer gets a gradient from later steps, from the layers above it in the same step, and, with residual
connections, from the loss. Its sum, |dL/dh_t| of every layer at every step, is held against what the loss gives the top
layer at the last step: a layer that never gets the fraction `threshold` of that learns next to nothing from this
loss, however far the gradient reaches in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.maps.jacobian import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("gradients",)


@dataclass(frozen=True)
class LayerGradient:
    """What arrives at the output of one layer, relative to the top layer's at the last step; medians over sequences.

    Attributes:
        name: of the layer.
        log_last: natural log of the gradient at the last step; -inf: zero.
        log_largest: the largest of all steps.
        lag: how many steps back that is.
        reach: the largest lag at which it is at least the threshold; None where it never is.
    """

    name: str
    log_last: float
    log_largest: float
    lag: int
    reach: int | None


def depth(logs: Mapping[str, Array], outputs: Mapping[str, str], threshold: float) -> tuple[LayerGradient, ...]:
    """Say what arrives in each layer.

    Args:
        logs: {part: (T + 1, B)}, natural logs of |dL/ds_t| of a loss that reads the last step, and under part_total
            with what goes up within the step.
        outputs: {layer: the part that is its output}, bottom first.
        threshold: the fraction of the top layer's that `reach` asks for.

    Returns:
        one for each layer, bottom first; () where the loss gives the top layer nothing, or something is not finite.
    """
    middle = {}
    for layer, part in outputs.items():
        with np.errstate(invalid="ignore"):
            middle[layer] = np.median(logs.get(f"{part}_total", logs[part]), axis=1)[::-1]  # by lag
    if not middle:
        return ()
    top = list(middle.values())[-1][0]
    if not np.isfinite(top) or any(np.isnan(m).any() or np.isposinf(m).any() for m in middle.values()):
        return ()
    layers = []
    for layer, by_lag in middle.items():
        relative = by_lag - top
        lag = int(np.argmax(relative))
        far = np.flatnonzero(relative >= np.log(threshold))
        reach = int(far[-1]) if far.size else None
        layers.append(LayerGradient(layer, float(relative[0]), float(relative[lag]), lag, reach))
    return tuple(layers)


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are layers."""
    return run.chain.trajectory is not None and bool(run.chain.trajectory.cell.network.layer_outputs)


def measure(run: Run, settings: Settings) -> tuple[LayerGradient, ...] | None:
    """Measure what arrives in each layer; None where that is not determined."""
    assert run.chain.trajectory is not None
    outputs = run.chain.trajectory.cell.network.layer_outputs
    return depth(run.answers["gradients"].followed.logs, outputs, settings.threshold) or None
