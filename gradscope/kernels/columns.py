"""J v for several columns of each of B states at once, with as few products as the type of the Jacobian allows."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from gradscope.maps.composition import Composite
from gradscope.maps.jacobian import Array, Dense, Jacobian, Linear


@singledispatch
def jvp_columns(J: Linear, v: Array) -> Array:
    """Return J v for several columns a state, (columns, B * k) -> (rows, B * k): those of the first state first."""
    if J.states == 1:
        return J.jvp(v)
    blocks = np.split(v, J.states, axis=1)
    return np.concatenate([J.column(b).jvp(block) for b, block in enumerate(blocks)], axis=1)


@jvp_columns.register(Jacobian)
def _(J: Jacobian, v: Array) -> Array:
    # every coefficient once for each column of its state: then one product with the weights serves all of them
    each = v.shape[1] // J.states
    return J.at((Ellipsis, np.repeat(np.arange(J.states), each))).jvp(v)


@jvp_columns.register(Composite)
def _(J: Composite, v: Array) -> Array:
    for m in J.maps:
        v = jvp_columns(m, v)
    return v


@jvp_columns.register(Dense)
def _(J: Dense, v: Array) -> Array:
    if J.states == 1:
        return J.jvp(v)
    blocks = v.reshape(len(v), J.states, -1).swapaxes(0, 1)
    return np.asarray((J.matrix @ blocks).swapaxes(0, 1).reshape(J.shape[0], -1))
