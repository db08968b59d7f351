"""A chain of one-step Jacobians: the one place that says J[t] = d s[t+1] / d s[t], rows = outputs.

Gradients go backward, u -> J[t]^T u from the last t to the first. Perturbations go forward. The product
over the chain is P = J[T-1] ... J[1] J[0].
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol, Self

import numpy as np

from gradscope.dynamics.trajectory import Trajectory
from gradscope.errors import InputError
from gradscope.kernels.bound import sum_bound
from gradscope.kernels.units import UnitProduct
from gradscope.maps.jacobian import Array, Dense, Linear

BLOCK_BYTES = 1 << 21  # of Jacobians that are read once, an estimate from above: about a second-level cache
BLOCK_STEPS = 32  # at most: longer blocks are no faster
CHUNK_BYTES = 64 << 20  # of Jacobians that are computed at once and last: enough to hide the loop, little to hold
STORED_BYTES = 32 << 20  # up to this size all Jacobians are stored: every analysis asks for them


class _Source(Protocol):
    def __call__(self, start: int, stop: int) -> Linear: ...


class JacobianChain:
    """J[0], ..., J[T-1] along B sequences, computed a chunk of steps at a time.

    Attributes:
        steps: number of Jacobians T.
        batch: number of sequences B.
        sizes: {part: size} of the state.
        outputs: the parts of the state, of one size, whose sum the loss sees.
        trajectory: where the chain was linearised, or None for a chain of given Jacobians.
        step_bytes: bytes that the Jacobians of one step take, about, work arrays included.
    """

    def __init__(
        self,
        source: _Source,
        steps: int,
        batch: int,
        sizes: dict[str, int],
        outputs: tuple[slice, ...],
        *,
        trajectory: Trajectory | None = None,
        dtype: Any = np.float64,
        numbers: int | None = None,
    ) -> None:
        self._compute = source
        self._stored: Linear | None = None  # the Jacobians of all steps, once they are computed
        self.steps = steps
        self.batch = batch
        self.sizes = sizes
        self.outputs = outputs
        self.trajectory = trajectory
        self.dtype = np.dtype(dtype)
        self.step_bytes = max((numbers or self.size**2) * batch * self.dtype.itemsize, 1)
        self._chunk = max(1, min(steps, CHUNK_BYTES // self.step_bytes))
        whole = trajectory is not None and trajectory.at is None  # nothing of the run is computed again
        self._stores = whole and steps * self.step_bytes <= STORED_BYTES and self._chunk == steps

    def _source(self, start: int, stop: int) -> Linear:
        """Return J[start], ..., J[stop - 1], with a time axis."""
        if not self._stores:
            return self._compute(start, stop)
        if self._stored is None:
            self._stored = self._compute(0, self.steps)
        return self._stored if (start, stop) == (0, self.steps) else self._stored.at(slice(start, stop))

    @property
    def size(self) -> int:
        """Number of state variables n."""
        return sum(self.sizes.values())

    @property
    def output_size(self) -> int:
        """Number of outputs that the loss sees."""
        return int(self.outputs[0].stop - self.outputs[0].start)

    @property
    def block_steps(self) -> int:
        """Number of steps whose Jacobians fit into the cache, for a pass that reads each Jacobian once."""
        return max(1, min(self.steps, BLOCK_STEPS, int(BLOCK_BYTES // self.step_bytes)))

    @cached_property
    def parts(self) -> dict[str, slice]:
        """Where each part of the state lies."""
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        return {name: slice(a, b) for name, a, b in zip(self.sizes, ends[:-1], ends[1:], strict=True)}

    @classmethod
    def from_arrays(cls, jacobians: Any) -> Self:
        """Return a chain of given Jacobians.

        Args:
            jacobians: (T, n, n), or (T, B, n, n) for B sequences; rows are outputs, and
                jacobians[t] = d s[t+1] / d s[t].

        Raises:
            InputError: the shape is another, or the values are not real numbers.
        """
        try:
            array = np.asarray(jacobians)
        except ValueError:
            raise InputError("Jacobians must have one shape: (T, n, n) or (T, B, n, n)") from None
        if array.dtype.kind not in "fiu":
            raise InputError(f"Jacobians must be real numbers, not {array.dtype}")
        array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
        if array.ndim == 3:
            array = array[:, None]
        if array.ndim != 4 or array.shape[2] != array.shape[3] or 0 in array.shape:
            raise InputError(f"Jacobians have shape {np.shape(jacobians)}; they must be (T, n, n) or (T, B, n, n)")
        steps, batch, n, _ = array.shape
        source = lambda start, stop: Dense(array[start:stop])  # noqa: E731
        return cls(source, steps, batch, {"s": n}, (slice(0, n),), dtype=array.dtype)

    @cached_property
    def first_nonfinite(self) -> int | None:
        """Number of the first step whose Jacobian is not finite, or None."""
        ones = np.ones((self.size, self.batch), self.dtype)
        finite_below = float(np.finfo(self.dtype).max) / 2  # whatever is rounded
        with np.errstate(over="ignore", invalid="ignore"):
            for start, stop, block in self.blocks():
                if sum_bound(block) < finite_below:
                    continue
                for t in range(start, stop):
                    J = block.at(t - start)
                    if not (np.isfinite(J.jvp(ones)).all() and np.isfinite(J.vjp(ones)).all()):
                        return t
        return None

    def first(self, count: int) -> JacobianChain:
        """Return the chain of the first `count` sequences."""
        return self.between(0, count)

    def between(self, low: int, high: int) -> JacobianChain:
        """Return the chain of sequences number `low` to `high - 1`."""
        if low <= 0 and high >= self.batch:
            return self
        if self.trajectory is not None:
            return linearise(self.trajectory.between(low, high))
        source = lambda start, stop: Dense(self._source(start, stop).matrix[:, low:high])  # type: ignore[attr-defined]  # noqa: E731
        return JacobianChain(source, self.steps, high - low, self.sizes, self.outputs, dtype=self.dtype)

    def after(self, steps: int) -> JacobianChain:
        """Return the chain of the steps after the first `steps` of a run."""
        assert self.trajectory is not None
        rest = linearise(self.trajectory.after(steps))
        if self._stores:  # one store for both chains
            rest._stores, rest._compute = False, lambda start, stop: self._source(steps + start, steps + stop)
        return rest

    def at(self, t: int) -> Linear:
        """Return J[t] for all sequences."""
        return self._source(t, t + 1).at(0)

    def reader(self, steps: int) -> Callable[[int, int], Linear]:
        """Return a function of (start, stop): J[start], ..., J[stop - 1], up to so many steps, with a time axis.

        What it returns is valid until it is called again, and may have more steps at its end.
        """
        if self.trajectory is None:
            return self._source
        run = self.trajectory
        block = run.kernel.lineariser(steps, run.batch)

        def read(start: int, stop: int) -> Linear:
            x, s, saved = run.window(start, stop)
            with np.errstate(over="ignore", invalid="ignore"):  # as a recorded formula has it where it stands
                return block(x, s[:-1], saved)

        return read

    @cached_property
    def diagonal(self) -> bool:
        """Whether units do not interact: `Linear.diagonal` of the Jacobians."""
        return self.at(0).diagonal

    @cached_property
    def unit_product(self) -> UnitProduct:
        """The product of all Jacobians of a diagonal chain, unit by unit."""
        product = UnitProduct(len(self.parts), self.size // len(self.parts), self.batch)
        for _, _, steps in self.units():
            product.multiply(steps)
        return product

    def units(self, cuts: Iterable[int] = (), *, backward: bool = False) -> Iterator[tuple[int, int, Array]]:
        """Yield (start, stop, `Linear.unit_blocks` of these steps) of a diagonal chain, a few steps at a time.

        Args:
            cuts: numbers of steps; no block goes across one.
            backward: whether the last steps come first.

        Returns:
            (p, p, stop - start, H, B) each.
        """
        cuts = sorted(cuts)
        for start, stop, block in self.blocks(backward=backward):
            matrices = block.unit_blocks()
            assert matrices is not None
            if matrices.ndim == 4:  # the same at every step
                matrices = np.broadcast_to(
                    matrices[:, :, None], (*matrices.shape[:2], stop - start, *matrices.shape[2:])
                )
            ends = [start, *cuts[bisect_right(cuts, start) : bisect_left(cuts, stop)], stop]
            inner = list(pairwise(ends))
            for a, b in reversed(inner) if backward else inner:
                yield a, b, matrices[:, :, a - start : b - start]

    def forward(self, first: int = 0) -> Iterator[tuple[int, Linear]]:
        """Yield (t, J[t]) from step `first` to the last."""
        for start in range(first, self.steps, self._chunk):
            stop = min(start + self._chunk, self.steps)
            block = self._source(start, stop)
            for t in range(start, stop):
                yield t, block.at(t - start)

    def passing(self) -> Iterator[tuple[int, Linear]]:
        """Yield (t, J[t]) from the first step to the last; J[t] is valid until the next one."""
        for start, stop, block in self.blocks():
            for t in range(start, stop):
                yield t, block.at(t - start)

    def blocks(self, *, backward: bool = False) -> Iterator[tuple[int, int, Linear]]:
        """Yield (start, stop, Jacobians of these steps) from the first to the last, or back; valid until the next."""
        size = self.block_steps
        read = self.reader(size)
        starts = range(0, self.steps, size)
        for start in reversed(starts) if backward else starts:
            stop = min(start + size, self.steps)
            yield start, stop, read(start, stop)

    def backward(self, last: int | None = None) -> Iterator[tuple[int, Linear]]:
        """Yield (t, J[t]) from the step before `last`, or the last one, to the first, as gradients go."""
        for stop in range(self.steps if last is None else last, 0, -self._chunk):
            start = max(0, stop - self._chunk)
            block = self._source(start, stop)
            for t in range(stop - 1, start - 1, -1):
                yield t, block.at(t - start)


def linearise(trajectory: Trajectory) -> JacobianChain:
    """Linearise a cell along the states that it went through."""
    cell, kernel = trajectory.cell, trajectory.kernel

    def source(start: int, stop: int) -> Linear:
        with np.errstate(over="ignore", invalid="ignore"):
            x, s, saved = trajectory.window(start, stop)
            return kernel.linearise(x, s[:-1], saved)

    return JacobianChain(
        source,
        trajectory.steps,
        trajectory.batch,
        cell.sizes,
        cell.outputs,
        trajectory=trajectory,
        dtype=trajectory.states.dtype,
        numbers=cell.jacobian_numbers,
    )
