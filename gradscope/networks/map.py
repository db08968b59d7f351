"""One map of a step: a product with weights, then an element-wise function.

Most cells are one map from state to state; a GRU whose reset comes first is two, and so is a projected LSTM.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from gradscope.errors import UsageError
from gradscope.maps.jacobian import Array, Jacobian
from gradscope.networks.formulas import Partials, Parts, Places, Preactivations, places
from gradscope.networks.gate import Gate

__all__ = ["WEIGHTS", "Map", "Weighted"]

WEIGHTS = ("W", "U", "b_ih", "b_hh")


@dataclass(frozen=True, eq=False)
class Weighted:
    """What has weights, in blocks of rows, one a gate.

    Attributes:
        W: input weights, (gates * H, inputs), or None where no input is seen.
        U: recurrent weights, (gates * H, size of the part that they read), or None where there are none.
        b_ih, b_hh: the two biases, (gates * H,), or None for none.
    """

    W: Array | None = field(repr=False)
    U: Array | None = field(repr=False)
    b_ih: Array | None = field(repr=False)
    b_hh: Array | None = field(repr=False)

    parts: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the parts of the new state, output first."""
    gates: ClassVar[Mapping[str, Gate]] = {"h": Gate()}
    """The gates by name, in the order of their rows in W, U and the biases."""

    @property
    def rows(self) -> int:
        """Rows of the weights: units of all gates."""
        weights = self.W if self.U is None else self.U
        return 0 if weights is None else len(weights)

    @property
    def width(self) -> int:
        """Units of one gate."""
        return self.rows // len(self.gates)

    def column(self, name: str) -> Array:
        """Return an array of H units, (..., H), as columns (..., H, 1)."""
        return np.asarray(getattr(self, name))[..., None]

    def weights(self) -> dict[str, Array]:
        """Return every array by name."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: array for name, array in fields.items() if isinstance(array, np.ndarray)}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_gain(self, gain: float) -> Self:
        """Return a copy with the recurrent weights multiplied by `gain`.

        Raises:
            UsageError: there are none.
        """
        if self.U is None:
            raise UsageError(f"{type(self).__name__} has no recurrent weights that a gain could scale")
        return self.replace(U=self.U * np.asarray(gain, self.U.dtype))


@dataclass(frozen=True, eq=False)
class Map(Weighted):
    """One product with weights, then an element-wise map: new parts = advance(preactivations, old parts)."""

    old_parts: ClassVar[tuple[str, ...] | None] = None
    """Names of the parts that the map starts from; None where they are `parts`."""
    reads: ClassVar[str] = "h"
    """The old part that U multiplies."""

    def activations(self, p: Preactivations, s: Parts) -> Sequence[Array]:
        """Return the value of each gate, in the order of `gates`."""
        raise TypeError(f"{type(self).__name__} must define activations")

    def advance(self, p: Preactivations, s: Parts) -> Mapping[str, Array]:
        """Return the new parts, by name, from preactivations and the old parts."""
        raise TypeError(f"{type(self).__name__} must define advance")

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        """Return the derivatives of `advance`, unit by unit."""
        raise TypeError(f"{type(self).__name__} must define partials")

    @property
    def old_names(self) -> tuple[str, ...]:
        """Names of the parts that the map starts from."""
        return self.parts if self.old_parts is None else self.old_parts

    @property
    def old_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that the map starts from."""
        read = self.width if self.U is None else int(self.U.shape[1])
        return tuple(read if p == self.reads else self.width for p in self.old_names)

    @property
    def new_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts that the map makes."""
        return (self.width,) * len(self.parts)

    @property
    def reads_part(self) -> int:
        """Number of the old part that U multiplies."""
        return 0 if self.U is None else self.old_names.index(self.reads)

    @cached_property
    def places(self) -> Places:
        """Where each preactivation lies, by name."""
        return places(self.gates)

    def preactivations(self, x: Array, s: Array) -> tuple[Preactivations, Parts]:
        """Return the preactivations and the old parts, from inputs (..., m, B) and states (..., n, B)."""
        ends = np.cumsum((0, *self.old_sizes))
        old = [s[..., i:j, :] for i, j in zip(ends[:-1], ends[1:], strict=True)]
        none = np.zeros((len(self.gates), *[1] * s.ndim), s.dtype)
        recurrent = none if self.U is None else self._by_gate(self.U, old[self.reads_part], self.b_hh)
        entering = none if self.W is None else self._by_gate(self.W, x, self.b_ih)
        given = Preactivations(self.places, recurrent + entering, recurrent, entering)
        return given, Parts(zip(self.old_names, old, strict=True))

    def _by_gate(self, weights: Array, vector: Array, bias: Array | None) -> Array:
        """Return weights @ vector + bias, gates along the first axis."""
        product = weights @ vector
        if bias is not None:
            product += bias[:, None]
        shape = product.shape
        return np.moveaxis(product.reshape(*shape[:-2], len(self.gates), self.width, shape[-1]), -3, 0)

    def apply(self, x: Array, s: Array) -> Array:
        """Return the new parts, concatenated, (..., n', B)."""
        new = self.advance(*self.preactivations(x, s))
        return np.concatenate([new[part] for part in self.parts], axis=-2)

    def differentiate(self, x: Array, s: Array) -> Jacobian:
        """Return the Jacobian at (x, s)."""
        grids = self.partials(*self.preactivations(x, s)).grids(self.parts, self.old_names, self.gates)
        names = tuple(self.gates)
        return Jacobian(grids, self.U, self.W, self.reads_part, self.old_sizes, self.new_sizes, names)
