"""Keras's default: Glorot uniform input weights, orthogonal recurrent weights, forget bias 1."""

from __future__ import annotations

import numpy as np

from gradscope.inits._base import Shape, Weights, orthogonal


def initialise(shape: Shape, rng: np.random.Generator, *, unit_forget_bias: bool = True) -> Weights:
    """Fill W, U and the bias as keras.layers.LSTM, GRU and SimpleRNN do.

    The recurrent kernel is orthogonal over all gates at once (its gates are not, one by one), and the
    Glorot limit counts the columns of all gates: both as Keras draws them.
    """
    limit = np.sqrt(6 / (shape.inputs + shape.rows))  # Glorot & Bengio (2010)
    b = np.zeros(shape.rows)
    for gate, name in shape.gate_names.items():
        if unit_forget_bias and name == "forget":
            b[shape.block(gate)] = 1  # Jozefowicz, Zaremba & Sutskever (2015)
    return {
        "W": rng.uniform(-limit, limit, (shape.rows, shape.inputs)),
        "U": orthogonal(rng, shape.rows, shape.columns),
        "b_ih": b,
        "b_hh": np.zeros(shape.rows),
    }
