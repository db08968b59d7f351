"""Does a cell keep the contract of its room? The cell's step is the truth that its Jacobian is compared with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from gradscope.checking import contract, jacobian
from gradscope.checking.declarations import drawn_arrays
from gradscope.checking.derivative import SEQUENCES, point, require
from gradscope.checking.formulas import Derivative, compare_partials
from gradscope.checking.function import Fact, check_function, facts_of
from gradscope.checking.user_file import load
from gradscope.errors import UsageError
from gradscope.networks.cell import Cell, MapsCell
from gradscope.networks.function import FunctionCell
from gradscope.networks.instantiate import instantiate
from gradscope.networks.map import Map
from gradscope.networks.network import Network

__all__ = ["Derivative", "Fact", "check_cell", "derivatives", "load_cell_file"]

HIDDEN, INPUTS = 5, 3


@np.errstate(all="ignore")  # nonfinite numbers are found by the checks
def check_cell(cell: type[Cell] | Network, *, seed: int = 0) -> None:
    """Check that a cell's Jacobian is the derivative of its step, and that the cell keeps the rules of the room.

    A class is checked with its default settings and small random weights; an instance as it is. A cell whose
    `kinks` is true (relu) is compared with central differences away from its kinks, any other with the
    complex step. The Jacobian of a step function that was declared a surrogate is compared with nothing.

    Args:
        cell: a cell class, or a cell.
        seed: seed of the weights, inputs and states.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    network, rng = _instance(cell, seed), np.random.default_rng([seed, 3])
    if isinstance(network, FunctionCell):
        x, s = (rng.standard_normal((size, SEQUENCES)) for size in (network.input_size, network.state_size))
        check_function(network)
    else:
        x, s = point(network, rng)
    for rule in contract.BEFORE_DERIVATIVES:
        rule(network, x, s)
    for check in jacobian.CHECKS:
        check(network, x, s, rng)
    for row in derivatives(network, seed=seed):
        require(row.right, network, row.sentence)
    for rule in contract.AFTER_DERIVATIVES:
        rule(network, x, s)


@np.errstate(all="ignore")
def derivatives(cell: type[Cell] | Network, *, seed: int = 0) -> list[Derivative] | list[Fact]:
    """Return which derivatives of a cell are right, which are wrong, and by how much.

    Args:
        cell: a cell class, a cell, or what `from_step` makes of a function.
        seed: seed of the weights, inputs and states.

    Returns:
        every derivative that a cell states, by new part, path and gate or old part; of a step function, facts about
        the function. Of stacks nothing, look at their layers, nor of cells whose Jacobian is a dense matrix.

    Raises:
        AssertionError: there is no point to look at, or `partials` names what is not there.
    """
    network = _instance(cell, seed)
    if isinstance(network, FunctionCell):
        return facts_of(network, seed=seed)
    if not isinstance(network, MapsCell) or any(type(m).partials is Map.partials for m in network.maps):
        return []
    return compare_partials(network, *point(network, np.random.default_rng([seed, 3])))


def load_cell_file(path: str | Path, name: str | None = None) -> type[Cell]:
    """Run a Python file and return the cell class in it.

    Args:
        path: the file.
        name: which class, where the file defines several.

    Raises:
        InputError: the file cannot be read, or fails when it is run.
        UsageError: it holds no such cell.
    """
    user_file = load(path, name)
    if user_file.cell_class is None:
        raise UsageError(f"'{user_file.name}' of {path} is a function", "gradscope.from_step makes a cell of a step")
    return user_file.cell_class


def _instance(cell: type[Cell] | Network, seed: int) -> Network:
    if not isinstance(cell, type):
        return cell
    return instantiate(
        cell, cell.__name__, HIDDEN, INPUTS, np.random.default_rng(seed), None, examined=partial(drawn_arrays, cell)
    )
