"""Reservoir: sparse recurrent weights, scaled to a spectral radius."""

from __future__ import annotations

import numpy as np

from gradscope.errors import UsageError
from gradscope.inits._base import Shape, Weights, without_bias


def initialise(
    shape: Shape, rng: np.random.Generator, *, radius: float = 0.9, density: float = 0.1, input_gain: float = 1.0
) -> Weights:
    """Draw U from U(-1, 1) where it is not zero, gate by gate with that radius; W from U(-1, 1); no biases.

    Jaeger (2001). A radius below one neither guarantees echo states nor is it needed for them, once there is input.

    Args:
        shape: what to fill.
        rng: source of randomness.
        radius: spectral radius of each gate's recurrent weights.
        density: share of them that are not zero; at least one a row.
        input_gain: factor on the input weights.

    Raises:
        UsageError: a radius below 0, or a density that is not in (0, 1].
    """
    if not radius >= 0:
        raise UsageError(f"radius must be at least 0, not {radius:g}")
    if not 0 < density <= 1:
        raise UsageError(f"density must be above 0 and at most 1, not {density:g}")
    blocks = []
    for _ in shape.gates if shape.columns else ():
        there = rng.uniform(size=(shape.hidden, shape.hidden)) < density
        there[np.arange(shape.hidden), rng.permutation(shape.hidden)] = True  # a cycle cover: never nilpotent
        block = rng.uniform(-1, 1, there.shape) * there
        blocks.append(block * (radius / np.abs(np.linalg.eigvals(block)).max()))
    W = input_gain * rng.uniform(-1, 1, (shape.rows, shape.inputs))
    return {"W": W, "U": np.concatenate(blocks) if blocks else np.empty((shape.rows, 0))} | without_bias(shape)
