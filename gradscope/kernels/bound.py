"""How large can the sums of |entries| of a Jacobian be?  Bounds for whole blocks of steps, without looking at each."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from gradscope.maps.composition import Composite
from gradscope.maps.grid import absent
from gradscope.maps.jacobian import Dense, Jacobian, Linear


@singledispatch
def sum_bound(block: Linear) -> float:
    """Return what no sum of |entries| of a row or column of any step exceeds; inf or nan where no bound is known."""
    return np.inf


@sum_bound.register(Composite)
def _(block: Composite) -> float:
    return float(np.prod([sum_bound(m) for m in block.maps]))


@sum_bound.register(Dense)
def _(block: Dense) -> float:
    return float(np.abs(block.matrix).max(initial=0.0)) * max(block.shape)


@sum_bound.register(Jacobian)
def _(block: Jacobian) -> float:
    # through . U: the largest coefficient of a gate times the largest sum of |weights| of its rows or columns
    gates = len(block.through[0])
    of_weights = [0.0] * gates
    if block.U is not None:
        for gate, weights in enumerate(np.abs(block.U).reshape(gates, -1, block.U.shape[1])):
            of_weights[gate] = max(float(weights.sum(axis=0).max()), float(weights.sum(axis=1).max()))
    total = 0.0
    for grid, sizes in ((block.through, of_weights), (block.around, [1.0] * len(block.old))):
        for row in grid:
            # max and -min, not max |e|: that would make an array of the size of the block
            total += sum(
                max(float(np.max(e)), -float(np.min(e))) * size
                for e, size in zip(row, sizes, strict=True)
                if not absent(e)
            )
    return total
