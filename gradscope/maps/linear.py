"""What any Jacobian of one step can do.

A type of Jacobian defines its shape, number of states and dtype, the two products `jvp` and `vjp`, and how one step
(`at`) and one sequence (`column`) are chosen; for a network with input, `jvp_input` and `vjp_input`, too. All else
follows, or has a default that is right where no more is known.

Layout: a vector of the state is feature-major, shape (n, B) for B independent columns. Before `at` has chosen a
step, entries carry a leading time axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradscope.errors import UsageError
from gradscope.maps.grid import Array

__all__ = ["Array", "Linear", "PathShares", "Transposed", "ranges"]


class PathShares(NamedTuple):
    """u . J v as a sum over paths, sorted by what a path from the old state to the new one crosses first.

    Attributes:
        jvp: J v, (rows, B).
        around: what takes the skip path and crosses no weight, (B,).
        through: {name: what crosses these weights first}, (B,) each. With `around` they add up to u . J v.
    """

    jvp: Array
    around: Array
    through: dict[str, Array]


class Linear(ABC):
    """A linear map from one state to the next, for B independent columns at once."""

    shape: tuple[int, int]
    """(rows, columns): sizes of the new and of the old state."""

    @property
    @abstractmethod
    def states(self) -> int:
        """For how many states B the entries are; 1 where they serve any number of columns."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the entries."""

    @abstractmethod
    def jvp(self, v: Array) -> Array:
        """Return J v, a Jacobian-vector product; (columns, B) -> (rows, B)."""

    @abstractmethod
    def vjp(self, u: Array) -> Array:
        """Return J^T u, a vector-Jacobian product; (rows, B) -> (columns, B)."""

    @abstractmethod
    def at(self, index: Any) -> Linear:
        """Choose a step: apply `index` to the leading axis of every entry."""

    @abstractmethod
    def column(self, b: int) -> Linear:
        """Choose one of the B columns, as an axis of length 1 that broadcasts over a block."""

    # The derivative in the input

    def jvp_input(self, x: Array) -> Array:
        """Return (ds'/dx) x; (inputs, B) -> (rows, B).

        Raises:
            UsageError: there is an input, and the type of Jacobian does not say how the new state depends on it.
        """
        if len(x):  # zeros would be a wrong derivative that nobody sees
            text = f"{type(self).__name__} has no derivative in the input"
            raise UsageError(text, "a network with input needs Jacobians with jvp_input and vjp_input")
        return np.zeros((self.shape[0], x.shape[1]), self.dtype)

    def vjp_input(self, u: Array) -> Array:
        """Return (ds'/dx)^T u; (rows, B) -> (inputs, B). No rows where there is no input."""
        return np.zeros((0, u.shape[1]), u.dtype)

    # Paths within the step

    def jvp_skip(self, v: Array) -> Array:
        """Return A v, with A the skip path: the part of J that crosses no recurrent weight; zeros if none is known."""
        return np.zeros((self.shape[0], v.shape[1]), v.dtype)

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        """Return (A v, J v - A v): what takes the skip path, and the rest."""
        around = self.jvp_skip(v)
        return around, self.jvp(v) - around

    def path_shares(self, u: Array, v: Array) -> PathShares:
        """Share out u . J v by paths; a map of which no more is known has one path "through" beside the skip path."""
        around, through = self.jvp_split(v)
        return PathShares(around + through, (u * around).sum(axis=0), {"through": (u * through).sum(axis=0)})

    def vjp_within(self, u: Array) -> Array:
        """Return the same-step vjp: what reaches each new part from the other new parts of the same step, (rows, B)."""
        return np.zeros_like(u)

    def without_weights(self, *, inputs: bool = False) -> Linear | None:
        """Return the map with all weights that a state crosses set to zero: `jvp_skip` is its jvp; None if unknown.

        `check_cell` compares the two, and refuses a skip path of a type that does not define this.

        Args:
            inputs: whether the weights of the input are set to zero, too.
        """
        return None

    # The matrix, and what is known of it without forming it

    def dense(self, dtype: Any = None, *, skip: bool = True) -> Array:
        """Return the matrix, (rows, columns), or (B, rows, columns) for B states.

        Args:
            dtype: floating-point type of the matrix and of the sums that make it; None for that of the entries.
            skip: whether the skip path is part of it.
        """
        if self.states > 1:
            return np.stack([self.column(b).dense(dtype, skip=skip) for b in range(self.states)])
        identity = np.eye(self.shape[1], dtype=self.dtype if dtype is None else dtype)
        return self.jvp(identity) if skip else self.jvp_split(identity)[1]

    def log_abs_det(self) -> Array | None:
        """Return log|det J| of every state, (B,), in closed form; None where there is none.

        Natural log, -inf where J is singular. Before `at`, (T, B) of many steps. Without a closed form,
        `numpy.linalg.slogdet(J.dense())` takes n^3 operations a state.
        """
        return None

    def unit_blocks(self) -> Array | None:
        """Return the derivative of each unit's p state variables with respect to themselves; None where units interact.

        Returns:
            (p, p, H, B), or with a time axis in front of H; state variable i of unit h is number i H + h.
        """
        return None

    @property
    def diagonal(self) -> bool:
        """Whether units do not interact and have at most two state variables each: every question costs O(H)."""
        blocks = self.unit_blocks()
        return blocks is not None and len(blocks) <= 2

    @property
    def T(self) -> Transposed:  # noqa: N802  the name that numpy uses
        """The transpose, for `J.T @ u`."""
        return Transposed(self)

    def __matmul__(self, v: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.jvp(v[:, None])[:, 0] if v.ndim == 1 else self.jvp(v)


@dataclass(frozen=True)
class Transposed:
    """J.T, so that `J.T @ u` reads as it is written."""

    of: Linear

    def __matmul__(self, u: Array) -> Array:
        """Multiply a vector (n,) or a block of columns (n, k)."""
        return self.of.vjp(u[:, None])[:, 0] if u.ndim == 1 else self.of.vjp(u)


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Return where blocks of these sizes lie, one after the other."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
