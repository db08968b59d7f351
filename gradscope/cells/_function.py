"""A user's own step function as a cell."""

from __future__ import annotations

import inspect
import math
import timeit
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from gradscope.cells._interface import BaseCell, Runner
from gradscope.errors import InputError, UsageError
from gradscope.jacobian import Array, Dense, Linear

__all__ = ["FunctionCell", "from_step", "unproven"]

Step = Callable[[Array, Array], Array]
POINTS = (0.1, 1.0, 1.0, 3.0)  # sizes of the random states at which the two derivatives are compared
CALLS = 3  # of each kind are timed: the shortest is the one that nothing came between
ALIKE = 1e-5  # differences err by about 1e-10, and an imaginary part that is lost by the whole
AGAIN = 1e3 * float(np.finfo(float).eps)  # relative: sums in another order, and nothing more


def from_step(
    step: Step,
    *,
    state_size: int,
    input_size: int,
    jacobian: Step | None = None,
    parts: Mapping[str, int] | None = None,
    surrogate: bool = False,
) -> FunctionCell:
    """Make a cell from your own function step(x, s) -> new s, for one state at a time.

    The Jacobian is `jacobian(x, s)` if you give it; it is held against the step at a few random states. Else it
    comes from the complex step, exact to rounding, where the function takes complex numbers and a check against
    differences agrees; and from central differences, good to about 1e-9, where it does not.

    Args:
        step: x (input_size,), s (state_size,) -> (state_size,).
        state_size: n.
        input_size: m.
        jacobian: x, s -> (n, n), rows are outputs.
        parts: {name: size} of the state, output first; {"h": n} unless given.
        surrogate: whether `jacobian` is meant to be another one than the derivative, as a surrogate gradient is.

    Raises:
        UsageError: sizes below 1, or parts that do not add up to the state.
        InputError: the function fails, takes other arguments, returns another shape or other numbers, or another
            result for the same x and s; or `jacobian` is not its derivative.
    """
    cell = unproven(step, state_size=state_size, input_size=input_size, jacobian=jacobian, parts=parts)
    cell.prove(surrogate=surrogate)
    return cell


def unproven(
    step: Step,
    *,
    state_size: int,
    input_size: int,
    jacobian: Step | None = None,
    parts: Mapping[str, int] | None = None,
) -> FunctionCell:
    """Make a cell as `from_step` does, of which it is not asked whether the functions are what they are said to be.

    Raises:
        UsageError: sizes below 1, or parts that do not add up to the state.
        InputError: the function fails, takes other arguments, or returns another shape or other numbers.
    """
    if state_size < 1 or input_size < 0:
        raise UsageError(f"state_size must be at least 1 and input_size at least 0, not {state_size} and {input_size}")
    parts = _sizes(parts) or {"h": state_size}
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
        if jacobian is not None:
            cell._jacobian(np.zeros(input_size), np.zeros(state_size))  # refused unless of the right shape
    if returned.shape != (state_size,):
        raise InputError(f"the step returned shape {returned.shape}; it must be ({state_size},)")
    if returned.dtype.kind != "f" or returned.dtype.itemsize < np.dtype(float).itemsize:
        raise InputError(f"the step returned {returned.dtype} numbers; it is given float64, and must return float64")
    cell.trust["complex"] = cell._complex_agrees()
    return cell


