"""Layers of one network as one cell, with what is between them, and the directions of a bidirectional one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array, Linear
from gradscope.maps.stacked import Stacked
from gradscope.networks.cell import Cell
from gradscope.networks.network import Network
from gradscope.networks.norm import Norm, named_norm

__all__ = ["Direction", "Stack", "backward", "cells_of", "check_between", "stack"]


class _Step(NamedTuple):
    """What a layer does: it is given `below`, of which it sees `seen`."""

    name: str
    cell: Cell
    below: Array
    seen: Array
    old: Array
    new: Array


@dataclass(frozen=True, eq=False)
class Stack(Network):
    """Layers that feed one another within a step; the state is all their states, bottom layer first.

    With residual connections a layer sees the sum of the outputs below it, r_l = h_0 + ... + h_(l-1), and the loss,
    or a readout, sees the sum of all. A norm is of what a layer sees, so that the sum itself goes by it ("pre-norm").

    Attributes:
        layers: {name: cell}, bottom first.
        residual: whether outputs are added up.
        norms: {name of a layer: norm of what it sees}, for none, some or all of the layers but the bottom one.
    """

    layers: dict[str, Cell]
    residual: bool = False
    norms: Mapping[str, Norm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        widths = {name: c.output.stop for name, c in self.layers.items()}
        if self.residual and len(set(widths.values())) > 1:
            each = ", ".join(f"{n} of {name}" for name, n in widths.items())
            raise UsageError(f"residual connections need outputs of equal size, not {each}")
        below = dict(zip(list(widths)[1:], widths.values(), strict=False))
        for name in self.norms:
            if name not in below:
                raise UsageError(f"there is no output below a layer {name} that could be normalised")
        fitted = {name: norm.fitted(below[name], self.layers[name].dtype) for name, norm in self.norms.items()}
        object.__setattr__(self, "norms", fitted)

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

    @property
    def outputs(self) -> tuple[slice, ...]:
        if not self.residual:
            return (self.output,)
        starts = np.cumsum([0] + [c.state_size for c in self._cells]).tolist()
        return tuple(slice(i, i + c.output.stop) for i, c in zip(starts, self._cells, strict=False))

    @property
    def layer_outputs(self) -> dict[str, str]:
        return {name: f"{name}.{cell.parts[0]}" for name, cell in self.layers.items()}

    def split(self, s: Array) -> list[Array]:
        """Return the state of each layer, bottom first, from states (..., n, B)."""
        ends = np.cumsum([0] + [c.state_size for c in self._cells])
        return [s[..., i:j, :] for i, j in zip(ends[:-1], ends[1:], strict=True)]

    def _steps(self, x: Array, s: Array) -> Iterator[_Step]:
        """Go up the layers."""
        for (name, cell), old in zip(self.layers.items(), self.split(s), strict=True):
            seen = self.input_of(name, x)
            new = cell.evolve(seen, old)
            yield _Step(name, cell, x, seen, old, new)
            x = self.above(name, x, new[..., cell.output, :])

    def input_of(self, name: str, x: Array) -> Array:
        """Return what a layer sees of what is given to it."""
        return self.norms[name].apply(x) if name in self.norms else x

    def above(self, name: str, x: Array, output: Array) -> Array:
        """Return what is given to the layer above `name`, which was given x itself."""
        return output + x if self.residual and name != next(iter(self.layers)) else output

    def evolve(self, x: Array, s: Array) -> Array:
        return np.concatenate([step.new for step in self._steps(x, s)], axis=-2)

    def linearise(self, x: Array, s: Array) -> Linear:
        steps = list(self._steps(x, s))
        norms = tuple(self.norms[z.name].linearise(z.below) if z.name in self.norms else None for z in steps[1:])
        return Stacked(
            tuple(z.cell.linearise(z.seen, z.old) for z in steps),
            tuple(z.cell.output.stop for z in steps),
            tuple(self.layers),
            self.residual,
            norms,
        )

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        values: dict[str, Array] = {}
        for z in self._steps(x, s):
            values |= {f"{z.name}.{gate}": y for gate, y in z.cell.gate_values(z.seen, z.old).items()}
        return values

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {f"{n}.{g}": r for n, c in self.layers.items() for g, r in c.gate_ranges.items()}

    def weights(self) -> dict[str, Array]:
        norms = {f"{n}.norm.{k}": w for n, norm in self.norms.items() for k, w in norm.weights().items()}
        return {f"{n}.{k}": w for n, c in self.layers.items() for k, w in c.weights().items()} | norms

    def over(self, layers: Mapping[str, Cell]) -> Stack:
        """Return the same network of other layers."""
        return replace(self, layers=dict(layers))

    def changes(self, missing_factor: float, steps: int) -> dict[str, Callable[[], Stack]]:
        """Return the changes of the layers; those that several layers know are made in all of them at once."""
        by_layer = {name: cell.changes(missing_factor, steps) for name, cell in self.layers.items()}
        changes: dict[str, Callable[[], Stack]] = {}
        for change in dict.fromkeys(c for known in by_layer.values() for c in known):
            makers = {name: known[change] for name, known in by_layer.items() if change in known}
            where = f"in {len(makers)} layer{'s'[: len(makers) != 1]}"
            changes[f"{change} {where}"] = partial(self._changed, makers)
        return changes | self._changes_between() if len(self.layers) > 1 else changes

    def _changes_between(self) -> dict[str, Callable[[], Stack]]:
        """Return the changes of what is between layers."""
        changes: dict[str, Callable[[], Stack]] = {}
        if not self.residual and len({c.output.stop for c in self._cells}) == 1:
            changes["residual connections between layers"] = partial(replace, self, residual=True)
        if not self.norms:
            norms = dict.fromkeys(list(self.layers)[1:], Norm())
            changes["layer norm between layers"] = partial(replace, self, norms=norms)
        return changes

    def _changed(self, makers: Mapping[str, Callable[[], Cell]]) -> Stack:
        return self.over({name: makers[name]() if name in makers else cell for name, cell in self.layers.items()})


@dataclass(frozen=True, eq=False)
class Direction(Network):
    """One direction of one layer of a bidirectional network, as a chain of its own.

    Its inputs are those of the whole network; `below` holds the two directions of the layer under it,
    whose outputs are what it really sees. `dynamics.run` prepares them.

    Attributes:
        cell: the recurrent cell.
        reverse: whether it runs from the last step to the first.
        below: the forward and the backward direction underneath, or ().
        residual: whether it sees the sum of the outputs below it.
        norm: of what it sees, or None.
    """

    cell: Cell
    reverse: bool = False
    below: tuple[Direction, ...] = field(default=(), repr=False)
    residual: bool = False
    norm: Norm | None = None

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

    def linearise(self, x: Array, s: Array) -> Linear:
        return self.cell.linearise(x, s)

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        return self.cell.gate_values(x, s)

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return self.cell.gate_ranges

    def weights(self) -> dict[str, Array]:
        norm = {} if self.norm is None else {f"norm.{k}": w for k, w in self.norm.weights().items()}
        return self.cell.weights() | norm

    def changes(self, missing_factor: float, steps: int) -> dict[str, Callable[[], Direction]]:
        return {name: partial(self._changed, make) for name, make in self.cell.changes(missing_factor, steps).items()}

    def _changed(self, make: Callable[[], Cell]) -> Direction:
        return replace(self, cell=make())


def backward(cell: Network) -> bool:
    """Return whether a cell runs from the last step of the data to the first."""
    return isinstance(cell, Direction) and cell.reverse


def cells_of(cell: Network) -> list[Cell]:
    """Return the cells that a cell is made of, bottom layer first; none for a user's own function."""
    cell = cell.network
    if isinstance(cell, Stack):
        return list(cell.layers.values())
    if isinstance(cell, Direction):
        return [cell.cell]
    return [cell] if isinstance(cell, Cell) else []


