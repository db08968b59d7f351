"""A user's own step function as a cell."""

from __future__ import annotations

import inspect
import math
import timeit
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from gradscope.cells._base import BaseCell, Runner
from gradscope.errors import InputError, UsageError
from gradscope.jacobian import Array, Dense, Linear

__all__ = ["FunctionCell", "from_step"]

Step = Callable[[Array, Array], Array]
POINTS = (0.1, 1.0, 1.0, 3.0)  # sizes of the random states at which the two derivatives are compared
CALLS = 3  # of each kind are timed: the shortest is the one that nothing came between
ALIKE = 1e-5  # differences err by about 1e-10, and an imaginary part that is lost by the whole


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
        InputError: the function fails, takes other arguments, or returns another shape or other numbers.
    """
    if state_size < 1 or input_size < 0:
        raise UsageError(f"state_size must be at least 1 and input_size at least 0, not {state_size} and {input_size}")
    parts = parts or {"h": state_size}
    for name in parts:
        if name == "state" or name.endswith("_total"):
            raise UsageError(f"a part cannot be named '{name}'", "'state' and '..._total' name sums over parts")
    if sum(parts.values()) != state_size:
        raise UsageError(f"the parts add up to {sum(parts.values())}, and the state has {state_size}")
    for function in (step, jacobian):
        if function is not None:
            _takes_two(function)
    cell = FunctionCell(step, state_size, input_size, jacobian, parts)
    with np.errstate(all="ignore"):
        returned = cell.once(np.zeros(input_size), np.zeros(state_size))
    if returned.shape != (state_size,):
        raise InputError(f"the step returned shape {returned.shape}; it must be ({state_size},)")
    if returned.dtype.kind != "f" or returned.dtype.itemsize < np.dtype(float).itemsize:
        raise InputError(f"the step returned {returned.dtype} numbers; it is given float64, and must return float64")
    cell.trust["complex"] = cell._complex_agrees()
    return cell


def _takes_two(function: Step) -> None:
    """Refuse a function of other arguments than x and s.

    Raises:
        InputError: it is one.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions in C it may not be known
        return
    try:
        signature.bind(0, 0)
    except TypeError:
        name = getattr(function, "__name__", "the function")
        raise InputError(f"{name}{signature} cannot be called with an input and a state, as {name}(x, s)") from None


