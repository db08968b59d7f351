"""Run a cell along its input and store the states: all, or checkpoints from which the others are computed again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING, STATES
from gradscope.errors import InputError
from gradscope.kernels.kinds import PlainLoop, Runner, kernel_of
from gradscope.maps.jacobian import Array
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction

WARMUP_STEPS = 256  # whose states are held at once while a run warms up


class Window(NamedTuple):
    """Some of the steps.

    Attributes:
        inputs: (K, m, B).
        states: (K + 1, n, B), before the first step and after each.
        saved: what was saved of these steps, (K, *, B) each.
    """

    inputs: Array
    states: Array
    saved: list[Array]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A cell, its inputs and its states.

    Attributes:
        cell: the cell.
        inputs: (T, m, B), in the cell's own time order.
        states: (T + 1, n, B); states[0] is where the measured steps begin. With `at`, only some of them.
        saved: what the run saved for the linearisation, (T, *, B) each: `kernels.kinds`; () for nothing.
        at: (M,), the steps whose states are stored, from 0 to T; others are computed again. None: all are stored.
        nonfinite: whether one of these others is not finite.
    """

    cell: Network
    inputs: Array
    states: Array
    saved: tuple[Array, ...] = ()
    at: Array | None = None
    nonfinite: bool = False
    _last: dict[int, tuple[Array, list[Array]]] = field(default_factory=dict, repr=False)

    @cached_property
    def kernel(self) -> PlainLoop:
        """What runs and linearises the cell."""
        return kernel_of(self.cell)

    @cached_property
    def _runner(self) -> Runner:
        assert self.at is not None
        return self.kernel.runner(int(np.diff(self.at).max(initial=1)), self.batch)

    @property
    def steps(self) -> int:
        """Number of measured steps T."""
        return len(self.inputs)

    @property
    def batch(self) -> int:
        """Number of sequences B."""
        return int(self.states.shape[-1])

    def window(self, start: int, stop: int) -> Window:
        """Return steps start, ..., stop - 1."""
        rows = slice(start, stop)
        if self.at is None:
            return Window(self.inputs[rows], self.states[start : stop + 1], [k[rows] for k in self.saved])
        # Whole pieces from one checkpoint to the next: a pass in either direction has each piece computed once.
        begin = int(np.searchsorted(self.at, start, side="right")) - 1
        end = max(int(np.searchsorted(self.at, stop)), begin + 1)
        pieces = {i: self._last[i] if i in self._last else _recompute(self, i) for i in range(begin, end)}
        self._last.clear()
        self._last.update(pieces)
        states, saved = [], []
        for i, (piece, piece_saved) in pieces.items():
            first = int(self.at[i])
            low, high = max(start - first, 0), min(stop - first, len(piece) - 1)
            states.append(piece[low : high + (i == end - 1)])
            saved.append([k[low:high] for k in piece_saved])
        return Window(self.inputs[rows], _joined(states), [_joined(k) for k in zip(*saved, strict=True)])

    def state(self, t: int) -> Array:
        """Return s_t, (n, B)."""
        return self.window(t, t).states[0] if t < self.steps else np.asarray(self.states[-1])

    def windows(self, steps: int) -> Iterator[tuple[int, Window]]:
        """Yield (number of the first step, window) of so many steps each, from the first to the last."""
        for start in range(0, self.steps, steps):
            yield start, self.window(start, min(start + steps, self.steps))

    def between(self, low: int, high: int) -> Trajectory:
        """Return the trajectory of sequences number `low` to `high - 1`."""
        states, inputs = self.states[..., low:high], self.inputs[..., low:high]
        return Trajectory(
            self.cell, inputs, states, tuple(k[..., low:high] for k in self.saved), self.at, self.nonfinite
        )

    def bare(self) -> Trajectory:
        """Return the trajectory without what can be computed again."""
        return Trajectory(self.cell, self.inputs, self.states, (), self.at, self.nonfinite)

    def after(self, steps: int) -> Trajectory:
        """Return the trajectory after the first `steps` steps, which must be a checkpoint where `at` is given."""
        saved = tuple(k[steps:] for k in self.saved)
        if self.at is None:
            return Trajectory(self.cell, self.inputs[steps:], self.states[steps:], saved)
        row = int(np.searchsorted(self.at, steps))
        return Trajectory(
            self.cell, self.inputs[steps:], self.states[row:], saved, self.at[row:] - steps, self.nonfinite
        )


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _recompute(path: Trajectory, number: int) -> tuple[Array, list[Array]]:
    """Return the states, and what a run saves, from checkpoint `number` to the next."""
    assert path.at is not None
    first, end = int(path.at[number]), int(path.at[number + 1])
    states = np.empty((end - first + 1, *path.states.shape[1:]), path.states.dtype)
    states[0] = path.states[number]
    saved = _arrays(path.kernel, end - first, path.batch, path.states.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        path._runner(path.inputs[first:end], states, saved)
    return states, saved


def _arrays(kernel: PlainLoop, steps: int, batch: int, dtype: np.dtype[Any]) -> list[Array]:
    return [np.empty((steps, rows, batch), dtype) for rows in kernel.saved_rows]


def prepare_inputs(cell: Network, inputs: Array) -> Array:
    """Return what the cell itself sees, (B, T, m), from the inputs of its network, (B, T, M).

    For a cell that is not a direction of a bidirectional network the two are the same. A backward
    direction sees its input from the last step to the first.
    """
    if not isinstance(cell, Direction):
        return inputs
    return _seen(cell, _given(cell, inputs))


def _given(cell: Direction, inputs: Array) -> Array:
    """Return the inputs of a layer before its norm, (B, T, m), in the order of the data.

    These are the outputs of both directions of the layer below, side by side. With residual connections the inputs of
    the layer below are added, unless it is the bottom one.
    """
    if not cell.below:
        return inputs
    lower = cell.below[0]
    given, outputs = _given(lower, inputs), []
    for direction in cell.below:
        states = run(direction.cell, _seen(direction, given), storage=STATES).states[1:, direction.output]
        outputs.append(states[::-1] if direction.reverse else states)
    output = np.concatenate(outputs, axis=1).transpose(2, 0, 1)
    return output + given if cell.residual and lower.below else output


def _seen(cell: Direction, given: Array) -> Array:
    """Return the inputs of a direction, after the norm and in its own time order, from those of its layer."""
    if cell.norm is not None:
        given = cell.norm.apply(given.swapaxes(1, 2)).swapaxes(1, 2)
    return given[:, ::-1] if cell.reverse else given


def run(
    cell: Network,
    inputs: Array,
    *,
    warmup: int = 0,
    keep: int = 0,
    start: Array | None = None,
    storage: str = EVERYTHING,
) -> Trajectory:
    """Run a cell from `start` (zeros unless given), drop the first `warmup` steps, and store the rest.

    Values that overflow become inf, which later steps take in; `analysis.finite` reports them.

    Args:
        cell: the cell.
        inputs: (B, T, m) or (T, m), inputs of the network.
        warmup: steps that are run and not measured; one has to be left after them.
        keep: number of the last warm-up steps that are stored all the same.
        start: state before the first step, (n,) or (B, n).
        storage: one of `budget.STORAGE`; what is not stored is computed again on demand, with the same numbers.

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
        steps = f"the input has {inputs.shape[1]} steps, the warm-up takes {warmup}"
        raise InputError(f"no step is left to measure: {steps}")
    seen = prepare_inputs(cell, inputs)
    batch, steps, _ = seen.shape
    x = np.ascontiguousarray(seen.transpose(1, 2, 0), dtype=cell.dtype)
    s = np.zeros((cell.state_size, batch), cell.dtype)
    if start is not None:
        s = s + np.asarray(start, cell.dtype).reshape(-1, cell.state_size).T
    dropped, kernel = warmup - keep, kernel_of(cell)
    with np.errstate(over="ignore", invalid="ignore"):
        if dropped:
            runner = kernel.runner(WARMUP_STEPS, batch)
            for first in range(0, dropped, WARMUP_STEPS):
                s = _states(runner, x[first : min(first + WARMUP_STEPS, dropped)], s)[-1]
        x = x[dropped:]
        if storage == CHECKPOINTS:
            return _with_checkpoints(cell, kernel, x, s, keep)
        states = np.empty((len(x) + 1, cell.state_size, batch), cell.dtype)
        states[0] = s
        saved = _arrays(kernel, len(x), batch, cell.dtype) if storage == EVERYTHING else []
        kernel.runner(len(x), batch)(x, states, saved)
    return Trajectory(cell, x, states, tuple(saved))


def run_again(path: Trajectory, inputs: Array, start: Array, *, keep: int = 0) -> Trajectory:
    """Return the trajectory of the same cell along other inputs or from another state; checkpoints are stored.

    Args:
        path: the trajectory whose cell is run.
        inputs: (T', m, B'), as the cell sees them, in its own time order.
        start: (n, B'), the state before the first step.
        keep: steps after which there is a checkpoint, so that `after(keep)` can be taken.
    """
    x, s = np.ascontiguousarray(inputs, path.states.dtype), np.ascontiguousarray(start, path.states.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return _with_checkpoints(path.cell, path.kernel, x, s, keep)


def _states(runner: Runner, x: Array, s: Array) -> Array:
    """Return the states of a few steps from s on."""
    states = np.empty((len(x) + 1, *s.shape), s.dtype)
    states[0] = s
    runner(x, states)
    return states


def _with_checkpoints(cell: Network, kernel: PlainLoop, x: Array, s: Array, begin: int) -> Trajectory:
    """Run a cell and store the states of about sqrt(T) steps, the one after the first `begin` among them."""
    length = max(1, math.isqrt(len(x)))
    at = np.unique([0, *range(begin, len(x), length), len(x)])
    states = np.empty((len(at), *s.shape), cell.dtype)
    states[0] = s
    runner, nonfinite = kernel.runner(length, s.shape[1]), False
    for row, (first, end) in enumerate(itertools.pairwise(at.tolist())):
        piece = _states(runner, x[first:end], states[row])
        states[row + 1], nonfinite = piece[-1], nonfinite or not np.isfinite(piece).all()
    return Trajectory(cell, x, states, (), at, nonfinite)