def stack(
    layers: Mapping[str, Cell] | Sequence[Cell],
    *,
    residual: bool = False,
    norm: str | Norm | Mapping[str, str | Norm] = "none",
) -> Stack:
    """Make one network of layers, of the same kind or not.

    Args:
        layers: cells, bottom first; {name: cell} to name them otherwise than l0, l1, ...
        residual: whether a layer above the bottom one adds its output to what it is given, and the loss reads the sum.
        norm: of what such a layer is given: "none", "layer", "rms", a `Norm` with weights, or {layer: one of these}.

    Raises:
        UsageError: there are no cells, something cannot be a layer, there is nothing between one layer and the next
            where that is asked for, outputs that are to be added differ in size, or a norm is not known.
        InputError: a layer has another number of inputs than the one below has outputs.
    """
    named = dict(layers) if isinstance(layers, Mapping) else {f"l{i}": cell for i, cell in enumerate(layers)}
    _check_layers(named)
    given = norm if isinstance(norm, Mapping) else dict.fromkeys(list(named)[1:] or [""], norm)
    norms = {name: _norm(one) for name, one in given.items()}
    used = {name: one for name, one in norms.items() if one is not None}
    check_between(len(named), residual=residual, normed=bool(used))
    return Stack(named, residual, used)


def _check_layers(named: Mapping[str, Cell]) -> None:
    """Refuse layers that are no cells, have no proper names, or do not fit the ones below them."""
    for name, cell in named.items():
        if not (isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum()):
            raise UsageError(f"a layer name may hold letters, digits, - and _, not {name!r}")
        if not isinstance(cell, Cell):
            raise UsageError(f"layer {name} is not a cell but a {type(cell).__name__}", "see gradscope.create")
    for (lower, below), (name, cell) in pairwise(named.items()):
        if cell.input_size != below.output.stop:
            given = below.output.stop
            raise InputError(f"layer {name} has {cell.input_size} inputs, but {lower} below it has {given} outputs")


def _norm(given: object) -> Norm | None:
    if not isinstance(given, str | Norm):
        raise UsageError(f"a norm is none, layer, rms or a gradscope.Norm, not {given!r}")
    return named_norm(given) if isinstance(given, str) else given


def check_between(layers: int, *, residual: bool, normed: bool) -> None:
    """Refuse what is between layers where there are not two of them.

    Raises:
        UsageError: there is one layer, or none.
    """
    if layers < 1:
        raise UsageError("a network needs at least one layer")
    if layers == 1 and (residual or normed):
        what = "residual connections are" if residual else "a norm is"
        raise UsageError(f"{what} between layers, but there is only one layer", "use at least two layers")
