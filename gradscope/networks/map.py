"""One map of a step: a product with weights, then an element-wise function.

Most cells are one map from state to state; a GRU whose reset comes first is two, and so is a projected LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Jacobian, Linear, Partials

__all__ = ["Map", "Parts"]

Parts = Sequence[Array]


@dataclass(frozen=True, eq=False)
class Map:
    """One product with weights, then an element-wise map: new parts = advance(a, v, old parts).

    a = U h + b_hh and v = W x + b_ih are the recurrent and the input pre-activations of all gates.

    Attributes:
        W: input weights, (gates * H, inputs), or None where the map sees no input.
        U: recurrent weights, (gates * H, size of the part that they read), or None where there are none: then a = 0.
        b_ih, b_hh: the two biases, (gates * H,).
    """

    W: Array | None = field(repr=False)
    U: Array | None = field(repr=False)
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
    def rows(self) -> int:
        """Rows of the weights: units of all gates."""
        weights = self.W if self.U is None else self.U
        return 0 if weights is None else len(weights)

    @property
    def width(self) -> int:
        """Units of one gate."""
        return self.rows // len(self.gates)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.parts if self.old_parts is None else self.old_parts

    @property
    def old_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that the map starts from."""
        read = self.width if self.U is None else int(self.U.shape[1])
        return tuple(read if p == self.reads else self.width for p in self._names)

    @property
    def new_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that it makes."""
        return (self.width,) * len(self.parts)

    def preactivations(self, x: Array, s: Array) -> tuple[Array, Array, Parts]:
        """Return (a, v, old parts) for x (..., m, B) and s (..., n, B); gates along the first axis."""
        ends = np.cumsum((0, *self.old_sizes))
        old = [s[..., i:j, :] for i, j in zip(ends[:-1], ends[1:], strict=True)]
        none = np.zeros((len(self.gates), *[1] * s.ndim), s.dtype)
        a = none if self.U is None else self._gates(self.U, old[self.reads_part], self.b_hh)
        v = none if self.W is None else self._gates(self.W, x, self.b_ih)
        return a, v, old

    @cached_property
    def joint(self) -> tuple[bool, ...]:
        """Of which gates only the sum a + v matters: derivatives with respect to both are the same then."""
        a = np.zeros((len(self.gates), self.width, 1))
        partials = self.partials(a, a, [np.zeros((n, 1)) for n in self.old_sizes])
        if partials.entry is None:
            return (True,) * len(self.gates)
        rows = list(zip(partials.through, partials.entry, strict=True))
        return tuple(all(t[g] is e[g] for t, e in rows) for g in range(len(self.gates)))

    @cached_property
    def separate(self) -> slice:
        """Rows of the gates that see a and v apart, and of those between them."""
        gates = [g for g, together in enumerate(self.joint) if not together]
        return slice(gates[0] * self.width, (gates[-1] + 1) * self.width) if gates else slice(0, 0)

    @property
    def together(self) -> list[slice]:
        """The other rows: a + v is all that they need."""
        rows = [slice(0, self.separate.start), slice(self.separate.stop, self.rows)]
        return [r for r in rows if r.stop > r.start]

    @cached_property
    def recorded(self) -> dict[Any, Any]:
        """What was recorded of the formulas, by shapes: `_tape`."""
        return {}

    @property
    def reads_part(self) -> int:
        """Number of the old part that U multiplies."""
        return 0 if self.U is None else self._names.index(self.reads)

    def recurrent(self, s: Array, out: Array) -> None:
        """Write U h of many steps, (K, gates * H, B), from their states (K, n, B); with b_hh where rows stay apart."""
        if self.U is None:
            out[:] = 0
            return
        start = sum(self.old_sizes[: self.reads_part])
        _products(self.U, s[:, start : start + self.U.shape[1]], out)
        if self.b_hh is not None:
            out[:, self.separate] += self.b_hh[self.separate, None]

    def entering(self, x: Array, out: Array) -> None:
        """Write W x + b_ih of many steps, (K, gates * H, B), from inputs (K, m, B); with b_hh where a + v is needed."""
        if self.W is None:
            out[:] = 0
        else:
            _products(self.W, x, out)
        if self.b_ih is not None:
            out += self.b_ih[:, None]
        if self.b_hh is not None:
            for rows in self.together:
                out[:, rows] += self.b_hh[rows, None]

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
        return Jacobian(partials, self.U, self.W, self.reads_part, self.old_sizes, self.new_sizes, self.gates)


def _products(weights: Array, x: Array, out: Array) -> None:
    """Write weights @ x[k] for each k."""
    if x.shape[2] == 1:  # one product for all of them
        np.dot(x[:, :, 0], weights.T, out=out[:, :, 0])
    else:
        np.matmul(weights, x, out=out)
