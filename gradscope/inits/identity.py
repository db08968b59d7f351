"""Identity recurrent weights (IRNN), input weights as PyTorch, no bias; meant for relu."""

from __future__ import annotations

import numpy as np

from gradscope.inits._base import Shape, Weights, uniform, without_bias


def initialise(shape: Shape, rng: np.random.Generator) -> Weights:
    """Fill U with an identity a gate; Le, Jaitly & Hinton (2015)."""
    identity = np.tile(np.eye(shape.hidden, shape.columns), (len(shape.gates), 1))
    return uniform(shape, rng) | without_bias(shape) | {"U": identity}
