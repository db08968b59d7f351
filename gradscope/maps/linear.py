"""What any Jacobian of one step can do: jvp, vjp, shares of paths, a choice of steps and sequences.

Layout: a vector of the state is feature-major, shape (n, B) for B independent columns. Before `at` has chosen a
step, entries carry a leading time axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gradscope.kernels.tape import Call
from gradscope.maps.blocks import log_abs

__all__ = [
    "Array",
    "Dense",
    "Entry",
    "Factor",
    "Grid",
    "Linear",
    "Partials",
    "VjpPlayer",
    "PathShares",
    "Transposed",
    "largest",
    "ranges",
]

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
        stacked: {new part: (K, gates, H, B)}, rows of `through` that lie beside one another already, zeros and all.
    """

    through: Grid
    around: Grid
    entry: Grid | None = None
    within: Grid | None = None
    stacked: Mapping[int, Array] = field(default_factory=dict)

    def take(self, index: Any) -> Partials:
        """Return the same grids with `index` applied to every array in them."""

        def grid(g: Grid | None) -> Any:
            if g is None:
                return None
            return [[e[index] if isinstance(e, np.ndarray) and e.ndim else e for e in row] for row in g]

        return Partials(grid(self.through), grid(self.around), grid(self.entry), grid(self.within))


