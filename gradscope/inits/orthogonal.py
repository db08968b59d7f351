"""Orthogonal recurrent weights, gate by gate; input weights as PyTorch, no bias."""

from __future__ import annotations

import numpy as np

from gradscope.inits._base import Shape, Weights, orthogonal, uniform, without_bias


def initialise(shape: Shape, rng: np.random.Generator) -> Weights:
    """Fill U with one orthogonal matrix a gate; Saxe, McClelland & Ganguli (2014)."""
    blocks = [orthogonal(rng, shape.hidden, shape.columns) for _ in shape.gates]
    return uniform(shape, rng) | without_bias(shape) | {"U": np.concatenate(blocks)}