def _sizes(parts: Any) -> dict[str, int]:
    """Return names and sizes of parts.

    Raises:
        UsageError: they are no such thing.
    """
    parts = {} if parts is None else parts
    hint = "for instance parts = {'h': 32, 'c': 32}, output first"
    if not isinstance(parts, Mapping):
        raise UsageError(f"parts must be a dict of names and sizes, and not {parts!r}", hint)
    for name, size in parts.items():
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not isinstance(name, str) or not whole or size < 1:
            raise UsageError(f"the part {name!r} cannot have size {size!r}: a name and a whole number from 1 on", hint)
    return {name: int(size) for name, size in parts.items()}


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
        held: what came of holding the Jacobian that was given against the step; see `prove`.
    """

    function: Step
    n: int
    inputs: int
    derivative: Step | None
    sizes: dict[str, int]
    trust: dict[str, bool] = field(default_factory=dict, repr=False)
    recipe: tuple[Any, ...] = field(default=(), repr=False)
    held: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        return self.inputs

    @property
    def apart(self) -> bool:
        """False: nothing is known of what the function does to each unit."""
        return False

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
            return f"The Jacobian of the step is the function that was given for it{self._held_in_words()}."
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

    def _held_in_words(self) -> str:
        states, wrong = self.held.get("states", 0), self.held.get("wrong", 0)
        if not states:
            return ", which was not held against the step"
        if self.held["surrogate"]:
            return f", a surrogate: J v is off {self.way} by {self.held['error']:.1g}, relative, at random states"
        where = f"{states - wrong} of {states}" if wrong else f"{states}"
        return f", which agrees with {self.way} at {where} random states"

    @property
    def way(self) -> str:
        """What the step itself says of its derivative."""
        return "the complex step" if self.trust["complex"] else "central differences"

    def once(self, x: Array, s: Array) -> Array:
        """Call the function with copies, and return a copy: it may write into either, or return one buffer again.

        Raises:
            InputError: the function fails.
        """
        return self._called(self.function, x, s)

    def _called(self, function: Step, x: Array, s: Array) -> Array:
        name = "step" if function is self.function else "jacobian"
        try:
            returned = function(x.copy(), s.copy())
        except Exception as error:  # a user's function may fail in any way
            what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            fails = f"the {name} fails for an input of {len(x)} and a state of {len(s)}"
            raise InputError(f"{_place(error, function)}{fails}: {what}") from error
        wanted = f"({self.n},)" if name == "step" else f"({self.n}, {self.n})"
        if name == "step" and isinstance(returned, tuple | list) and any(map(_long, returned)):
            text = f"the step returned a {type(returned).__name__} of {len(returned)}"
            hint = "one array holds the whole state, its parts one after the other; what a cell shows is its first part"
            raise InputError(f"{text}; it must return the new state alone, of shape {wanted}", hint)
        try:
            new = np.array(returned)
        except Exception as error:  # what is no array may fail in any way to become one
            raise InputError(f"the {name} returned no array, but {type(returned).__name__}: {error}") from error
        if new.dtype == object:
            what = "None" if returned is None else f"something of type {type(returned).__name__}"
            raise InputError(f"the {name} returned {what}; it must return an array of shape {wanted}")
        return new

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
        agreed = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
            for x, s, v in self._points():
                try:
                    b = self.by_differences(x, s, v)
                    if np.isfinite(b).all():
                        agreed.append(_alike(self.by_complex_step(x, s, v), b))
                except InputError:  # it may refuse complex numbers in any way
                    return False
        return bool(agreed) and all(agreed)

    def _points(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield random inputs and states, with a direction each."""
        rng = np.random.default_rng(0)
        for size in POINTS:
            x = rng.standard_normal(self.inputs)
            s, v = rng.standard_normal((2, self.n)) * [[size], [1]]
            yield x, s, v

    def prove(self, *, surrogate: bool = False) -> None:
        """Ask whether the step is a function of x and s alone, and the Jacobian that was given its derivative.

        J v is held against the derivative along one random direction at each of a few random states. The complex
        step looks at that state alone, so that one that disagrees is enough. Differences may reach over a kink near
        by, and say anything: of them, most have to disagree.

        Args:
            surrogate: whether the Jacobian is meant to be another one.

        Raises:
            InputError: it is not so.
        """
        found = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of states that have no number
            for x, s, v in self._points():
                try:
                    new = self.once(x, s)
                    self.once(-x, -s)
                    again = self.once(x, s)
                    pair = self._pair(x, s, v) if self.derivative is not None else None
                except InputError:  # it may be defined elsewhere only
                    continue
                if not np.allclose(again, new, rtol=AGAIN, atol=AGAIN, equal_nan=True):
                    text = "the step gives another result for the same input and state, so that it has no derivative"
                    raise InputError(text, "random numbers, counters and what it remembers have no place in it")
                if pair is not None and all(np.isfinite(y).all() for y in pair):
                    found.append(self._apart(*pair, new, s))
        if not found:
            return
        wrong, error = sum(w for w, _ in found), max(e for _, e in found)
        self.held.update(states=len(found), wrong=wrong, error=error, surrogate=surrogate)
        if not surrogate and (wrong if self.trust["complex"] else 2 * wrong > len(found)):
            where = f"at {wrong} of {len(found)} random states"
            hint = (
                "check-cell names the entry; one that is not meant to be the derivative is declared: surrogate = True"
            )
            text = "the jacobian is not the derivative of the step"
            raise InputError(f"{text}: J v is off {self.way} by {error:.2g}, relative, {where}", hint)

    def _pair(self, x: Array, s: Array, v: Array) -> tuple[Array, Array]:
        ways = self.by_complex_step if self.trust["complex"] else self.by_differences
        return self._jacobian(x, s) @ v, ways(x, s, v)

    def _apart(self, stated: Array, truth: Array, new: Array, s: Array) -> tuple[bool, float]:
        """Tell whether J v is wrong, and by how much, relative to the larger of the two."""
        gap, largest = (float(np.abs(y).max(initial=0.0)) for y in (stated - truth, np.stack([stated, truth])))
        h = float(np.cbrt(np.finfo(float).eps)) * max(float(np.abs(s).max(initial=0.0)), 1.0)
        noise = 0.0 if self.trust["complex"] else AGAIN * float(np.abs(new).max(initial=0.0)) / h
        return gap > ALIKE * largest + noise, gap / largest if largest else 0.0


def _place(error: Exception, function: Any) -> str:
    """Return "FILE, line N: " of where a function failed, in its own file; "" where that is not known."""
    function = getattr(function, "func", function)  # of a partial
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    return f"{code.co_filename}, line {lines[-1]}: " if lines and code else ""


def _long(value: Any) -> bool:
    return isinstance(value, tuple | list) or getattr(value, "ndim", 0) > 0


def _alike(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=ALIKE, atol=ALIKE * max(float(np.abs(b).max(initial=0.0)), 1e-12)))


def _rows(x: Array, s: Array) -> tuple[tuple[Any, ...], Array, Array]:
    """Return the leading axes (time, sequences) and one row for each state."""
    lead = (*s.shape[:-2], s.shape[-1])
    flat = [np.moveaxis(z, -2, -1).reshape(math.prod(lead), z.shape[-2]) for z in (x, s)]
    return lead, flat[0], flat[1]
