"""Jacobian-vector products of frames of many columns through many steps, with every array in place.

`Linear.jvp` makes a dozen small arrays a step. Here the coefficients of a chunk of steps are taken in at once. A frame
is stored by its columns: (S, k, n), row j of sequence s is column j of its frame, so that units lie side by side.

With J = through . U + around there are two ways to compute J V. Either U V for all sequences in one product, then the
coefficients; or first the matrix through . U of each sequence. The second product has as many rows as the state instead
of as many as all gates (a third for a GRU), and pays for many columns.

`kernels.vjp` is the transpose for one cotangent a sequence; it lists calls on (units, sequences). The two share no code
because they store coefficients differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, singledispatch
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

from gradscope.kernels.columns import jvp_columns
from gradscope.maps.composition import Composite
from gradscope.maps.determinant import log_abs
from gradscope.maps.grid import Entry, Grid, absent
from gradscope.maps.jacobian import Array, Dense, Grids, Jacobian, Linear, ranges
from gradscope.maps.row_scaling import STEEP_NATS, factors, row_spread
from gradscope.maps.same_step import identity_plus, without_same_step

if TYPE_CHECKING:
    from gradscope.dynamics.chain import JacobianChain

CHUNK_STEPS = 64  # steps whose coefficients are taken in at once: enough to hide the loop over gates
CHUNK_BYTES = 32 << 20  # of their Jacobians

# A slab holds the gathered matrices through . U + around of a few steps.
GATHERED_COST = 4  # a multiplication while gathering costs as much as four in a product: it is bound by memory
SLAB_MATRICES = 16  # in a slab: more are no faster
SLAB_BYTES = 8 << 20  # of a slab: more would not stay in the cache until it is used
NO_ROWS_SAVED = 1e-9  # rows, in place of none: the number of columns from which gathering pays is then out of reach


class FrameJvp(Protocol):
    """The Jacobians of a chunk of steps, as they act on frames."""

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        """Write J[i] times the columns of `frame`, (S, k, old size), to `out`, (S, k, new size)."""

    def factors(self, i: int) -> list[tuple[FrameJvp, int, bool]]:
        """Return J[i] as factors, applied first to last: (map, step in it, whether its rows differ in size).

        [] if J[i] is used whole.
        """

    def log_abs_det(self, i: int) -> Array:
        """Return log|det J[i]| of every sequence, (S,), by elimination."""


class _Chunk:
    """The Jacobians of some steps."""

    def __init__(self, block: Linear, steps: int, sequences: int, slabs: Slabs) -> None:
        self.steps = steps
        self.jvps = frame_jvp(block, steps, sequences, slabs)
        self._block, self._sequences = block, sequences

    @cached_property
    def log_dets(self) -> Array | None:
        """log|det| of all steps, (T or 1, S); None without a closed form, or in float32, which has too few digits."""
        logs = self._block.log_abs_det() if self._block.dtype == np.float64 else None
        if logs is None:
            return None
        logs = np.atleast_2d(logs)
        return np.broadcast_to(logs, (len(logs), self._sequences))


class StepJacobian(NamedTuple):
    """The Jacobian of one step, of every sequence; not to be used once the next chunk of steps is there."""

    chunk: _Chunk
    i: int

    @property
    def left(self) -> int:
        """Number of steps of the chunk that are still to come."""
        return self.chunk.steps - self.i - 1

    def log_abs_det(self) -> Array:
        """Return log|det J| of every sequence, (S,): in closed form where there is one, else by elimination."""
        logs = self.chunk.log_dets
        return self.chunk.jvps.log_abs_det(self.i) if logs is None else logs[self.i if len(logs) > 1 else 0]


class FrameJvps:
    """The Jacobians of a chain from a step on, a chunk of steps at a time; iterating again begins there again."""

    def __init__(self, chain: JacobianChain, first: int = 0) -> None:
        self._chain, self._first = chain, first
        self._length = max(1, min(chain.steps, CHUNK_STEPS, CHUNK_BYTES // chain.step_bytes))
        self._read = chain.reader(self._length)
        self._slabs: Slabs = {}

    def __iter__(self) -> Iterator[StepJacobian]:
        """Yield the Jacobian of each step."""
        for start in range(self._first, self._chain.steps, self._length):
            stop = min(start + self._length, self._chain.steps)
            chunk = _Chunk(self._read(start, stop), stop - start, self._chain.batch, self._slabs)
            yield from (StepJacobian(chunk, i) for i in range(chunk.steps))


Slabs = dict[str, tuple[str, Array]]  # {name: (which blocks were written, the array)}: reused if these are the same


@singledispatch
def frame_jvp(block: Linear, steps: int, sequences: int, slabs: Slabs, name: str = "") -> FrameJvp:
    """Return the Jacobians of a chunk of steps as they act on frames.

    Args:
        block: the Jacobians; it may have more steps at its end.
        steps: how many are used.
        sequences: S.
        slabs: arrays that earlier chunks have left, by name.
        name: of what is returned, among these.
    """
    return PlainFrameJvp(block, sequences)


@frame_jvp.register(Jacobian)
def _(block: Jacobian, steps: int, sequences: int, slabs: Slabs, name: str = "") -> FrameJvp:
    return _Diagonals(block, steps, sequences) if block.U is None else _Structured(block, steps, sequences, slabs, name)


@frame_jvp.register(Dense)
def _(block: Dense, steps: int, sequences: int, slabs: Slabs, name: str = "") -> FrameJvp:
    return _Matrices(block.matrix) if block.matrix.ndim == 4 else PlainFrameJvp(block, sequences)


@frame_jvp.register(Composite)
def _(block: Composite, steps: int, sequences: int, slabs: Slabs, name: str = "") -> FrameJvp:
    return _Composite(block, steps, sequences, slabs, name)


class PlainFrameJvp:
    """Any Jacobian, by its jvp."""

    def __init__(self, block: Linear, sequences: int) -> None:
        self._block, self._sequences = block, sequences

    def _at(self, i: int) -> Linear:
        return self._block.at(i)

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        columns = frame.reshape(-1, frame.shape[-1]).T
        out[...] = jvp_columns(self._at(i), columns).T.reshape(out.shape)

    def factors(self, i: int) -> list[tuple[FrameJvp, int, bool]]:
        maps = factors(self._at(i))
        return [] if len(maps) == 1 else [(_OneStep(f.map, self._sequences), 0, f.steep) for f in maps]

    def log_abs_det(self, i: int) -> Array:
        J = self._at(i)
        identity, total = np.eye(J.shape[1]), np.zeros(self._sequences)
        # the determinants of the factors: multiplied out, rows of very different size would be rounded off
        for factor in factors(J):
            columns = jvp_columns(factor.map, np.tile(identity, self._sequences))
            total = total + log_abs(np.stack(np.split(columns, self._sequences, axis=1)))
        return total


class _OneStep(PlainFrameJvp):
    """A single step."""

    def _at(self, i: int) -> Linear:
        return self._block


class _Composite(PlainFrameJvp):
    """Several maps in a row."""

    def __init__(self, block: Composite, steps: int, sequences: int, slabs: Slabs, name: str) -> None:
        super().__init__(block, sequences)
        self._maps = [frame_jvp(m, steps, sequences, slabs, f"{name}.{i}") for i, m in enumerate(block.maps)]
        self._sizes = [m.shape[0] for m in block.maps[:-1]]

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        for jvps, size in zip(self._maps, self._sizes, strict=False):
            between = np.empty((*frame.shape[:2], size))
            jvps.jvp(i, frame, between)
            frame = between
        self._maps[-1].jvp(i, frame, out)


class _Matrices:
    """Jacobians that are given as matrices, (T, S, n, n)."""

    def __init__(self, matrices: Array) -> None:
        self._matrices = matrices

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        np.matmul(frame, self._matrices[i].swapaxes(-1, -2), out=out)

    def factors(self, i: int) -> list[tuple[FrameJvp, int, bool]]:
        return []

    def log_abs_det(self, i: int) -> Array:
        return log_abs(self._matrices[i])


class _Diagonals(PlainFrameJvp):
    """A grid of diagonals."""

    def __init__(self, block: Jacobian, steps: int, sequences: int) -> None:
        super().__init__(block, sequences)
        self._old, self._new = ranges(block.old), ranges(block.new)
        self._entries = [
            [(q, _coefficients([e], steps, sequences, size)[:, :, 0]) for q, e in enumerate(row) if not absent(e)]
            for row, size in zip(block.around, block.new, strict=True)
        ]

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        for rows, entries in zip(self._new, self._entries, strict=True):
            to = out[..., rows]
            if not entries:
                to[...] = 0
            for number, (q, entry) in enumerate(entries):
                part = frame[..., self._old[q]]
                if number:
                    to += part * entry[i][:, None]
                else:
                    np.multiply(part, entry[i][:, None], out=to)


class _Structured(PlainFrameJvp):
    """J = through . U + around.

    Matrices are gathered for several steps at once: unit by unit, that is a product of all coefficients with a row of
    every gate, and several times faster than a step at a time.
    """

    def __init__(self, block: Jacobian, steps: int, sequences: int, slabs: Slabs, name: str) -> None:
        assert block.U is not None
        super().__init__(block, sequences)
        self._jacobian, self._steps, self._slabs, self._name = block, steps, slabs, name
        self._old, self._new, self._reads = ranges(block.old), ranges(block.new), block.reads
        self._read = self._old[self._reads]
        self._U = block.U.astype(float, copy=False)
        self._gates = len(block.through[0])
        # 1. coefficients in front of U, for each new part: its gates from the first to the last, absent ones as zero
        spans = _spans(block.through)
        self._through = {
            p: (span, _coefficients(block.through[p][span], steps, sequences, block.new[p]))
            for p, span in spans.items()
        }
        # 2. diagonals of the skip path, and those of them that a gathered matrix leaves out
        self._around = [
            (p, q, _coefficients([block.around[p][q]], steps, sequences, block.new[p])[:, :, 0])
            for p, q in product(range(len(block.new)), range(len(block.old)))
            if not absent(block.around[p][q])
        ]
        self._not_gathered = [x for x in self._around if x[1] != self._reads]
        # 3. columns from which gathering pays: it costs a pass over `terms` gates, and saves rows of the product
        terms = sum(span.stop - span.start for span in spans.values())
        self._fewest_columns = GATHERED_COST * terms / max(self._gates - len(spans), NO_ROWS_SAVED)
        self._products, self._spare = np.zeros((0, 0, 0, 0)), np.zeros((0, 0, 0))
        self._first, self._count = 0, 0  # steps in the slab
        self._slab_log_dets: Array | None = None

    def jvp(self, i: int, frame: Array, out: Array) -> None:
        gathered = frame.shape[1] >= self._fewest_columns
        # 1. through . U; a gathered matrix has the skip path of the part that the weights read on its diagonals
        if gathered:
            at = self._gathered(i)
            np.matmul(frame[..., self._read], self._transposed[at], out=out)
        else:
            self._jvp_through(i, frame, out)
        # 2. the rest of the skip path; `out` is no spare array, since terms are added to it
        for p, q, entries in self._not_gathered if gathered else self._around:
            part = frame[..., self._old[q]]
            if self._spare.shape != part.shape:
                self._spare = np.empty(part.shape)
            np.multiply(part, entries[i, :, None], out=self._spare)
            out[..., self._new[p]] += self._spare

    def _jvp_through(self, i: int, frame: Array, out: Array) -> None:
        """Write the part that goes through the recurrent weights."""
        columns = frame.reshape(-1, frame.shape[-1])[:, self._read]
        if self._gates == len(self._through) == len(self._new) == 1:  # one gate: its product is the result
            np.matmul(columns, self._U.T, out=out.reshape(len(columns), -1))
            out *= self._through[0][1][i]
            return
        shape = (*frame.shape[:2], self._gates, len(self._U) // self._gates)
        if self._products.shape != shape:
            self._products = np.empty(shape)
        np.matmul(columns, self._U.T, out=self._products.reshape(len(columns), -1))
        # the sum over the gates of a part; a part that no gate reaches would keep the numbers of another step
        for p, rows in enumerate(self._new):
            if p in self._through:
                span, entries = self._through[p]
                np.einsum("skgh,sgh->skh", self._products[:, :, span], entries[i], out=out[..., rows])
            else:
                out[..., rows] = 0

    @cached_property
    def _slab(self) -> Array:
        """Matrices of some steps, (new size, steps, S, old size); zero where nothing is written."""
        rows, columns = self._jacobian.shape
        fitting = max(1, SLAB_BYTES // (8 * rows * columns * self._sequences))
        shape = (rows, min(fitting, -(-SLAB_MATRICES // self._sequences)), self._sequences, columns)
        # the array of an earlier chunk has its zeros in the right places only if the same blocks were written to it
        written = str((shape, sorted(self._through), [x[:2] for x in self._around]))
        if self._slabs.get(self._name, ("",))[0] != written:
            self._slabs[self._name] = written, np.zeros(shape)
        return self._slabs[self._name][1]

    @cached_property
    def _by_unit(self) -> dict[int, Array]:
        """{new part: coefficients, (H, T, S, gates)}."""
        return {p: np.ascontiguousarray(e.transpose(3, 0, 1, 2)) for p, (_, e) in self._through.items()}

    @cached_property
    def _transposed(self) -> list[Array]:
        """What multiplies the part of a frame that the weights read, of every step in the slab."""
        return [self._slab[:, j, :, self._read].transpose(1, 2, 0) for j in range(self._slab.shape[1])]

    def _gathered(self, i: int) -> int:
        """Gather the matrix of step i, unless it is in the slab, with those of the next steps; return its place."""
        if not self._first <= i < self._first + self._count:
            self._first, self._count = i, min(self._slab.shape[1], self._steps - i)
            self._gather()
            self._slab_log_dets = None
        return i - self._first

    def _gather(self) -> None:
        """Write through . U + around of the steps in the slab."""
        steps, count = slice(self._first, self._first + self._count), self._count * self._sequences
        slab = self._slab[:, : self._count].reshape(len(self._slab), count, -1)
        weights = self._U.reshape(self._gates, -1, self._U.shape[1]).swapaxes(0, 1)
        for p, (span, _) in self._through.items():
            coefficients = self._by_unit[p][:, steps].reshape(-1, count, span.stop - span.start)
            np.matmul(coefficients, weights[:, span], out=slab[self._new[p], :, self._read])
        for p, q, entries in self._around:
            diagonal = np.einsum("iti->ti", slab[self._new[p], :, self._old[q]])
            # added where `matmul` has just written; where it does not write, the slab holds an older diagonal
            if q == self._reads and p in self._through:
                diagonal += entries[steps].reshape(diagonal.shape)
            else:
                diagonal[...] = entries[steps].reshape(diagonal.shape)

    @cached_property
    def _spreads(self) -> Array | None:
        """Nats between rows, of every step or of all of them; None where no step is steep."""
        spreads = row_spread(self._jacobian.through, self._jacobian.around, self._jacobian.grids.within)
        return spreads if spreads.max() > STEEP_NATS else None

    @cached_property
    def _factors(self) -> list[tuple[FrameJvp, bool]]:
        """J = (1 + within) . M, as (map, whether its rows differ in size).

        M comes first, and its rows are made orthonormal before `within` mixes small rows with large ones.
        """
        block, within = self._jacobian, self._jacobian.grids.within
        through, around = without_same_step(block.through, block.around, within)
        first = Jacobian(Grids(through, around), block.U, None, block.reads, block.old, block.new)
        maps: list[tuple[FrameJvp, bool]] = [
            (_Structured(first, self._steps, self._sequences, self._slabs, f"{self._name}/"), True)
        ]
        if within is not None:
            last = Jacobian(Grids([[0]] * len(block.new), identity_plus(within)), None, None, 0, block.new, block.new)
            maps.append((_Diagonals(last, self._steps, self._sequences), False))
        return maps

    def factors(self, i: int) -> list[tuple[FrameJvp, int, bool]]:
        if self._spreads is None:
            return []
        spread = self._spreads[i if len(self._spreads) > 1 else 0]
        if spread <= STEEP_NATS:
            return []
        # inf: this step has zeros that others do not have, and factors of a block are the same for all its steps
        return [(jvps, i, steep) for jvps, steep in self._factors] if np.isfinite(spread) else super().factors(i)

    def log_abs_det(self, i: int) -> Array:
        if self.factors(i):
            return super().log_abs_det(i)
        at = self._gathered(i)
        if self._slab_log_dets is None:
            self._slab_log_dets = self._eliminated()
        return np.asarray(self._slab_log_dets[at])

    def _eliminated(self) -> Array:
        """Return log|det| of all matrices in the slab, (steps, S); `slogdet` takes a third longer."""
        pivots = np.ones(self._slab.shape[1:])
        work = np.empty(self._jacobian.shape)
        for at in np.ndindex(self._count, self._sequences):
            work[:] = self._slab[:, *at]  # the determinant of the transpose is the same, and LAPACK reads columns
            pivots[at] = np.diagonal(lapack.dgetrf(work.T, overwrite_a=1)[0])
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.abs(pivots)).sum(axis=-1))


def _spans(through: Grid) -> dict[int, slice]:
    """Return {new part: its gates, from the first one that it has to the last}; parts without any are left out."""
    present = {p: [g for g, e in enumerate(row) if not absent(e)] for p, row in enumerate(through)}
    return {p: slice(min(gates), max(gates) + 1) for p, gates in present.items() if gates}


def _coefficients(entries: Sequence[Entry], steps: int, sequences: int, units: int) -> Array:
    """Return the coefficients of some gates, (T, S, gates, H)."""
    out = np.empty((steps, sequences, len(entries), units))
    for g, e in enumerate(entries):
        out[:, :, g] = e if np.ndim(e) == 0 else e[:steps].swapaxes(-1, -2)
    return out
