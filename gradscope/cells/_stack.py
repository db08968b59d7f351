"""Layers of one network as one cell, and the directions of a bidirectional one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from gradscope.cells._base import BaseCell, Cell, Runner
from gradscope.composition import Stacked
from gradscope.jacobian import Array, Linear

__all__ = ["Direction", "Stack", "backward", "cells_of"]


@dataclass(frozen=True, eq=False)
class Stack(BaseCell):
    """Layers that feed one another within a step; the state is all their states, bottom layer first.

    Attributes:
        layers: {name: cell}, bottom first.
    """

    layers: dict[str, Cell]

    @property
    def _cells(self) -> list[Cell]:
        return list(self.layers.values())

    @cached_property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        """Size of each part, named "l0.h", "l0.c", "l1.h", ..."""
        return {f"{name}.{part}": n for name, cell in self.layers.items() for part, n in cell.sizes.items()}

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs of the bottom layer."""
        return self._cells[0].input_size

    @property
    def kinks(self) -> bool:
        return any(c.kinks for c in self._cells)

    @property
    def output(self) -> slice:
        start = sum(c.state_size for c in self._cells[:-1])
        top = self._cells[-1].output
        return slice(start + top.start, start + top.stop)

    def _split(self, s: Array) -> list[Array]:
        ends = np.cumsum([0] + [c.state_size for c in self._cells])
        return [s[..., i:j, :] for i, j in zip(ends[:-1], ends[1:], strict=True)]

    def _inputs(self, x: Array, s: Array) -> list[tuple[Cell, Array, Array, Array]]:
        """Return (cell, its input, its old state, its new state) for every layer."""
        rows = []
        for cell, old in zip(self._cells, self._split(s), strict=True):
            new = cell.evolve(x, old)
            rows.append((cell, x, old, new))
            x = new[..., cell.output, :]
        return rows

    def evolve(self, x: Array, s: Array) -> Array:
        return np.concatenate([new for *_, new in self._inputs(x, s)], axis=-2)

    def runner(self, steps: int, batch: int) -> Runner:
        runners = [cell.runner(steps, batch) for cell in self._cells]

        def run(x: Array, states: Array, kept: Sequence[Array] = ()) -> None:
            owns = self._split(states)
            for runner, cell, own in zip(runners, self._cells, owns, strict=True):
                runner(x, own)
                x = own[1:, cell.output]  # all inputs of the next layer are there beforehand

        return run

    def linearise(self, x: Array, s: Array) -> Linear:
        steps = tuple(cell.linearise(u, old) for cell, u, old, _ in self._inputs(x, s))
        return Stacked(steps, tuple(c.output.stop for c in self._cells), tuple(self.layers))

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        values: dict[str, Array] = {}
        for name, (cell, u, old, _) in zip(self.layers, self._inputs(x, s), strict=True):
            values |= {f"{name}.{gate}": y for gate, y in cell.gate_values(u, old).items()}
        return values

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {f"{n}.{g}": r for n, c in self.layers.items() for g, r in c.gate_ranges.items()}

    def weights(self) -> dict[str, Array]:
        return {f"{n}.{k}": w for n, c in self.layers.items() for k, w in c.weights().items()}

    def changes(self, lack: float, steps: int) -> dict[str, Callable[[], Stack]]:
        """Return the changes of the layers; those that several layers know are made in all of them at once."""
        known = {name: cell.changes(lack, steps) for name, cell in self.layers.items()}
        found: dict[str, Callable[[], Stack]] = {}
        for change in dict.fromkeys(c for changes in known.values() for c in changes):
            made = {name: changes[change] for name, changes in known.items() if change in changes}
            where = f"in {len(made)} layer{'s'[: len(made) != 1]}"
            found[f"{change} {where}"] = partial(self._with, made)
        return found

    def _with(self, made: Mapping[str, Callable[[], Cell]]) -> Stack:
        return Stack({name: made[name]() if name in made else cell for name, cell in self.layers.items()})


@dataclass(frozen=True, eq=False)
class Direction(BaseCell):
    """One direction of one layer of a bidirectional network, as a chain of its own.

    Its inputs are those of the whole network; `below` holds the two directions of the layer under it,
    whose outputs are what it really sees. `dynamics.run` prepares them.

    Attributes:
        cell: the recurrent cell.
        reverse: whether it runs from the last step to the first.
        below: the forward and the backward direction underneath, or ().
    """

    cell: Cell
    reverse: bool = False
    below: tuple[Direction, ...] = field(default=(), repr=False)

    @property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        """Size of each part of the state, in order."""
        return self.cell.sizes

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs of the cell itself."""
        return self.cell.input_size

    @property
    def network_input_size(self) -> int:
        """Number of inputs of the network that it is a part of."""
        return self.below[0].network_input_size if self.below else self.input_size

    @property
    def kinks(self) -> bool:
        return self.cell.kinks

    def evolve(self, x: Array, s: Array) -> Array:
        return self.cell.evolve(x, s)

    def runner(self, steps: int, batch: int) -> Runner:
        return self.cell.runner(steps, batch)

    @property
    def keeps(self) -> tuple[int, ...]:
        return self.cell.keeps

    def lineariser(self, steps: int, batch: int) -> Callable[[Array, Array, Sequence[Array]], Linear]:
        return self.cell.lineariser(steps, batch)

    def linearise(self, x: Array, s: Array) -> Linear:
        return self.cell.linearise(x, s)

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        return self.cell.gate_values(x, s)

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return self.cell.gate_ranges

    def weights(self) -> dict[str, Array]:
        return self.cell.weights()

    def changes(self, lack: float, steps: int) -> dict[str, Callable[[], Direction]]:
        return {name: partial(self._with, made) for name, made in self.cell.changes(lack, steps).items()}

    def _with(self, made: Callable[[], Cell]) -> Direction:
        return replace(self, cell=made())


def backward(cell: BaseCell) -> bool:
    """Tell whether a cell runs from the last step of the data to the first."""
    return isinstance(cell, Direction) and cell.reverse


def cells_of(cell: BaseCell) -> list[Cell]:
    """Return the cells that a cell is made of, bottom layer first; none for a user's own function."""
    cell = cell.network
    if isinstance(cell, Stack):
        return list(cell.layers.values())
    if isinstance(cell, Direction):
        return [cell.cell]
    return [cell] if isinstance(cell, Cell) else []
