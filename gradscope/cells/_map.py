"""One map of a step: a product with weights, then an element-wise function.

Most cells are one map from state to state; a GRU whose reset comes first is two, and so is a projected LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gradscope.jacobian import Array, Jacobian, Linear, Partials

__all__ = ["Map", "Parts"]

Parts = Sequence[Array]


@dataclass(frozen=True, eq=False)
class Map:
    """One product with weights, then an element-wise map: new parts = advance(a, v, old parts).

    a = U h + b_hh and v = W x + b_ih are the recurrent and the input pre-activations of all gates.

    Attributes:
        W: input weights, (gates * H, inputs), or None where the map sees no input.
        U: recurrent weights, (gates * H, size of the part that they read).
        b_ih, b_hh: the two biases, (gates * H,).
    """

    W: Array | None = field(repr=False)
    U: Array = field(repr=False)
    b_ih: Array | None = field(repr=False)
    b_hh: Array | None = field(repr=False)

    parts: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the parts of the new state, output first."""
    gates: ClassVar[tuple[str, ...]] = ("h",)
    """Row blocks of W, U and the biases, in order."""
    old_parts: ClassVar[tuple[str, ...] | None] = None
    """Names of the parts that the map starts from; None where they are `parts`."""
    reads: ClassVar[str] = "h"
    """The old part that U multiplies."""

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        """Return the new parts from pre-activations (one entry a gate) and the old parts."""
        raise TypeError(f"{type(self).__name__} must define advance")

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        """Return the derivatives of `advance`, as diagonals."""
        raise TypeError(f"{type(self).__name__} must define partials")

    def activations(self, a: Array, v: Array, s: Parts) -> Sequence[Array]:
        """Return the value of each gate, in the order of `gates`."""
        raise TypeError(f"{type(self).__name__} must define activations")

    @property
    def width(self) -> int:
        """Units of one gate."""
        return int(self.U.shape[0]) // len(self.gates)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.parts if self.old_parts is None else self.old_parts

    @property
    def old_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that the map starts from."""
        return tuple(int(self.U.shape[1]) if p == self.reads else self.width for p in self._names)

    @property
    def new_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that it makes."""
        return (self.width,) * len(self.parts)

    def preactivations(self, x: Array, s: Array) -> tuple[Array, Array, Parts]:
        """Return (a, v, old parts) for x (..., m, B) and s (..., n, B); gates along the first axis."""
        ends = np.cumsum((0, *self.old_sizes))
        old = [s[..., i:j, :] for i, j in zip(ends[:-1], ends[1:], strict=True)]
        a = self._gates(self.U, old[self._names.index(self.reads)], self.b_hh)
        v = np.zeros((len(self.gates), 1, 1), a.dtype) if self.W is None else self._gates(self.W, x, self.b_ih)
        return a, v, old

    def _gates(self, weights: Array, vector: Array, bias: Array | None) -> Array:
        product = weights @ vector
        if bias is not None:
            product += bias[:, None]
        shape = product.shape
        return np.moveaxis(product.reshape(*shape[:-2], len(self.gates), self.width, shape[-1]), -3, 0)

    def evolve(self, x: Array, s: Array) -> Array:
        """Return the new parts, concatenated."""
        return np.concatenate(self.advance(*self.preactivations(x, s)), axis=-2)

    def linearise(self, x: Array, s: Array) -> Linear:
        """Return the Jacobian at (x, s)."""
        partials = self.partials(*self.preactivations(x, s))
        reads = self._names.index(self.reads)
        return Jacobian(partials, self.U, self.W, reads, self.old_sizes, self.new_sizes, self.gates)
