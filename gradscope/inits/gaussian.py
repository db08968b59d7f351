"""Gaussian recurrent weights of variance 1/hidden; `--gain g` makes it g^2/hidden. No bias."""

from __future__ import annotations

import numpy as np

from gradscope.inits._base import Shape, Weights, uniform, without_bias


def initialise(shape: Shape, rng: np.random.Generator) -> Weights:
    """Fill U with N(0, 1/hidden), the scale of Sompolinsky, Crisanti & Sommers (1988)."""
    U = rng.standard_normal((shape.rows, shape.columns)) / np.sqrt(shape.hidden)
    return uniform(shape, rng) | without_bias(shape) | {"U": U}
