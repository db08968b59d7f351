"""Chrono: gate biases drawn so that units forget over 1 to tmax steps; weights as PyTorch."""

from __future__ import annotations

import numpy as np

from gradscope.errors import UsageError
from gradscope.inits._base import Shape, Weights, uniform, without_bias


def initialise(shape: Shape, rng: np.random.Generator, *, tmax: float = 200.0) -> Weights:
    """Draw log U[1, tmax - 1] for the bias of the gate that keeps, its negative for the one that writes.

    The drawn value is the SUM of the two biases that PyTorch has; a port that sets both gets tmax^2.
    Tallec & Ollivier (2018).

    Args:
        shape: what to fill.
        rng: source of randomness.
        tmax: longest time scale, in steps.

    Raises:
        UsageError: the cell has no gate that keeps its state, or tmax is not above 2.
    """
    if not shape.keep_gates:
        raise UsageError(f"chrono needs a gate that keeps the state; {shape.cell} has none", "use lstm or gru")
    if not tmax > 2:
        raise UsageError(f"tmax must be above 2 steps, not {tmax:g}")
    weights = uniform(shape, rng) | without_bias(shape)
    drawn = np.log(rng.uniform(1, tmax - 1, shape.hidden))
    for gate, sign in shape.keep_gates.items():
        weights["b_ih"][shape.block(gate)] = sign * drawn
    return weights
