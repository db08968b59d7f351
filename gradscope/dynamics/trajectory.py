"""Run a cell along its input and keep the states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.cells._base import BaseCell
from gradscope.cells._stack import Direction
from gradscope.errors import InputError
from gradscope.jacobian import Array

__all__ = ["Trajectory", "prepare_inputs", "run"]

PIECE = 256  # steps whose states are held while a run warms up


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A cell and what it went through.

    Attributes:
        cell: the cell.
        inputs: (T, m, B), in the cell's own time order.
        states: (T + 1, n, B); states[0] is where the measured steps begin.
        kept: what the run kept for the linearisation, (T, *, B) each: `BaseCell.keeps`; () for nothing.
    """

    cell: BaseCell
    inputs: Array
    states: Array
    kept: tuple[Array, ...] = ()

    @property
    def steps(self) -> int:
        """Number of measured steps T."""
        return len(self.inputs)

    @property
    def batch(self) -> int:
        """Number of sequences B."""
        return int(self.states.shape[-1])

    def first(self, count: int) -> Trajectory:
        """Return what the first `count` sequences went through."""
        kept = tuple(k[..., :count] for k in self.kept)
        return Trajectory(self.cell, self.inputs[..., :count], self.states[..., :count], kept)

    def after(self, steps: int) -> Trajectory:
        """Return what comes after the first `steps` steps."""
        return Trajectory(self.cell, self.inputs[steps:], self.states[steps:], tuple(k[steps:] for k in self.kept))


def prepare_inputs(cell: BaseCell, inputs: Array) -> Array:
    """Return what the cell itself sees, (B, T, m), from the inputs of its network, (B, T, M).

    For a cell that is not a direction of a bidirectional network the two are the same. A backward
    direction sees its input from the last step to the first.
    """
    if not isinstance(cell, Direction):
        return inputs
    seen = _outputs(cell.below, inputs) if cell.below else inputs
    return seen[:, ::-1] if cell.reverse else seen


def _outputs(pair: tuple[Direction, ...], inputs: Array) -> Array:
    """Return the outputs of both directions of a layer, side by side and in the order of the data."""
    seen = _outputs(pair[0].below, inputs) if pair[0].below else inputs
    outputs = []
    for direction in pair:
        own = seen[:, ::-1] if direction.reverse else seen
        states = run(direction.cell, own).states[1:, direction.output]
        outputs.append(states[::-1] if direction.reverse else states)
    return np.concatenate(outputs, axis=1).transpose(2, 0, 1)


def run(cell: BaseCell, inputs: Array, *, warmup: int = 0, keep: int = 0, start: Array | None = None) -> Trajectory:
    """Run a cell from `start` (zeros unless given), drop the first `warmup` steps, keep the rest.

    Values that overflow become inf and go on; whoever reads the states looks for them.

    Args:
        cell: the cell.
        inputs: (B, T, m) or (T, m), inputs of the network.
        warmup: steps that are run and not measured; one has to be left after them.
        keep: the last of these that are kept all the same.
        start: state before the first step, (n,) or (B, n).

    Raises:
        InputError: the shapes do not fit, or no step is left.
    """
    inputs = np.asarray(inputs)
    inputs = inputs[None] if inputs.ndim == 2 else inputs
    width = cell.network_input_size
    if inputs.ndim != 3 or inputs.shape[2] != width:
        raise InputError(
            f"the inputs have shape {inputs.shape}; this cell needs (sequences, steps, {width})",
            "check the order of the axes and the number of inputs",
        )
    if inputs.shape[1] <= warmup or not inputs.shape[0]:
        raise InputError(f"no step is left to measure: {inputs.shape[1]} steps, of which {warmup} are warm-up")
    seen = prepare_inputs(cell, inputs)
    batch, steps, _ = seen.shape
    x = np.ascontiguousarray(seen.transpose(1, 2, 0), dtype=cell.dtype)
    s = np.zeros((cell.state_size, batch), cell.dtype)
    if start is not None:
        s = s + np.asarray(start, cell.dtype).reshape(-1, cell.state_size).T
    dropped = warmup - keep
    states = np.empty((steps - dropped + 1, cell.state_size, batch), cell.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, dropped, PIECE):
            piece = np.empty((min(PIECE, dropped - first) + 1, *s.shape), cell.dtype)
            piece[0] = s
            cell.run(x[first : first + len(piece) - 1], piece)
            s = piece[-1]
        states[0] = s
        kept = tuple(np.empty((steps - dropped, rows, batch), cell.dtype) for rows in cell.keeps)
        cell.run(x[dropped:], states, kept)
    return Trajectory(cell, x[dropped:], states, kept)
