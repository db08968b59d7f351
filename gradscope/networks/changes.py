"""Which changes of a cell's weights could bring its gradient nearer to neither growing nor shrinking?

A change is a word and a cell that is made when it is asked for: one changed copy of the weights at a time.
Biases of the gates that keep the state: Jozefowicz, Zaremba & Sutskever (2015); over all time scales of the run:
Tallec & Ollivier (2018). Scale and orthogonality of the recurrent weights: Saxe, McClelland & Ganguli (2014).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from gradscope.maps.jacobian import Array
from gradscope.networks.gate import gate_names, keep_signs
from gradscope.networks.map import Weighted

__all__ = ["usual", "with_added_bias", "with_orthogonal"]

BIASES = (1, 3)  # added to the gate that keeps: sigmoid(0) = 0.5 becomes 0.73 and 0.95
LARGEST = 3.0  # factor on recurrent weights: beyond it units saturate, or the network is another one
ALREADY = 0.9  # share of the mean chrono bias from which a cell forgets as slowly as that; draws of it scatter
C = TypeVar("C", bound=Weighted)


def usual(cell: C, missing_factor: float, steps: int) -> dict[str, Callable[[], C]]:
    """Return the changes that any cell with such gates and weights has; see `Network.changes`."""
    changes: dict[str, Callable[[], C]] = {}
    keeps = keep_signs(cell.gates)
    if missing_factor > 1 and keeps:
        changes |= _biases(cell, steps)
    if cell.U is not None and cell.U.any():
        factors = missing_factor, missing_factor * missing_factor
        for factor in dict.fromkeys(_rounded(min(k, LARGEST)) for k in factors):
            if factor != 1:
                changes[f"recurrent weights times {factor:.5g}"] = partial(cell.with_gain, factor)
        if not keeps and cell.U.shape[1] == cell.width and not _orthogonal(cell):
            changes["orthogonal recurrent weights"] = partial(with_orthogonal, cell)
    return changes


def _rounded(factor: float) -> float:
    """Return a factor that can be typed as it is shown."""
    return float(f"{factor:.3g}" if abs(factor - 1) > 0.1 else f"{factor:.5g}")


def _biases(cell: C, steps: int) -> dict[str, Callable[[], C]]:
    gate, sign = next(iter(keep_signs(cell.gates).items()))
    word = f"{gate_names(cell.gates).get(gate, gate)} bias"
    changes: dict[str, Callable[[], C]] = {
        f"{word} {sign * d:+d}": partial(with_added_bias, cell, gate, sign * d) for d in BIASES
    }
    scales = _time_scales(cell.width, steps)
    if steps > 2 and sign * float(_bias(cell, gate).mean()) < ALREADY * scales.mean():
        changes[f"chrono biases for {steps} steps"] = partial(_with_chrono, cell, scales)
    return changes


def _time_scales(units: int, steps: int) -> Array:
    """Return the biases of units that forget over 1 to `steps` steps: quantiles of log U[1, steps - 1], evenly."""
    return np.log(1 + (steps - 2) * (np.arange(units) + 0.5) / units)


def _with_chrono(cell: C, scales: Array) -> C:
    for gate, sign in keep_signs(cell.gates).items():
        cell = with_added_bias(cell, gate, sign * scales - _bias(cell, gate))
    return cell


def _rows(cell: Weighted, gate: str) -> slice:
    i = list(cell.gates).index(gate) * cell.width
    return slice(i, i + cell.width)


def _bias(cell: Weighted, gate: str) -> Array:
    """Return the sum of a gate's two biases."""
    total = np.zeros(cell.rows, np.result_type(*cell.weights().values()))
    for b in (cell.b_ih, cell.b_hh):
        total = total if b is None else total + b
    return np.asarray(total[_rows(cell, gate)])


def with_added_bias(cell: C, gate: str, value: float | Array) -> C:
    """Return a copy in which the sum of a gate's two biases is larger by `value`, a number or one a unit.

    Added to one of the two: whether a cell has both biases, one or none is a habit of its framework.
    """
    name = "b_hh" if cell.b_ih is None and cell.b_hh is not None else "b_ih"
    old = getattr(cell, name)
    bias = np.zeros(cell.rows, np.result_type(*cell.weights().values())) if old is None else old.copy()
    bias[_rows(cell, gate)] += np.asarray(value, bias.dtype)
    return cell.replace(**{name: bias})


def with_orthogonal(cell: C) -> C:
    """Return a copy whose recurrent weights are, gate by gate, the orthogonal matrix that is nearest to them.

    That is the polar factor: U = L S R^T gives L R^T. Fan & Hoffman (1955).
    """
    assert cell.U is not None
    blocks = []
    for block in np.split(cell.U, len(cell.gates)):
        left, _, right = np.linalg.svd(block)
        blocks.append(left @ right)
    return cell.replace(U=np.concatenate(blocks))


def _orthogonal(cell: Weighted) -> bool:
    assert cell.U is not None
    blocks = cell.U.reshape(len(cell.gates), cell.width, cell.width)
    gap = blocks @ blocks.transpose(0, 2, 1) - np.eye(cell.width, dtype=cell.U.dtype)
    # products of unit rows err by at most width roundings; a matrix that is not orthogonal is off by far more
    return bool(np.abs(gap).max() <= 10 * cell.width * np.finfo(cell.U.dtype).eps)
