"""What do analyses ask of a network, be it one cell, layers of cells, or a step function?

Arrays here are feature-major: a state is (n, B), an input (m, B), for B independent sequences, with any
leading axes (time) in front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradscope.errors import InputError
from gradscope.maps.jacobian import Array, Linear

__all__ = ["Network", "Property"]


class Property(NamedTuple):
    """A number that only one kind of cell has, and what the number is, in words, with its unit."""

    value: float
    meaning: str


class Network:
    """What runs along inputs and can be linearised: one cell, a stack of layers, a direction, a loop, or a function."""

    sizes: dict[str, int]
    """Size of each part of the state, in order."""
    input_size: int
    assumptions: tuple[str, ...] = ()
    """What the source of the network does not say, a sentence each; a document's `model` repeats them."""
    unused: tuple[str, ...] = ()
    """Names of parameters of the same module in its file that the network does not use."""

    def evolve(self, x: Array, s: Array) -> Array:
        """Return the next state, (..., n, B), from input (..., m, B) and state (..., n, B)."""
        raise NotImplementedError

    def linearise(self, x: Array, s: Array) -> Linear:
        """Return the Jacobian d(next state) / d(state) at (x, s), with the leading axes of both."""
        raise NotImplementedError

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        """Return what every gate does at (x, s), (..., H, B) each."""
        return {}

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        """Return the interval that each gate of `gate_values` lives in."""
        return {}

    def weights(self) -> dict[str, Array]:
        """Return every array of the cell by name."""
        return {}

    def properties(self, x: Array, s: Array) -> Mapping[str, Property]:
        """Return {name: number} of what is special to this network, from a few steps of a run.

        Args:
            x: inputs, (K, m, B).
            s: states before each step, (K, n, B).
        """
        return {}

    def changes(self, missing_factor: float, steps: int) -> Mapping[str, Callable[[], Network]]:
        """Return {change in words: a function that makes the changed network}, for `analyze(remedies=True)`.

        A cell with a setting that decides how far gradients reach adds it to those of `super()`.

        Args:
            missing_factor: what the gradient would have to be multiplied by at each step to keep its size: above 1
                where the gradient vanishes, below 1 where it explodes.
            steps: length of the run.
        """
        return {}

    @property
    def kinks(self) -> bool:
        """Whether the step has points without a derivative, as relu does; `gradscope.testing` stays off them."""
        return False

    @cached_property
    def diagonal(self) -> bool:
        """Whether its Jacobians are `Linear.diagonal`: no analysis makes a matrix of them."""
        with np.errstate(all="ignore"):
            return self.linearise(np.zeros((self.input_size, 1)), np.zeros((self.state_size, 1))).diagonal

    @property
    def network(self) -> Network:
        """The network itself: the cell, unless it is a loop around one."""
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the state, output first."""
        return tuple(self.sizes)

    @property
    def network_input_size(self) -> int:
        """Number of inputs of the network that the cell is a part of: its own, unless something lies below."""
        return self.input_size

    @property
    def output(self) -> slice:
        """The part of the state that the next layer sees."""
        return slice(0, next(iter(self.sizes.values())))

    @property
    def outputs(self) -> tuple[slice, ...]:
        """The parts of the state, of one size, whose sum the loss sees: the output, unless others go by it."""
        return (self.output,)

    @property
    def layer_outputs(self) -> dict[str, str]:
        """Return {layer: the part of the state that is its output}, bottom first, of a network of several."""
        return {}

    @property
    def state_size(self) -> int:
        """Number of state variables: for an LSTM, h and c together."""
        return sum(self.sizes.values())

    @property
    def jacobian_numbers(self) -> int:
        """About how many numbers the Jacobian of one step holds, its weights and work arrays included."""
        return 12 * self.state_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the weights."""
        return np.result_type(*self.weights().values()) if self.weights() else np.dtype(float)

    def step(self, x: Array, s: Array) -> Array:
        """Run one step: x (..., m), s (..., n) -> (..., n); s concatenates the parts of the state.

        Raises:
            InputError: the last axes are not `input_size` and `state_size`.
        """
        x, s, lead = self._columns(x, s)
        return np.ascontiguousarray(self.evolve(x, s).T).reshape(*lead, self.state_size)

    def jacobian(self, x: Array, s: Array) -> Linear:
        """Linearise one step: rows are the new state, columns the old.

        Args:
            x: input, (m,), or (B, m) for B states at once.
            s: state, (n,) or (B, n).

        Returns:
            the structured Jacobian. For one state `J @ v`, `J.T @ u` and `J.dense()` work on (n,) and
            (n, k) arrays; for several, `J.jvp` and `J.vjp` take (n, B), and `J.column(b)` chooses one.

        Raises:
            InputError: the last axes are not `input_size` and `state_size`.
        """
        x, s, _ = self._columns(x, s)
        return self.linearise(x, s)

    def _columns(self, x: Array, s: Array) -> tuple[Array, Array, tuple[int, ...]]:
        x, s = np.asarray(x), np.asarray(s)
        for name, array, size in (("input", x, self.input_size), ("state", s, self.state_size)):
            if array.ndim == 0 or array.shape[-1] != size:
                raise InputError(f"the {name} has shape {array.shape}; its last axis must be {size}")
        lead = np.broadcast_shapes(x.shape[:-1], s.shape[:-1])
        columns = [np.broadcast_to(z, (*lead, z.shape[-1])).reshape(math.prod(lead), z.shape[-1]).T for z in (x, s)]
        return columns[0], columns[1], lead
