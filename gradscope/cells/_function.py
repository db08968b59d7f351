"""A user's own step function as a cell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.cells._base import BaseCell
from gradscope.errors import InputError, UsageError
from gradscope.jacobian import Array, Dense, Linear

__all__ = ["FunctionCell", "from_step"]

Step = Callable[[Array, Array], Array]


def from_step(
    step: Step,
    *,
    state_size: int,
    input_size: int,
    jacobian: Step | None = None,
    parts: dict[str, int] | None = None,
) -> FunctionCell:
    """Make a cell from your own function step(x, s) -> new s, for one state at a time.

    The Jacobian is `jacobian(x, s)` if you give it. Else it comes from the complex step, exact to rounding,
    where the function takes complex numbers and a check against differences agrees; and from central
    differences, good to about 1e-9, where it does not.

    Args:
        step: x (input_size,), s (state_size,) -> (state_size,).
        state_size: n.
        input_size: m.
        jacobian: x, s -> (n, n), rows are outputs.
        parts: {name: size} of the state, output first; {"h": n} unless given.

    Raises:
        UsageError: sizes below 1, or parts that do not add up to the state.
        InputError: the function returns another shape.
    """
    if state_size < 1 or input_size < 0:
        raise UsageError(f"state_size must be at least 1 and input_size at least 0, not {state_size} and {input_size}")
    parts = parts or {"h": state_size}
    for name in parts:
        if name == "state" or name.endswith("_total"):
            raise UsageError(f"a part cannot be named '{name}'", "'state' and '..._total' name sums over parts")
    if sum(parts.values()) != state_size:
        raise UsageError(f"the parts add up to {sum(parts.values())}, and the state has {state_size}")
    cell = FunctionCell(step, state_size, input_size, jacobian, parts)
    returned = np.shape(step(np.zeros(input_size), np.zeros(state_size)))
    if returned != (state_size,):
        raise InputError(f"the step returned shape {returned}; it must be ({state_size},)")
    return cell


@dataclass(frozen=True, eq=False)
class FunctionCell(BaseCell):
    """A step function of one state; `from_step` makes it."""

    function: Step
    n: int
    inputs: int
    derivative: Step | None
    sizes: dict[str, int]
    trust: dict[str, bool] = field(default_factory=dict, repr=False)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        return self.inputs

    @property
    def jacobian_numbers(self) -> int:
        return self.n**2

    @property
    def kinks(self) -> bool:
        return not self.trust.get("complex", False)

    def evolve(self, x: Array, s: Array) -> Array:
        lead, x, s = _rows(x, s)
        new = np.stack([np.asarray(self.function(a, b)) for a, b in zip(x, s, strict=True)])
        return np.moveaxis(new.reshape(*lead, self.n), -1, -2)

    def linearise(self, x: Array, s: Array) -> Linear:
        lead, x, s = _rows(x, s)
        matrices = np.stack([self._jacobian(a, b) for a, b in zip(x, s, strict=True)])
        return Dense(matrices.reshape(*lead, self.n, self.n))

    def _jacobian(self, x: Array, s: Array) -> Array:
        if self.derivative is not None:
            return np.asarray(self.derivative(x, s), float)
        if "complex" not in self.trust:
            self.trust["complex"] = self._complex_agrees(x, s)
        return self._by_complex_step(x, s) if self.trust["complex"] else self._by_differences(x, s)

    def _by_complex_step(self, x: Array, s: Array) -> Array:
        """Squire & Trapp (1998): Im f(s + ih) / h has no cancellation, so h can be tiny."""
        h = 1e-30
        columns = [np.imag(self.function(x.astype(complex), s + 1j * h * e)) / h for e in np.eye(self.n)]
        return np.stack(columns, axis=1)

    def _by_differences(self, x: Array, s: Array) -> Array:
        h = float(np.cbrt(np.finfo(float).eps)) * np.maximum(np.abs(s), 1)
        columns = [
            (np.asarray(self.function(x, s + d)) - np.asarray(self.function(x, s - d))) / (2 * h[i])
            for i, d in enumerate(np.diag(h))
        ]
        return np.stack(columns, axis=1)

    def _complex_agrees(self, x: Array, s: Array) -> bool:
        """Tell whether the function carries complex numbers through: abs, casts and libraries may not.

        Asked at the first state and at two beside it: at zero, where a run begins, |s|^2 looks as if it did.
        """
        beside = np.random.default_rng(0).standard_normal((2, self.n)) * max(float(np.abs(s).max()), 1.0)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
                return all(self._agrees_at(x, s + d) for d in (np.zeros(self.n), *beside))
        except Exception:  # a user's function may refuse complex numbers in any way
            return False

    def _agrees_at(self, x: Array, s: Array) -> bool:
        a, b = self._by_complex_step(x, s), self._by_differences(x, s)
        return bool(np.allclose(a, b, rtol=1e-5, atol=1e-5 * max(float(np.abs(b).max()), 1e-12)))


def _rows(x: Array, s: Array) -> tuple[tuple[Any, ...], Array, Array]:
    """Return the leading axes (time, sequences) and one row for each state."""
    lead = (*s.shape[:-2], s.shape[-1])
    flat = [np.moveaxis(z, -2, -1).reshape(math.prod(lead), z.shape[-2]) for z in (x, s)]
    return lead, flat[0], flat[1]
