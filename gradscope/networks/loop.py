"""A network that generates: a linear readout of its output is its next input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.maps.composition import Looped, added
from gradscope.maps.jacobian import Array, Linear
from gradscope.networks.function import FunctionCell
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction

__all__ = ["Loop", "check_loop", "closed_loop"]

STREAM = 6  # of the seed: apart from those of weights, inputs, losses and directions


def closed_loop(
    cell: Network, readout: Array | None = None, bias: Array | None = None, *, seed: int = 0, name: str | None = None
) -> Loop:
    """Feed a network's output back as its next input: x_{t+1} = readout h_t + bias.

    The result is a cell without inputs, for `analyze`. h is the part of the state that a loss would read: of an
    LSTM the h, of a stack that of the top layer, or the sum of all with residual connections.

    Args:
        cell: a cell, or a stack of layers.
        readout: (inputs, outputs of the cell), rows are the inputs that it makes, as `nn.Linear(...).weight`; None
            draws readout and bias as nn.Linear does, from U(-1/sqrt(H), 1/sqrt(H)).
        bias: (inputs,), or None for none.
        seed: of a readout that is drawn.
        name: what the readout is called in results.

    Raises:
        UsageError: the cell is a direction of a bidirectional network, a step function of your own, or a loop.
        InputError: the shapes do not fit, or the values are not real numbers.
    """
    check_loop(cell)
    inputs, outputs = cell.input_size, cell.output.stop - cell.output.start
    if readout is None:
        if bias is not None:
            raise UsageError("a bias needs its readout", "give both, or neither: then both are random")
        bound = 1 / np.sqrt(outputs)
        drawn = np.random.default_rng([seed, STREAM]).uniform(-bound, bound, (inputs, outputs + 1))
        readout, bias, name = drawn[:, 1:], drawn[:, 0], name or "random"
    name = name or "given"
    R = _real(readout, name, cell.dtype)
    b = np.zeros(inputs, cell.dtype) if bias is None else _real(bias, f"bias of {name}", cell.dtype)
    _check_shapes(R, b, name, inputs, outputs)
    return Loop(cell, R, b, name)


@dataclass(frozen=True, eq=False)
class Loop(Network):
    """A network and the readout that feeds its output back; `closed_loop` makes it.

    Attributes:
        cell: the network.
        readout: R, (inputs of the network, its outputs).
        bias: b, (inputs of the network,).
        name: what the readout is called in results.
    """

    cell: Network
    readout: Array
    bias: Array
    name: str = "given"

    @property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        """Size of each part of the state, in order."""
        return self.cell.sizes

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs from outside: none."""
        return 0

    @property
    def network(self) -> Network:
        return self.cell

    @property
    def kinks(self) -> bool:
        return self.cell.kinks

    @property
    def output(self) -> slice:
        return self.cell.output

    @property
    def outputs(self) -> tuple[slice, ...]:
        return self.cell.outputs

    @property
    def jacobian_numbers(self) -> int:
        return self.cell.jacobian_numbers + len(self.readout)

    def feed(self, s: Array) -> Array:
        """Return the input that follows state s (..., n, B): (..., m, B)."""
        return np.asarray(self.readout @ added(s, self.outputs) + self.bias[:, None])

    def evolve(self, x: Array, s: Array) -> Array:
        return self.cell.evolve(self.feed(s), s)

    def linearise(self, x: Array, s: Array) -> Linear:
        return Looped(self.cell.linearise(self.feed(s), s), self.readout, self.outputs)

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        return self.cell.gate_values(self.feed(s), s)

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return self.cell.gate_ranges

    def changes(self, missing_factor: float, steps: int) -> dict[str, Callable[[], Loop]]:
        return {name: partial(self._changed, make) for name, make in self.cell.changes(missing_factor, steps).items()}

    def _changed(self, make: Callable[[], Network]) -> Loop:
        return replace(self, cell=make())

    def weights(self) -> dict[str, Array]:
        return {**self.cell.weights(), "readout": self.readout, "readout_bias": self.bias}


def check_loop(cell: Network) -> None:
    """Refuse what cannot feed itself.

    Raises:
        UsageError: the cell is a direction of a bidirectional network, a step function, or a loop already.
    """
    if isinstance(cell, Direction):
        hint = "its reverse direction reads the end of the sequence first, which does not exist yet"
        raise UsageError("a bidirectional network cannot run in a closed loop", hint)
    if isinstance(cell, FunctionCell):
        hint = "put the readout into the step: lambda x, s: step(R @ s[:H] + b, s), with input_size=0"
        raise UsageError("the derivative of a step function with respect to its input is not available", hint)
    if isinstance(cell, Loop):
        raise UsageError("the loop is already closed")


def _real(array: Any, name: str, dtype: Any) -> Array:
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise InputError(f"the readout '{name}' must be real numbers, not {values.dtype}")
    return values.astype(dtype)


def _check_shapes(R: Array, b: Array, name: str, inputs: int, outputs: int) -> None:
    if R.ndim != 2:
        raise InputError(f"the readout '{name}' has shape {R.shape}; it must be ({inputs}, {outputs})")
    if R.shape != (inputs, outputs) and R.shape == (outputs, inputs):
        hint = "rows are network inputs and columns are hidden units: transpose it"
        raise InputError(f"the readout '{name}' has shape {R.shape}; it must be ({inputs}, {outputs})", hint)
    if R.shape[1] != outputs:
        raise InputError(f"the readout '{name}' takes {R.shape[1]} units; the network output has {outputs}")
    if R.shape[0] != inputs:
        hint = (
            "a head over a vocabulary is followed by sampling or argmax, which has no derivative; a closed loop needs "
            "a readout whose output is the next input"
        )
        raise InputError(f"the readout '{name}' has {R.shape[0]} outputs; the network has {inputs} inputs", hint)
    if b.shape != (inputs,):
        raise InputError(f"the bias of the readout '{name}' has shape {b.shape}; it must be ({inputs},)")