class PathShares(NamedTuple):
    """u . J v, shared out by what a path from the old state to the new one crosses first.

    Attributes:
        jvp: J v, (rows, B).
        around: what crosses no weight, (B,).
        through: {name: what crosses these weights first}, (B,) each. With `around` they add up to u . J v.
    """

    jvp: Array
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
    def jvp(self, v: Array) -> Array:
        """Return J v, a Jacobian-vector product; (columns, B) -> (rows, B)."""

    @abstractmethod
    def vjp(self, u: Array) -> Array:
        """Return J^T u, a vector-Jacobian product; (rows, B) -> (columns, B)."""

    @abstractmethod
    def jvp_skip(self, v: Array) -> Array:
        """Return A v, with A the part of J that crosses no recurrent weight."""

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        """Return (A v, J v - A v): what crosses no recurrent weight, and the rest."""
        around = self.jvp_skip(v)
        return around, self.jvp(v) - around

    def path_shares(self, u: Array, v: Array) -> PathShares:
        """Share out u . J v by roads; a map of which no more is known has one road "through"."""
        around, through = self.jvp_split(v)
        return PathShares(around + through, (u * around).sum(axis=0), {"through": (u * through).sum(axis=0)})

    @abstractmethod
    def jvp_input(self, x: Array) -> Array:
        """Return (ds'/dx) x; (inputs, B) -> (rows, B)."""

    @abstractmethod
    def vjp_input(self, u: Array) -> Array:
        """Return (ds'/dx)^T u; (rows, B) -> (inputs, B)."""

    @abstractmethod
    def at(self, index: Any) -> Linear:
        """Choose a step: apply `index` to the leading axis of every entry."""

    @abstractmethod
    def column(self, b: int) -> Linear:
        """Choose one of the B columns, kept as an axis of length 1 that broadcasts over a block."""

    def vjp_player(self, steps: int, batch: int) -> VjpPlayer:
        """Return a player of vjps through blocks of as many steps, of B sequences; before `at`."""
        return PlainVjp(self)

    def vjp_within(self, u: Array) -> Array:
        """Return what reaches each new part from the other new parts of the same step."""
        return np.zeros_like(u)

    def vjp_within_steps(self, u: Array, steps: slice) -> list[tuple[slice, Array]]:
        """Do so for many steps of a block, u (K, rows, B): (some of the rows, what reaches them). Before `at`."""
        each = [self.at(k).vjp_within(one) for k, one in zip(range(steps.start, steps.stop), u, strict=True)]
        return [(slice(0, u.shape[1]), np.array(each))]

    def jvp_columns(self, v: Array) -> Array:
        """Return J v for several columns a state, (columns, B * k): those of the first state first."""
        if self.states == 1:
            return self.jvp(v)
        blocks = np.split(v, self.states, axis=1)
        return np.concatenate([self.column(b).jvp(block) for b, block in enumerate(blocks)], axis=1)

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

        Natural log, -inf where J is singular. Before `at`, (T, B) of many steps. Without a closed form,
        `numpy.linalg.slogdet(J.dense())` takes n^3 operations a state.
        """
        return None

    def unit_blocks(self) -> Array | None:
        """Return what each unit does to its own p state variables, where no unit sees another; None elsewhere.

        Returns:
            (p, p, H, B), or with a time axis in front of H; state variable i of unit h is number i H + h.
        """
        return None

    @property
    def diagonal(self) -> bool:
        """Whether no unit sees another, and none has more than two state variables: all that is asked costs O(H)."""
        found = self.unit_blocks()
        return found is not None and len(found) <= 2

    def dense(self) -> Array:
        """Return the matrix, (rows, columns), or (B, rows, columns) for B states."""
        if self.states == 1:
            return self.jvp(np.eye(self.shape[1], dtype=self.dtype))
        return np.stack([self.column(b).dense() for b in range(self.states)])

    def dense64(self, *, skip: bool = True) -> Array:
        """Return the matrix of one state, (rows, columns), in float64 whatever the entries are.

        Without `skip`, that of `jvp_split`'s second part.
        """
        unit = np.eye(self.shape[1])
        return self.jvp(unit) if skip else self.jvp_split(unit)[1]

    def bound(self) -> float:
        """Return what no sum of |entries| of a row or column exceeds, at any step; inf or nan: not known."""
        return np.inf

    @property
    def T(self) -> Transposed:  # noqa: N802  the name that numpy uses
        """The transpose, for `J.T @ u`."""
        return Transposed(self)

    def __matmul__(self, v: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.jvp(v[:, None])[:, 0] if v.ndim == 1 else self.jvp(v)


class VjpPlayer(Protocol):
    """Made for blocks of one kind, with the same number of states, and of steps at most."""

    def load(self, block: Any) -> bool:
        """Take in the Jacobians of the next steps; False where they are of another kind."""

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        """Return the calls that write J_k^T u to `out`; u (rows, B), out (columns, B)."""


class PlainVjp:
    """For Jacobians of which nothing more is known: one by one."""

    def __init__(self, block: Linear) -> None:
        self._block = block

    def load(self, block: Linear) -> bool:
        self._block = block
        return True

    def calls(self, k: int, u: Array, out: Array) -> list[Call]:
        return [(self._vjp, (k, u, out))]

    def _vjp(self, k: int, u: Array, out: Array) -> None:
        out[:] = self._block.at(k).vjp(u)


@dataclass(frozen=True)
class Transposed:
    """J.T, so that `J.T @ u` reads as it is written."""

    of: Linear

    def __matmul__(self, u: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.of.vjp(u[:, None])[:, 0] if u.ndim == 1 else self.of.vjp(u)


def largest(array: Array) -> float:
    """Return the largest absolute value, as float64 has it; nan where there is one."""
    return max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Return where blocks of these sizes lie, one after the other."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A Jacobian given as a matrix: (rows, columns), or (B, rows, columns), with leading time axes.

    Attributes:
        matrix: the matrix.
        inputs: d(next state) / d(input), likewise.
        around: (rows,), a diagonal within `matrix` that crosses no weights, where there is one.
    """

    matrix: Array
    inputs: Array | None = None
    around: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.matrix.shape[-2], self.matrix.shape[-1]

    @property
    def states(self) -> int:
        return 1 if self.matrix.ndim == 2 else len(self.matrix)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def dense64(self, *, skip: bool = True) -> Array:
        made = np.array(self.matrix.reshape(self.shape), float)
        return made if skip or self.around is None else made - np.diag(self.around)

    def bound(self) -> float:
        return float(np.abs(self.matrix).max(initial=0.0)) * max(self.shape)

    @staticmethod
    def _apply(matrix: Array, v: Array) -> Array:
        if matrix.ndim == 2:
            return np.asarray(matrix @ v)
        if len(matrix) == 1:  # one sequence, a block of columns
            return np.asarray(matrix[0] @ v)
        return np.asarray(np.einsum("bij,jb->ib", matrix, v))

    def jvp(self, v: Array) -> Array:
        return self._apply(self.matrix, v)

    def jvp_columns(self, v: Array) -> Array:
        if self.states == 1:
            return self.jvp(v)
        blocks = v.reshape(len(v), self.states, -1).swapaxes(0, 1)
        return np.asarray((self.matrix @ blocks).swapaxes(0, 1).reshape(self.shape[0], -1))

    def vjp(self, u: Array) -> Array:
        return self._apply(self.matrix.swapaxes(-1, -2), u)

    def dense(self) -> Array:
        return np.array(self.matrix if self.states > 1 else self.matrix.reshape(self.shape))

    def jvp_skip(self, v: Array) -> Array:
        if self.around is None:
            return np.zeros((self.shape[0], v.shape[1]), v.dtype)
        return self.around[:, None].astype(v.dtype) * v

    def vjp_within_steps(self, u: Array, steps: slice) -> list[tuple[slice, Array]]:
        return []

    def log_abs_det(self) -> Array | None:
        return np.atleast_1d(log_abs(self.matrix)) if self.shape[0] == self.shape[1] else None

    def jvp_input(self, x: Array) -> Array:
        assert self.inputs is not None
        return self._apply(self.inputs, x)

    def vjp_input(self, u: Array) -> Array:
        assert self.inputs is not None
        return self._apply(self.inputs.swapaxes(-1, -2), u)

    def at(self, index: Any) -> Dense:
        return Dense(self.matrix[index], None if self.inputs is None else self.inputs[index], self.around)

    def column(self, b: int) -> Dense:
        inputs = None if self.inputs is None or self.inputs.ndim == 2 else self.inputs[..., b : b + 1, :, :]
        matrix = self.matrix if self.matrix.ndim == 2 else self.matrix[..., b : b + 1, :, :]
        return Dense(matrix, inputs, self.around)