@dataclass(frozen=True, eq=False)
class FunctionCell(BaseCell):
    """A step function of one state; `from_step` makes it.

    Attributes:
        trust: whether the function is analytic, so that complex steps may be taken: {"complex": bool}.
        recipe: how another process makes it again, where it comes from a file; () where it cannot.
    """

    function: Step
    n: int
    inputs: int
    derivative: Step | None
    sizes: dict[str, int]
    trust: dict[str, bool] = field(default_factory=dict, repr=False)
    recipe: tuple[Any, ...] = field(default=(), repr=False)

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

    @property
    def assumption(self) -> str:
        """Where its Jacobian comes from, in one sentence."""
        if self.derivative is not None:
            return "The Jacobian of the step is the function that was given for it."
        if self.trust["complex"]:
            where = f"{len(POINTS)} random states"
            return f"The Jacobian of the step is taken by the complex step, which agrees with differences at {where}."
        why = "the function does not carry complex numbers through"
        return f"The Jacobian of the step is taken by central differences, to about 1e-9: {why}."

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """Seconds of a step and of a Jacobian, the latter of one of its columns: the shortest of a few calls each."""
        x, s = np.random.default_rng(0).standard_normal(self.inputs), np.zeros(self.n)  # where every run begins
        e = np.eye(1, self.n)[0]
        column = self.by_complex_step if self.trust["complex"] else self.by_differences
        calls = partial(self.once, x, s), partial(column, x, s, e)
        if self.derivative is not None:
            calls = calls[0], partial(self._jacobian, x, s)
        with np.errstate(all="ignore"):
            step, one = (min(timeit.repeat(call, number=1, repeat=CALLS)) for call in calls)
        return step, one if self.derivative is not None else self.n * one

    def once(self, x: Array, s: Array) -> Array:
        """Call the function with copies, and return a copy: it may write into either, or return one buffer again.

        Raises:
            InputError: the function fails.
        """
        return self._called(self.function, x, s)

    def _called(self, function: Step, x: Array, s: Array) -> Array:
        try:
            return np.array(function(x.copy(), s.copy()))
        except Exception as error:  # a user's function may fail in any way
            what = f"{type(error).__name__}: {error}"
            name = "step" if function is self.function else "jacobian"
            raise InputError(f"the {name} fails for an input of {len(x)} and a state of {len(s)}: {what}") from error

    def evolve(self, x: Array, s: Array) -> Array:
        lead, x, s = _rows(x, s)
        new = np.stack([self.once(a, b) for a, b in zip(x, s, strict=True)])
        return np.moveaxis(new.reshape(*lead, self.n), -1, -2)

    def runner(self, steps: int, batch: int) -> Runner:
        return self._run

    def _run(self, x: Array, states: Array, kept: Sequence[Array] = ()) -> None:
        """Run the steps, and keep their Jacobians: they are asked for several times, and each takes n calls."""
        self._step_by_step(x, states)
        for to in kept:
            for t, seen in enumerate(x):
                to[t] = np.moveaxis(self._matrices(seen, states[t]), 0, -1).reshape(to[t].shape)

    @property
    def keeps(self) -> tuple[int, ...]:
        return (self.n**2,)

    def linearise_kept(self, x: Array, s: Array, kept: Sequence[Array]) -> Linear:
        if not kept:
            return self.linearise(x, s)
        matrices = kept[0].reshape(len(s), self.n, self.n, -1)
        return Dense(np.ascontiguousarray(np.moveaxis(matrices, -1, 1)))

    def linearise(self, x: Array, s: Array) -> Linear:
        return Dense(self._matrices(x, s))

    def _matrices(self, x: Array, s: Array) -> Array:
        lead, x, s = _rows(x, s)
        matrices = np.stack([self._jacobian(a, b) for a, b in zip(x, s, strict=True)])
        return matrices.reshape(*lead, self.n, self.n)

    def _jacobian(self, x: Array, s: Array) -> Array:
        if self.derivative is not None:
            J = np.asarray(self._called(self.derivative, x, s), float)
            if J.shape != (self.n, self.n):
                raise InputError(f"the jacobian returned shape {J.shape}; it must be ({self.n}, {self.n})")
            return J
        ways = self.by_complex_step if self.trust["complex"] else self.by_differences
        return np.stack([ways(x, s, e) for e in np.eye(self.n)], axis=1)

    def by_complex_step(self, x: Array, s: Array, v: Array) -> Array:
        """Return J v: Im f(s + ihv) / h has no cancellation, so h can be tiny (Squire & Trapp 1998)."""
        h = 1e-30
        new: Array = np.imag(self.once(x.astype(complex), s + 1j * h * v)) / h
        return new

    def by_differences(self, x: Array, s: Array, v: Array) -> Array:
        """Return J v by central differences."""
        h = float(np.cbrt(np.finfo(float).eps)) * max(float(np.abs(s[v != 0]).max(initial=0.0)), 1.0)
        new: Array = (self.once(x, s + h * v) - self.once(x, s - h * v)) / (2 * h)
        return new

    def _complex_agrees(self) -> bool:
        """Tell whether the function carries complex numbers through: abs, casts and libraries may not.

        Asked at random states, and not at zero, where |s|^2 looks as if it did; states that have no number are
        passed over.
        """
        rng = np.random.default_rng(0)
        agreed = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
            for size in POINTS:
                x = rng.standard_normal(self.inputs)
                s, v = rng.standard_normal((2, self.n)) * [[size], [1]]
                try:
                    b = self.by_differences(x, s, v)
                    if np.isfinite(b).all():
                        agreed.append(_alike(self.by_complex_step(x, s, v), b))
                except InputError:  # it may refuse complex numbers in any way
                    return False
        return bool(agreed) and all(agreed)


def _alike(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=ALIKE, atol=ALIKE * max(float(np.abs(b).max(initial=0.0)), 1e-12)))


def _rows(x: Array, s: Array) -> tuple[tuple[Any, ...], Array, Array]:
    """Return the leading axes (time, sequences) and one row for each state."""
    lead = (*s.shape[:-2], s.shape[-1])
    flat = [np.moveaxis(z, -2, -1).reshape(math.prod(lead), z.shape[-2]) for z in (x, s)]
    return lead, flat[0], flat[1]
