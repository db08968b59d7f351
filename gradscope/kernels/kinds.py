"""Which kernel runs and linearises a network? Chosen by its kind; a plain loop where there is none.

A kernel never changes a number, but for the rounding of sums in another order: with `KERNELS` empty, every network is
run and linearised one step after another, by `evolve` and `linearise` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradscope.kernels.lineariser import lineariser
from gradscope.kernels.stepper import Stepper, split_hull
from gradscope.maps.jacobian import Array, Dense, Linear
from gradscope.networks.cell import MapsCell
from gradscope.networks.function import FunctionCell
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack

Lineariser = Callable[[Array, Array, Sequence[Array]], Linear]


class Runner(Protocol):
    """Runs a network from a state on."""

    def __call__(self, x: Array, states: Array, saved: Sequence[Array] = ()) -> None:
        """Fill states[1:], (T + 1, n, B), from states[0] and inputs x, (T, m, B).

        Args:
            x: inputs.
            states: states, the first of them given.
            saved: arrays (T, *, B) to be filled, of as many rows as `saved_rows` says; () for none.
        """


@dataclass(frozen=True)
class PlainLoop:
    """One step after another, with nothing saved: what any network can do."""

    network: Any

    @property
    def saved_rows(self) -> tuple[int, ...]:
        """Numbers a step and a sequence that a run may save for `lineariser`, which computes them again otherwise."""
        return ()

    @property
    def saved_name(self) -> str:
        """What these numbers are."""
        return "pre-activations"

    def runner(self, steps: int, batch: int) -> Runner:
        """Return a runner of about so many steps at a time, to be called any number of times."""
        return self._run

    def _run(self, x: Array, states: Array, saved: Sequence[Array] = ()) -> None:
        for t, x_t in enumerate(x):
            states[t + 1] = self.network.evolve(x_t, states[t])

    def lineariser(self, steps: int, batch: int) -> Lineariser:
        """Return a function that linearises blocks of up to so many steps, each valid until the next one.

        The function takes inputs (K, m, B), states before each step (K, n, B), and what was saved of these steps.
        """
        return self.linearise

    def linearise(self, x: Array, s: Array, saved: Sequence[Array]) -> Linear:
        """Linearise at (x, s), from what a run saved of these steps, where that saves work."""
        jacobian: Linear = self.network.linearise(x, s)
        return jacobian


class _Maps(PlainLoop):
    """Formulas are recorded and called in place; of a single map, preactivations are saved."""

    network: MapsCell

    @property
    def saved_rows(self) -> tuple[int, ...]:
        first, *others = self.network.maps
        split = split_hull(first)
        rows = (first.rows, split.stop - split.start)
        return () if others else rows[: 1 + (rows[1] > 0)]

    def runner(self, steps: int, batch: int) -> Runner:
        return Stepper(self.network.maps, batch, steps, self.network.dtype).run

    def lineariser(self, steps: int, batch: int) -> Lineariser:
        first, *others = self.network.maps
        recorded = None if others else lineariser(first, steps, batch, self.network.dtype)
        return recorded or super().lineariser(steps, batch)


class _Layers(PlainLoop):
    """Layer by layer, each along all steps: all inputs of a layer are known beforehand."""

    network: Stack

    def runner(self, steps: int, batch: int) -> Runner:
        net = self.network
        runners = [kernel_of(cell).runner(steps, batch) for cell in net.layers.values()]

        def run(x: Array, states: Array, saved: Sequence[Array] = ()) -> None:
            for runner, (name, cell), layer in zip(runners, net.layers.items(), net.split(states), strict=True):
                runner(net.input_of(name, x), layer)
                x = net.above(name, x, layer[1:, cell.output])

        return run


class _Function(PlainLoop):
    """Jacobians are saved: several analyses ask for them, and each takes n calls of the function."""

    network: FunctionCell

    @property
    def saved_rows(self) -> tuple[int, ...]:
        return (self.network.n**2,)

    @property
    def saved_name(self) -> str:
        return "Jacobians"

    def _run(self, x: Array, states: Array, saved: Sequence[Array] = ()) -> None:
        super()._run(x, states)
        for out in saved:
            for t, x_t in enumerate(x):
                out[t] = np.moveaxis(self.network.matrices(x_t, states[t]), 0, -1).reshape(out[t].shape)

    def linearise(self, x: Array, s: Array, saved: Sequence[Array]) -> Linear:
        if not saved:
            return super().linearise(x, s, saved)
        matrices = saved[0].reshape(len(s), self.network.n, self.network.n, -1)
        return Dense(np.ascontiguousarray(np.moveaxis(matrices, -1, 1)))


KERNELS: dict[type[Network], type[PlainLoop]] = {MapsCell: _Maps, Stack: _Layers, FunctionCell: _Function}


def kernel_of(network: Network) -> PlainLoop:
    """Return what runs and linearises a network."""
    if isinstance(network, Direction):
        return kernel_of(network.cell)
    kernels = (kernel for kind, kernel in KERNELS.items() if isinstance(network, kind))
    return next(kernels, PlainLoop)(network)
