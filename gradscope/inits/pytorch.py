"""PyTorch's default: everything, biases too, uniform in +-1/sqrt(hidden)."""

from __future__ import annotations

import numpy as np

from gradscope.inits._base import Shape, Weights, uniform


def initialise(shape: Shape, rng: np.random.Generator) -> Weights:
    """Fill W, U and both biases."""
    return uniform(shape, rng)
