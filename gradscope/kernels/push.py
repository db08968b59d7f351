"""Pushing frames of many columns through many steps, with every array in place.

`Linear.push` makes a dozen small arrays a step. A pusher takes in the coefficients of a chunk of steps at once. A frame
is kept by its columns: (S, k, n), row j of sequence s is column j of its frame, so that units lie side by side.

J = through . U + around has two ways to J V. Either U V, once for all sequences, and then the coefficients; or the
matrix through . U is gathered first, one for every sequence: that drops what the gates have more rows than the state
(a GRU's product with V is a third), and pays where V has enough columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.linalg import lapack

from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.columns import jvp_columns
from gradscope.maps.composition import Composite
from gradscope.maps.determinant import log_abs
from gradscope.maps.grid import Entry, absent
from gradscope.maps.jacobian import Array, Dense, Jacobian, Linear, Partials, ranges
from gradscope.maps.row_scaling import STEEP, factors, row_spread
from gradscope.maps.same_step import identity_plus, without_same_step

__all__ = ["Chunk", "Chunks", "Pusher", "Step", "pusher_of"]

CHUNK = 64  # steps whose Jacobians are taken in at once
CHUNK_BYTES = 32 << 20  # in which they fit

GATHERED = 4  # multiplications in a product that cost what one of a gathered matrix does
SLAB = 16  # matrices that are gathered at once: more are no faster
SLAB_BYTES = 8 << 20  # in which they fit


class Chunks:
    """The Jacobians of a chain, a chunk of steps at a time: none of it is to be used once the next one is there."""

    def __init__(self, chain: JacobianChain) -> None:
        self._chain = chain
        self._length = max(1, min(chain.steps, CHUNK, CHUNK_BYTES // chain.step_bytes))
        self._read = chain.reader(self._length)
        self._room: Room = {}

    def __iter__(self) -> Iterator[tuple[Chunk, int]]:
        """Yield the chunk of each step, and the number of the step there."""
        steps = self._chain.steps
        for start in range(0, steps, self._length):
            stop = min(start + self._length, steps)
            chunk = Chunk(self._read(start, stop), stop - start, self._chain.batch, self._room)
            yield from ((chunk, i) for i in range(stop - start))


class Chunk:
    """The Jacobians of some steps."""

    def __init__(self, block: Linear, steps: int, sequences: int, room: Room) -> None:
        self.pusher = pusher_of(block, steps, sequences, room)
        self.steps = steps
        self._block, self._sequences = block, sequences

    @cached_property
    def _stated(self) -> Array | None:
        """log|det| of all steps, (T or 1, S), where there is a closed form; in float32 that is only as good as this."""
        logs = self._block.log_abs_det() if self._block.dtype == np.float64 else None
        return (
            None if logs is None else np.broadcast_to(np.atleast_2d(logs), (len(np.atleast_2d(logs)), self._sequences))
        )

    def log_abs_det(self, i: int) -> Array:
        """Return log|det J[i]| of every sequence, (S,): in closed form where there is one, else by elimination."""
        stated = self._stated
        return self.pusher.log_abs_det(i) if stated is None else stated[i if len(stated) > 1 else 0]


class Pusher(Protocol):
    """The Jacobians of a chunk of steps."""

    def push(self, i: int, frame: Array, out: Array) -> None:
        """Write J[i] times the columns of `frame`, (S, k, old size), to `out`, (S, k, new size)."""

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        """Return the factors of J[i] and whether they are steep, the first one first; none where J may be pushed."""

    def log_abs_det(self, i: int) -> Array:
        """Return log|det J[i]| of every sequence by elimination, (S,)."""


Step = tuple[Pusher, int]
Room = dict[str, tuple[str, Array]]  # what was written to the array, and itself


def pusher_of(block: Linear, steps: int, sequences: int, room: Room, name: str = "") -> Pusher:
    """Return what pushes frames of so many sequences along a chunk of steps.

    Args:
        block: their Jacobians; it may have more steps at its end.
        steps: how many they are.
        sequences: S.
        room: arrays that pushers of earlier chunks have left, by the name of the pusher.
        name: this one's.
    """
    if isinstance(block, Jacobian):
        return _Diagonals(block, steps, sequences) if block.U is None else _Grid(block, steps, sequences, room, name)
    if isinstance(block, Dense) and block.matrix.ndim == 4:
        return _Matrices(block.matrix)
    if isinstance(block, Composite):
        return _Several(block, steps, sequences, room, name)
    return _Plain(block, sequences)


class _Plain:
    """Any Jacobian, by what it can do itself."""

    def __init__(self, block: Linear, sequences: int) -> None:
        self._block, self._sequences = block, sequences

    def _at(self, i: int) -> Linear:
        return self._block.at(i)

    def push(self, i: int, frame: Array, out: Array) -> None:
        columns = frame.reshape(-1, frame.shape[-1]).T
        out[...] = jvp_columns(self._at(i), columns).T.reshape(out.shape)

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        maps = factors(self._at(i))
        if len(maps) == 1:
            return []
        return [((_One(f.map, self._sequences), 0), f.steep) for f in maps]

    def log_abs_det(self, i: int) -> Array:
        J = self._at(i)
        unit, total = np.eye(J.shape[1]), np.zeros(self._sequences)
        for factor in factors(J):
            each = np.split(jvp_columns(factor.map, np.tile(unit, self._sequences)), self._sequences, axis=1)
            total = total + log_abs(np.stack(each))
        return total


class _One(_Plain):
    """A single step."""

    def _at(self, i: int) -> Linear:
        return self._block


class _Several:
    """Several maps in a row."""

    def __init__(self, block: Composite, steps: int, sequences: int, room: Room, name: str) -> None:
        self._pushers = [pusher_of(m, steps, sequences, room, f"{name}.{i}") for i, m in enumerate(block.maps)]
        self._sizes = [m.shape[0] for m in block.maps[:-1]]
        self._plain = _Plain(block, sequences)

    def push(self, i: int, frame: Array, out: Array) -> None:
        for pusher, size in zip(self._pushers, self._sizes, strict=False):
            made = np.empty((*frame.shape[:2], size))
            pusher.push(i, frame, made)
            frame = made
        self._pushers[-1].push(i, frame, out)

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        return self._plain.apart(i)

    def log_abs_det(self, i: int) -> Array:
        return self._plain.log_abs_det(i)


class _Matrices:
    """Jacobians that are given as matrices, (T, S, n, n)."""

    def __init__(self, matrices: Array) -> None:
        self._matrices = matrices

    def push(self, i: int, frame: Array, out: Array) -> None:
        np.matmul(frame, self._matrices[i].swapaxes(-1, -2), out=out)

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        return []

    def log_abs_det(self, i: int) -> Array:
        return log_abs(self._matrices[i])


class _Diagonals:
    """A grid of diagonals."""

    def __init__(self, block: Jacobian, steps: int, sequences: int) -> None:
        self._plain = _Plain(block, sequences)
        self._old, self._new = ranges(block.old), ranges(block.new)
        self._entries = [
            [(q, _coefficients([e], steps, sequences, size)[:, :, 0]) for q, e in enumerate(row) if not absent(e)]
            for row, size in zip(block.around, block.new, strict=True)
        ]

    def push(self, i: int, frame: Array, out: Array) -> None:
        for rows, entries in zip(self._new, self._entries, strict=True):
            to = out[..., rows]
            if not entries:
                to[...] = 0
            for already, (q, entry) in enumerate(entries):
                part = frame[..., self._old[q]]
                if already:
                    to += part * entry[i][:, None]
                else:
                    np.multiply(part, entry[i][:, None], out=to)

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        return self._plain.apart(i)

    def log_abs_det(self, i: int) -> Array:
        return self._plain.log_abs_det(i)


class _Grid:
    """J = through . U + around.

    Matrices are gathered for several steps at once: unit by unit, that is a product of all coefficients with a row of
    every gate, and several times faster than a step at a time.
    """

    def __init__(self, block: Jacobian, steps: int, sequences: int, room: Room, name: str) -> None:
        assert block.U is not None
        self._block, self._plain = block, _Plain(block, sequences)
        self._steps, self._sequences = steps, sequences
        self._room, self._name = room, name
        self._old, self._new, self._reads = ranges(block.old), ranges(block.new), block.reads
        self._read = self._old[self._reads]
        self._U = block.U.astype(float, copy=False)
        self._gates = len(block.through[0])
        present = {p: [g for g, e in enumerate(row) if not absent(e)] for p, row in enumerate(block.through)}
        spans = {p: slice(min(found), max(found) + 1) for p, found in present.items() if found}
        self._through = {
            p: (span, _coefficients(block.through[p][span], steps, sequences, block.new[p]))
            for p, span in spans.items()
        }
        self._around = [
            (p, q, _coefficients([e], steps, sequences, block.new[p])[:, :, 0])
            for p, row in enumerate(block.around)
            for q, e in enumerate(row)
            if not absent(e)
        ]
        self._beside = [x for x in self._around if x[1] != self._reads]
        terms = sum(span.stop - span.start for span in spans.values())
        self._least = GATHERED * terms / max(self._gates - len(spans), 1e-9)
        self._products, self._spare = np.zeros((0, 0, 0, 0)), np.zeros((0, 0, 0))
        self._first, self._count = 0, 0  # steps in the slab
        self._logs: Array | None = None

    def push(self, i: int, frame: Array, out: Array) -> None:
        gathered = frame.shape[1] >= self._least
        if gathered:
            np.matmul(frame[..., self._read], self._transposed(i), out=out)
        else:
            self._push_through(i, frame, out)
        for p, q, entries in self._beside if gathered else self._around:
            part = frame[..., self._old[q]]
            if self._spare.shape != part.shape:
                self._spare = np.empty(part.shape)
            np.multiply(part, entries[i, :, None], out=self._spare)
            out[..., self._new[p]] += self._spare

    def _push_through(self, i: int, frame: Array, out: Array) -> None:
        """Write what goes through the weights."""
        columns = frame.reshape(-1, frame.shape[-1])[:, self._read]
        if self._gates == len(self._through) == len(self._new) == 1:
            np.matmul(columns, self._U.T, out=out.reshape(len(columns), -1))
            out *= self._through[0][1][i]
            return
        shape = (*frame.shape[:2], self._gates, len(self._U) // self._gates)
        if self._products.shape != shape:
            self._products = np.empty(shape)
        np.matmul(columns, self._U.T, out=self._products.reshape(len(columns), -1))
        for p, rows in enumerate(self._new):
            if p in self._through:
                span, entries = self._through[p]
                np.einsum("skgh,sgh->skh", self._products[:, :, span], entries[i], out=out[..., rows])
            else:
                out[..., rows] = 0

    @cached_property
    def _slab(self) -> Array:
        """Matrices of some steps, (new size, steps, S, old size); zero where nothing is written."""
        rows, columns = self._block.shape
        room = max(1, SLAB_BYTES // (8 * rows * columns * self._sequences))
        shape = (rows, min(room, -(-SLAB // self._sequences)), self._sequences, columns)
        written = str((shape, sorted(self._through), [x[:2] for x in self._around]))
        if self._room.get(self._name, ("",))[0] != written:
            self._room[self._name] = written, np.zeros(shape)
        return self._room[self._name][1]

    @cached_property
    def _by_unit(self) -> dict[int, Array]:
        """{new part: coefficients, (H, T, S, gates)}."""
        return {p: np.ascontiguousarray(e.transpose(3, 0, 1, 2)) for p, (_, e) in self._through.items()}

    def _gathered(self, i: int) -> int:
        """Have the matrices of step i in the slab, and return where."""
        if not self._first <= i < self._first + self._count:
            self._first, self._count = i, min(self._slab.shape[1], self._steps - i)
            self._gather()
            self._logs = None
        return i - self._first

    @cached_property
    def _views(self) -> list[Array]:
        """What multiplies the part of a frame that the weights read, of every step in the slab."""
        return [self._slab[:, j, :, self._read].transpose(1, 2, 0) for j in range(self._slab.shape[1])]

    def _transposed(self, i: int) -> Array:
        return self._views[self._gathered(i)]

    def _gather(self) -> None:
        steps, count = slice(self._first, self._first + self._count), self._count * self._sequences
        slab = self._slab[:, : self._count].reshape(len(self._slab), count, -1)
        weights = self._U.reshape(self._gates, -1, self._U.shape[1]).swapaxes(0, 1)
        for p, (span, _) in self._through.items():
            own = self._by_unit[p][:, steps].reshape(-1, count, span.stop - span.start)
            np.matmul(own, weights[:, span], out=slab[self._new[p], :, self._read])
        for p, q, entries in self._around:
            diagonal = np.einsum("iti->ti", slab[self._new[p], :, self._old[q]])
            if q == self._reads and p in self._through:
                diagonal += entries[steps].reshape(diagonal.shape)
            else:
                diagonal[...] = entries[steps].reshape(diagonal.shape)

    @cached_property
    def _spreads(self) -> Array | None:
        """Nats between rows, of every step or of all of them; None where no step is steep."""
        found = row_spread(self._block.through, self._block.around, self._block.partials.within)
        return found if found.max() > STEEP else None

    @cached_property
    def _factors(self) -> list[tuple[Pusher, bool]]:
        """What one new part gives another comes last: rows of the rest may differ in size, and none is rounded off."""
        block, within = self._block, self._block.partials.within
        through, around = without_same_step(block.through, block.around, within)
        first = Jacobian(Partials(through, around), block.U, None, block.reads, block.old, block.new)
        found: list[tuple[Pusher, bool]] = [
            (_Grid(first, self._steps, self._sequences, self._room, f"{self._name}/"), True)
        ]
        if within is not None:
            last = Jacobian(
                Partials([[0]] * len(block.new), identity_plus(within)), None, None, 0, block.new, block.new
            )
            found.append((_Diagonals(last, self._steps, self._sequences), False))
        return found

    def apart(self, i: int) -> list[tuple[Step, bool]]:
        if self._spreads is None:
            return []
        spread = self._spreads[i if len(self._spreads) > 1 else 0]
        if spread <= STEEP:
            return []
        return [((p, i), steep) for p, steep in self._factors] if np.isfinite(spread) else self._plain.apart(i)

    def log_abs_det(self, i: int) -> Array:
        if self.apart(i):
            return self._plain.log_abs_det(i)
        at = self._gathered(i)
        if self._logs is None:
            self._logs = self._eliminated()
        return np.asarray(self._logs[at])

    def _eliminated(self) -> Array:
        """Return log|det| of all matrices in the slab, (steps, S); `slogdet` takes a third longer."""
        pivots = np.ones(self._slab.shape[1:])
        work = np.empty(self._block.shape)
        for at in np.ndindex(self._count, self._sequences):
            work[:] = self._slab[:, *at]
            pivots[at] = np.diagonal(lapack.dgetrf(work.T, overwrite_a=1)[0])
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.abs(pivots)).sum(axis=-1))


def _coefficients(entries: Sequence[Entry], steps: int, sequences: int, units: int) -> Array:
    """Return the coefficients of some gates, (T, S, gates, H)."""
    out = np.empty((steps, sequences, len(entries), units))
    for g, e in enumerate(entries):
        out[:, :, g] = e if np.ndim(e) == 0 else e[:steps].swapaxes(-1, -2)
    return out
