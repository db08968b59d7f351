"""The structured Jacobian of one step, J = through . U + around, and its algebra.

A recurrent cell is one matrix product followed by an element-wise map: pre-activations `a = U h + b`
and `v = W x + b` of some gates, then gates and new state unit by unit. So its Jacobian is a grid of
diagonals times U, the road *through* the weights, plus a grid of diagonals, the road *around* them.
Nothing here builds a dense diagonal; one application costs one product with U.

Layout: a vector of the state is feature-major, shape (n, B) for B independent columns. Grid entries
are (H, B), or a plain number; the integer 0 stands for "no path" and costs nothing. Before `at` has
chosen a step, entries carry a leading time axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradscope._blocks import absent, block_log_det, log_abs, split

__all__ = ["Array", "Dense", "Jacobian", "Linear", "Partials", "Roads", "Transposed", "ranges"]

Array = NDArray[Any]
Entry = Any  # an array (..., H, B), or a number; the integer 0 means that there is no path
Grid = Sequence[Sequence[Entry]]


@dataclass(frozen=True)
class Partials:
    """Derivatives of one element-wise map, all of them diagonals.

    Attributes:
        through: [new part][gate], d(part) / d(recurrent pre-activation of the gate).
        around: [new part][old part], what passes without touching a recurrent weight.
        entry: [new part][gate], d(part) / d(input pre-activation); None where it equals `through`.
        within: [new part][new part], what one new part contributes to another in the same step,
            as c' does to h' in an LSTM; None where there is no such path.
    """

    through: Grid
    around: Grid
    entry: Grid | None = None
    within: Grid | None = None

    def take(self, index: Any) -> Partials:
        """Return the same grids with `index` applied to every array in them."""

        def grid(g: Grid | None) -> Any:
            if g is None:
                return None
            return [[e[index] if isinstance(e, np.ndarray) and e.ndim else e for e in row] for row in g]

        return Partials(grid(self.through), grid(self.around), grid(self.entry), grid(self.within))


class Roads(NamedTuple):
    """u . J v, shared out by what a path from the old state to the new one crosses first.

    Attributes:
        pushed: J v, (rows, B).
        around: what crosses no weight, (B,).
        through: {name: what crosses these weights first}, (B,) each. With `around` they add up to u . J v.
    """

    pushed: Array
    around: Array
    through: dict[str, Array]


class Factor(NamedTuple):
    """One of several maps that make up a Jacobian; `steep`: its rows may be of very different size."""

    map: Linear
    steep: bool = False


class Linear(ABC):
    """A linear map from one state to the next, for B independent columns at once."""

    shape: tuple[int, int]
    """(rows, columns): sizes of the new and of the old state."""

    @abstractmethod
    def push(self, v: Array) -> Array:
        """Return J v, a Jacobian-vector product; (columns, B) -> (rows, B)."""

    @abstractmethod
    def pull(self, u: Array) -> Array:
        """Return J^T u, a vector-Jacobian product; (rows, B) -> (columns, B)."""

    @abstractmethod
    def push_around(self, v: Array) -> Array:
        """Return A v, with A the part of J that crosses no recurrent weight."""

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        """Return (A v, J v - A v): what crosses no recurrent weight, and the rest."""
        around = self.push_around(v)
        return around, self.push(v) - around

    def roads(self, u: Array, v: Array) -> Roads:
        """Share out u . J v by roads; a map of which no more is known has one road "through"."""
        around, through = self.push_apart(v)
        return Roads(around + through, (u * around).sum(axis=0), {"through": (u * through).sum(axis=0)})

    @abstractmethod
    def push_input(self, x: Array) -> Array:
        """Return (ds'/dx) x; (inputs, B) -> (rows, B)."""

    @abstractmethod
    def pull_input(self, u: Array) -> Array:
        """Return (ds'/dx)^T u; (rows, B) -> (inputs, B)."""

    @abstractmethod
    def at(self, index: Any) -> Linear:
        """Choose a step: apply `index` to the leading axis of every entry."""

    @abstractmethod
    def column(self, b: int) -> Linear:
        """Choose one of the B columns, kept as an axis of length 1 that broadcasts over a block."""

    def pull_within(self, u: Array) -> Array:
        """Return what reaches each new part from the other new parts of the same step."""
        return np.zeros_like(u)

    def push_blocks(self, v: Array) -> Array:
        """Return J v for several columns a state, (columns, B * k): those of the first state first."""
        if self.states == 1:
            return self.push(v)
        blocks = np.split(v, self.states, axis=1)
        return np.concatenate([self.column(b).push(block) for b, block in enumerate(blocks)], axis=1)

    def factors(self) -> tuple[Factor, ...]:
        """Return maps whose product is J, the first to be applied first.

        More than one where J is made of parts whose rows differ in size, as units that saturate or rest make them:
        their product rounds off what they keep apart.
        """
        return (Factor(self),)

    @property
    @abstractmethod
    def states(self) -> int:
        """For how many states B the entries are; 1 where they serve any number of columns."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the entries."""

    def log_abs_det(self) -> Array | None:
        """Return log|det J| of every state, (B,), in closed form; None where there is none.

        Natural log, -inf where J is singular. Of one step: after `at`. Without a closed form,
        `numpy.linalg.slogdet(J.dense())` takes n^3 operations a state.
        """
        return None

    def dense(self) -> Array:
        """Return the matrix, (rows, columns), or (B, rows, columns) for B states."""
        if self.states == 1:
            return self.push(np.eye(self.shape[1], dtype=self.dtype))
        return np.stack([self.column(b).dense() for b in range(self.states)])

    @property
    def T(self) -> Transposed:  # noqa: N802  the name that numpy uses
        """The transpose, for `J.T @ u`."""
        return Transposed(self)

    def __matmul__(self, v: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.push(v[:, None])[:, 0] if v.ndim == 1 else self.push(v)


@dataclass(frozen=True)
class Transposed:
    """J.T, so that `J.T @ u` reads as it is written."""

    of: Linear

    def __matmul__(self, u: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.of.pull(u[:, None])[:, 0] if u.ndim == 1 else self.of.pull(u)


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Return where blocks of these sizes lie, one after the other."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _combine(row: Sequence[Entry], blocks: Sequence[Array], like: Array) -> Array:
    """Sum entry * block over one row of a grid."""
    total: Any = None
    for entry, block in zip(row, blocks, strict=True):
        if not absent(entry):
            total = entry * block if total is None else total + entry * block
    return np.zeros_like(like) if total is None else total


@dataclass(frozen=True, eq=False)
class Jacobian(Linear):
    """J = through . U + around of one element-wise map.

    Attributes:
        partials: the grids.
        U: recurrent weights (gates * H, size of the part that they read), or None.
        W: input weights (gates * H, inputs), or None.
        reads: which old part U multiplies.
        old, new: sizes of the parts.
        gates: names of the gates, in the order of U; () for their numbers.
    """

    partials: Partials
    U: Array | None
    W: Array | None
    reads: int
    old: tuple[int, ...]
    new: tuple[int, ...]
    gates: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return sum(self.new), sum(self.old)

    @property
    def through(self) -> Grid:
        """[new part][gate] diagonals in front of the recurrent weights."""
        return self.partials.through

    @property
    def around(self) -> Grid:
        """[new part][old part] diagonals that cross no recurrent weight."""
        return self.partials.around

    @cached_property
    def _old(self) -> list[slice]:
        return ranges(self.old)

    @cached_property
    def _new(self) -> list[slice]:
        return ranges(self.new)

    def _split(self, product: Array) -> list[Array]:
        gates = len(self.through[0])
        return list(product.reshape(gates, -1, product.shape[-1]))

    def push_around(self, v: Array) -> Array:
        old = [v[s] for s in self._old]
        size = (1, v.shape[1])
        rows = [
            _combine(row, old, np.zeros((n, *size[1:]), v.dtype)) for row, n in zip(self.around, self.new, strict=True)
        ]
        return np.concatenate(rows)

    def push(self, v: Array) -> Array:
        around, through = self.push_apart(v)
        return around + through

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around = self.push_around(v)
        return around, self._push_through(self._products(v), around)

    def _products(self, v: Array) -> list[Array]:
        """Return U v, one block for each gate."""
        return [] if self.U is None else self._split(self.U @ v[self._old[self.reads]])

    def _push_through(self, blocks: list[Array], like: Array) -> Array:
        if not blocks:
            return np.zeros_like(like)
        rows = zip(self.through, self._new, strict=True)
        return np.concatenate([_combine(row, blocks, like[s]) for row, s in rows])

    def roads(self, u: Array, v: Array) -> Roads:
        around, blocks = self.push_around(v), self._products(v)
        through: dict[str, Array] = {}
        if blocks:
            names = self.gates or tuple(f"gate {i}" for i in range(len(blocks)))
            reached = self._split(self._gate_cotangents(self.through, u))
            for name, gate, block in zip(names, reached, blocks, strict=True):
                through[name] = through.get(name, 0) + (gate * block).sum(axis=0)
        return Roads(around + self._push_through(blocks, around), (u * around).sum(axis=0), through)

    def _gate_cotangents(self, grid: Grid, u: Array) -> Array:
        """Return grid^T u with the gates stacked, (gates * H, B)."""
        new = [u[s] for s in self._new]
        like = next((new[p] for p, row in enumerate(grid) for e in row if not absent(e)), new[0])
        return np.concatenate([_combine(column, new, like) for column in zip(*grid, strict=True)])

    def push_blocks(self, v: Array) -> Array:
        each = v.shape[1] // self.states
        return self.at((Ellipsis, np.repeat(np.arange(self.states), each))).push(v)

    def factors(self) -> tuple[Factor, ...]:
        """J = E S M: S the size of rows that come through one gate only, E what new parts give one another."""
        found = None if self.U is None else split(self.through, self.around, self.partials.within)
        if found is None:
            return (Factor(self),)
        through, around, *diagonal = found
        none = [[0]] * len(self.new)
        size, *unit = (Jacobian(Partials(none, grid), None, None, 0, self.new, self.new) for grid in diagonal)
        first = Jacobian(Partials(through, around), self.U, None, self.reads, self.old, self.new)
        return Factor(first), Factor(size, steep=True), *(Factor(e) for e in unit)

    def pull(self, u: Array) -> Array:
        new = [u[s] for s in self._new]
        columns = zip(*self.around, strict=True)
        shape = u.shape[1:]
        rows = [_combine(c, new, np.zeros((n, *shape), u.dtype)) for c, n in zip(columns, self.old, strict=True)]
        if self.U is not None:
            rows[self.reads] = rows[self.reads] + self.U.T @ self._gate_cotangents(self.through, u)
        return np.concatenate(rows)

    @property
    def _entry(self) -> Grid:
        return self.through if self.partials.entry is None else self.partials.entry

    def push_input(self, x: Array) -> Array:
        if self.W is None:
            return np.zeros((self.shape[0], x.shape[1]), x.dtype)
        blocks = self._split(self.W @ x)
        like = [np.zeros((n, x.shape[1]), x.dtype) for n in self.new]
        return np.concatenate([_combine(r, blocks, z) for r, z in zip(self._entry, like, strict=True)])

    def pull_input(self, u: Array) -> Array:
        if self.W is None:
            return np.zeros((1, u.shape[1]), u.dtype)
        return np.asarray(self.W.T @ self._gate_cotangents(self._entry, u))

    def pull_within(self, u: Array) -> Array:
        if self.partials.within is None:
            return np.zeros_like(u)
        new = [u[s] for s in self._new]
        columns = zip(*self.partials.within, strict=True)
        return np.concatenate([_combine(c, new, like) for c, like in zip(columns, new, strict=True)])

    def log_abs_det(self) -> Array | None:
        units = self.new[0]
        if len(self.old) != len(self.new) or set(self.old + self.new) != {units}:
            return None
        through: Grid = [()] * len(self.new) if self.U is None else self.through
        log = block_log_det(self.around, through, self.partials.within, self.reads, units, self._log_det_of_gate)
        return None if log is None else np.broadcast_to(log, (self.states,)).copy()

    @cached_property
    def _log_dets(self) -> dict[int, float]:
        """log|det| of the recurrent weights of gates, as they are asked for; shared by all steps."""
        return {}

    def _log_det_of_gate(self, gate: int) -> float:
        if gate not in self._log_dets and self.U is not None:
            units = self.new[0]
            self._log_dets[gate] = float(log_abs(self.U[gate * units : (gate + 1) * units]))
        return self._log_dets[gate]

    @property
    def _entries(self) -> list[Array]:
        grids = (self.through, self.around)
        return [e for grid in grids for row in grid for e in row if isinstance(e, np.ndarray)]

    @property
    def states(self) -> int:
        return max((e.shape[-1] for e in self._entries if e.ndim), default=1)

    @property
    def dtype(self) -> np.dtype[Any]:
        arrays = [*self._entries, *(w for w in (self.U, self.W) if w is not None)]
        return np.result_type(*arrays) if arrays else np.dtype(float)

    def _with(self, partials: Partials) -> Jacobian:
        made = Jacobian(partials, self.U, self.W, self.reads, self.old, self.new, self.gates)
        vars(made)["_log_dets"] = self._log_dets  # of the same U
        return made

    def at(self, index: Any) -> Jacobian:
        return self._with(self.partials.take(index))

    def column(self, b: int) -> Jacobian:
        return self._with(self.partials.take((Ellipsis, slice(b, b + 1))))


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A Jacobian given as a matrix: (rows, columns), or (B, rows, columns), with leading time axes."""

    matrix: Array
    inputs: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.matrix.shape[-2], self.matrix.shape[-1]

    @property
    def states(self) -> int:
        return 1 if self.matrix.ndim == 2 else len(self.matrix)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    @staticmethod
    def _apply(matrix: Array, v: Array) -> Array:
        if matrix.ndim == 2:
            return np.asarray(matrix @ v)
        if len(matrix) == 1:  # one sequence, a block of columns
            return np.asarray(matrix[0] @ v)
        return np.asarray(np.einsum("bij,jb->ib", matrix, v))

    def push(self, v: Array) -> Array:
        return self._apply(self.matrix, v)

    def push_blocks(self, v: Array) -> Array:
        if self.states == 1:
            return self.push(v)
        blocks = v.reshape(len(v), self.states, -1).swapaxes(0, 1)
        return np.asarray((self.matrix @ blocks).swapaxes(0, 1).reshape(self.shape[0], -1))

    def pull(self, u: Array) -> Array:
        return self._apply(self.matrix.swapaxes(-1, -2), u)

    def push_around(self, v: Array) -> Array:
        return np.zeros((self.shape[0], v.shape[1]), v.dtype)

    def log_abs_det(self) -> Array | None:
        return log_abs(self.matrix).reshape(-1) if self.shape[0] == self.shape[1] else None

    def push_input(self, x: Array) -> Array:
        assert self.inputs is not None
        return self._apply(self.inputs, x)

    def pull_input(self, u: Array) -> Array:
        assert self.inputs is not None
        return self._apply(self.inputs.swapaxes(-1, -2), u)

    def at(self, index: Any) -> Dense:
        return Dense(self.matrix[index], None if self.inputs is None else self.inputs[index])

    def column(self, b: int) -> Dense:
        inputs = None if self.inputs is None or self.inputs.ndim == 2 else self.inputs[..., b : b + 1, :, :]
        matrix = self.matrix if self.matrix.ndim == 2 else self.matrix[..., b : b + 1, :, :]
        return Dense(matrix, inputs)
