"""A user's own step function as a network: how the function is called, and where its Jacobian comes from.

`gradscope.checking.function` decides what can be trusted: `from_step` is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.maps.jacobian import Array, Dense, Linear
from gradscope.networks.arguments import Step, is_long, place
from gradscope.networks.network import Network

__all__ = ["FunctionCell"]

COMPLEX_STEP = 1e-30  # Im f(s + ihv) / h has no cancellation, so h can be tiny (Squire & Trapp 1998)


@dataclass(frozen=True, eq=False)
class FunctionCell(Network):
    """A step function of one state; `from_step` makes it.

    Attributes:
        function: x (m,), s (n,) -> the new state (n,).
        n: size of the state.
        inputs: number of inputs m.
        derivative: x, s -> the Jacobian (n, n), or None: then the step itself is differentiated.
        sizes: size of each part of the state.
        surrogate: whether `derivative` is meant to be another function than the derivative of the step.
        single: whether the function computes in single precision.
        analytic: whether the function carries complex numbers through, so that complex steps may be taken.
        assumption: where the Jacobian comes from, in one sentence.
    """

    function: Step
    n: int
    inputs: int
    derivative: Step | None
    sizes: dict[str, int]
    surrogate: bool = False
    single: bool = field(default=False, repr=False)
    analytic: bool = field(default=False, repr=False)
    assumption: str = field(default="", repr=False)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        return self.inputs

    @property
    def assumptions(self) -> tuple[str, ...]:  # type: ignore[override]
        """The sentence on its Jacobian."""
        return (self.assumption,) if self.assumption else ()

    @property
    def diagonal(self) -> bool:
        """False: nothing is known of what the function does to each unit."""
        return False

    @property
    def jacobian_numbers(self) -> int:
        return self.n**2

    @property
    def jacobian_calls(self) -> int:
        """How often a function is called for the Jacobian of one step of one sequence."""
        return 1 if self.derivative is not None else self.n * (1 if self.analytic else 2)

    @property
    def kinks(self) -> bool:
        return not self.analytic

    def evolve(self, x: Array, s: Array) -> Array:
        lead, x, s = _rows(x, s)
        new = np.stack([self.once(a, b) for a, b in zip(x, s, strict=True)])
        return np.moveaxis(new.reshape(*lead, self.n), -1, -2)

    def linearise(self, x: Array, s: Array) -> Linear:
        return Dense(self.matrices(x, s))

    def matrices(self, x: Array, s: Array) -> Array:
        """Return the Jacobians (..., B, n, n) at inputs (..., m, B) and states (..., n, B)."""
        lead, x, s = _rows(x, s)
        matrices = np.stack([self.matrix(a, b) for a, b in zip(x, s, strict=True)])
        return matrices.reshape(*lead, self.n, self.n)

    def once(self, x: Array, s: Array) -> Array:
        """Return the new state (n,) at input x (m,) and state s (n,).

        Raises:
            InputError: the function fails, or returns no array.
        """
        return self._call("step", self.function, (self.n,), x, s)

    def matrix(self, x: Array, s: Array) -> Array:
        """Return the Jacobian (n, n) at input x (m,) and state s (n,).

        Raises:
            InputError: a function fails, or `derivative` returns another shape.
        """
        if self.derivative is None:
            return np.stack([self.product(x, s, e) for e in np.eye(self.n)], axis=1)
        J = np.asarray(self._call("jacobian", self.derivative, (self.n, self.n), x, s), float)
        if J.shape != (self.n, self.n):
            raise InputError(f"the jacobian returned shape {J.shape}; it must be ({self.n}, {self.n})")
        return J

    def product(self, x: Array, s: Array, v: Array) -> Array:
        """Return J v of the step itself, by the complex step or by central differences."""
        return self.by_complex_step(x, s, v) if self.analytic else self.by_differences(x, s, v)

    def by_complex_step(self, x: Array, s: Array, v: Array) -> Array:
        """Return J v by the complex step."""
        new: Array = np.imag(self.once(x.astype(complex), s + 1j * COMPLEX_STEP * v)) / COMPLEX_STEP
        return new

    def by_differences(self, x: Array, s: Array, v: Array, wider: float = 1.0) -> Array:
        """Return J v by central differences, of a step `wider` times the best one."""
        h = wider * self.difference_step(s, v)
        new: Array = (self.once(x, s + h * v) - self.once(x, s - h * v)) / (2 * h)
        return new

    @property
    def coarse(self) -> bool:
        """Whether differences see single precision alone: the step returns it, and there is no complex step."""
        return self.single and not self.analytic

    def difference_step(self, s: Array, v: Array) -> float:
        """Return the step for central differences along v, eps^(1/3) of the largest state variable that moves."""
        eps = np.finfo(np.float32 if self.coarse else float).eps
        return float(np.cbrt(float(eps))) * max(float(np.abs(s[v != 0]).max(initial=0.0)), 1.0)

    def _call(self, name: str, function: Step, shape: tuple[int, ...], x: Array, s: Array) -> Array:
        """Call a function with copies, and return a copy: it may write into either, or return one buffer again."""
        try:
            returned = function(x.copy(), s.copy())
        except Exception as error:  # a user's function may fail in any way
            words = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            fails = f"the {name} fails for an input of {len(x)} and a state of {len(s)}"
            raise InputError(f"{place(error, function)}{fails}: {words}") from error
        if name == "step" and isinstance(returned, tuple | list) and any(map(is_long, returned)):
            text = f"the step returned a {type(returned).__name__} of {len(returned)}"
            hint = "return the whole state in one array, its parts concatenated; the first part is the output"
            raise InputError(f"{text}; it must return the new state alone, of shape {shape}", hint)
        try:
            new = np.array(returned)
        except Exception as error:  # what is no array may fail in any way to become one
            raise InputError(f"the {name} did not return an array, but {type(returned).__name__}: {error}") from error
        if new.dtype == object:
            what = "None" if returned is None else f"something of type {type(returned).__name__}"
            raise InputError(f"the {name} returned {what}; it must return an array of shape {shape}")
        return new


def _rows(x: Array, s: Array) -> tuple[tuple[Any, ...], Array, Array]:
    """Return the leading axes (time, sequences) and one row for each state."""
    lead = (*s.shape[:-2], s.shape[-1])
    flat = [np.moveaxis(z, -2, -1).reshape(math.prod(lead), z.shape[-2]) for z in (x, s)]
    return lead, flat[0], flat[1]
