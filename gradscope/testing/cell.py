"""Mathematical checks of a cell: for the cells here, and for those of other packages.

`check_cell` needs only the cell: its step is the truth that its Jacobian is held against.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradscope.checking.derivatives import Derivative, Fact, derivatives_of, facts_of
from gradscope.checking.jacobians import (
    check_input_jacobian,
    check_log_det,
    check_roads,
    check_state_jacobian,
    check_within,
)
from gradscope.checking.rules import (
    check_arguments,
    check_batch,
    check_changes,
    check_gates,
    check_names,
    check_new_state,
    check_saturated,
    check_shapes,
    check_single_precision,
)
from gradscope.checking.truth import BATCH, point
from gradscope.checking.user_file import own_in
from gradscope.errors import UsageError
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell, MapsCell
from gradscope.networks.create import instantiate
from gradscope.networks.function import FunctionCell
from gradscope.networks.network import Network

__all__ = ["Derivative", "Fact", "check_cell", "derivatives", "load_cell_file"]

HIDDEN, INPUTS = 5, 3
SCALES = (1e3, 1e30)  # factors on the weights that drive every gate to an end of its range


@np.errstate(all="ignore")  # what is not finite is found
def check_cell(cell: type[Cell] | Network, *, seed: int = 0) -> None:
    """Check that a cell's Jacobian is the derivative of its step, and that it keeps the rules of the room.

    A class is checked with its default settings and small random weights; an instance as it is. A cell whose
    `kinks` is true (relu) is held against central differences away from its kinks, any other against the
    complex step. The Jacobian of a step function that was declared a surrogate is held against nothing.

    Args:
        cell: a cell class, or a cell.
        seed: seed of the weights, inputs and states.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    made = _instance(cell, seed) if isinstance(cell, type) else cell
    rng = np.random.default_rng([seed, 3])
    x, s = _anywhere(made, rng) if isinstance(made, FunctionCell) and made.single else point(made, rng)
    check_names(made)
    check_new_state(made, x, s)
    check_arguments(made, x, s)
    check_shapes(made, x, s)
    check_batch(made, x, s)
    check_state_jacobian(made, x, s, rng)
    check_roads(made, x, s, rng)
    check_log_det(made, x, s)
    if not isinstance(made, FunctionCell):
        check_input_jacobian(made, x, s, rng)
    if isinstance(made, Cell):
        check_within(made, x, s, rng)
    check_gates(made, x, s)
    check_changes(made, x, s)
    if made.weights():
        check_single_precision(made, x, s)
        for scale in SCALES:
            check_saturated(made, x, s, scale)


@np.errstate(all="ignore")
def derivatives(cell: type[Cell] | Network, *, seed: int = 0) -> list[Derivative] | list[Fact]:
    """Tell which derivative of a cell is wrong, and by how much.

    Args:
        cell: a cell class, a cell, or what `from_step` makes of a function.
        seed: seed of the weights, inputs and states.

    Returns:
        every derivative that a cell states, by new part, road and gate or old part; of a step function, what was
        found out about it. Of stacks nothing, look at their layers, nor of cells whose Jacobian has no such grids.

    Raises:
        AssertionError: there is no point to look at, or a grid has another shape.
    """
    made = _instance(cell, seed) if isinstance(cell, type) else cell
    if isinstance(made, FunctionCell):
        return facts_of(made, seed=seed)
    if not isinstance(made, MapsCell):
        return []
    return derivatives_of(made, *point(made, np.random.default_rng([seed, 3])))


def load_cell_file(path: str | Path, name: str | None = None) -> type[Cell]:
    """Run a Python file and return the cell class in it.

    Args:
        path: the file.
        name: which class, where the file defines several.

    Raises:
        InputError: the file cannot be read, or fails when it is run.
        UsageError: it holds no such cell.
    """
    own = own_in(path, name)
    if own.cell_class is None:
        raise UsageError(f"'{own.name}' of {path} is a function", "gradscope.from_step makes a cell of a step")
    return own.cell_class


def _anywhere(cell: Network, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw inputs and states, (m, B) and (n, B): in single precision it cannot be seen where kinks are."""
    return rng.standard_normal((cell.input_size, BATCH)), rng.standard_normal((cell.state_size, BATCH))


def _instance(cls: type[Cell], seed: int) -> Cell:
    return instantiate(cls, cls.__name__, HIDDEN, INPUTS, np.random.default_rng(seed), None)
