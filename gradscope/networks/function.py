"""A user's own step function as a cell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array, Dense, Linear
from gradscope.networks.arguments import Step, is_long, place, sizes_of, takes_two
from gradscope.networks.network import Network

__all__ = ["FunctionCell", "from_step", "unproven"]

# Sizes of the random inputs and states at which the two derivatives are compared. The first TELLING that say something
# are looked at: the small ones are for what saturates, and of no use where there is a kink at 0.
TELLING = 4
POINTS = ((1, 0.1), (1, 1), (1, 1), (1, 3), (0.1, 0.1), (0.01, 0.01), (0.001, 0.001))
ALIKE = 1e-5  # differences err by about 1e-10, and an imaginary part that is lost by the whole
EPS, EPS32 = float(np.finfo(float).eps), float(np.finfo(np.float32).eps)
AGAIN = 1e3 * EPS  # relative: sums in another order, and nothing more
AGAIN32 = 1e2 * EPS32  # a thousand would leave nothing to compare
ALIKE32 = 1e-2  # differences err by about 1e-4
DIGITS = 12  # binary ones: numbers of no more are in single precision whatever they were computed in, as 0, 1 and 0.5


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
    differences agrees; and from central differences, good to about 1e-9, where it does not, or to about 1e-4 where
    the step computes in single precision.

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
    parts = sizes_of(parts) or {"h": state_size}
    for name in parts:
        if name == "state" or name.endswith("_total"):
            raise UsageError(f"a part cannot be named '{name}'", "'state' and '..._total' name sums over parts")
    if sum(parts.values()) != state_size:
        raise UsageError(f"the parts add up to {sum(parts.values())}, and the state has {state_size}")
    for function in (step, jacobian):
        if function is not None:
            takes_two(function)
    cell = FunctionCell(step, state_size, input_size, jacobian, parts)
    with np.errstate(all="ignore"):
        returned = cell.once(np.zeros(input_size), np.zeros(state_size))
        if jacobian is not None:
            cell._jacobian(np.zeros(input_size), np.zeros(state_size))  # refused unless of the right shape
    if returned.shape != (state_size,):
        raise InputError(f"the step returned shape {returned.shape}; it must be ({state_size},)")
    if returned.dtype.kind != "f" or returned.dtype.itemsize < np.dtype(float).itemsize:
        raise InputError(f"the step returned {returned.dtype} numbers; it is given float64, and must return float64")
    if cell._computes_in_single():
        cell.trust["single"] = True
    cell.trust["complex"] = cell._complex_agrees()
    return cell


@dataclass(frozen=True, eq=False)
class FunctionCell(Network):
    """A step function of one state; `from_step` makes it.

    Attributes:
        trust: whether the function is analytic, so that complex steps may be taken: {"complex": bool}; and
            {"single": True} where its results are in single precision.
        held: what came of holding the Jacobian that was given against the step; see `prove`.
    """

    function: Step
    n: int
    inputs: int
    derivative: Step | None
    sizes: dict[str, int]
    trust: dict[str, bool] = field(default_factory=dict, repr=False)
    held: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        return self.inputs

    @property
    def diagonal(self) -> bool:
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
            states = self.held["alike"]
            agrees = f"which agrees with differences at {states} random states"
            if not states:
                agrees = "and differences see no derivative at the random states at which they were taken"
            return f"The Jacobian of the step is taken by the complex step, {agrees}."
        why = "the function does not carry complex numbers through"
        why = "the function computes in single precision" if self.single else why
        return f"The Jacobian of the step is taken by central differences, to about {self.good_to}: {why}."

    @property
    def single(self) -> bool:
        """Whether differences see single precision alone: the step returns it, and there is no complex step."""
        return self.trust.get("single", False) and not self.trust.get("complex", False)

    @property
    def good_to(self) -> str:
        """What central differences err by, about, of a derivative of about 1."""
        return "1e-4" if self.single else "1e-9"

    @property
    def surrogate(self) -> bool:
        """Whether the Jacobian that was given is meant to be another one than the derivative."""
        return self.derivative is not None and bool(self.held.get("surrogate", False))

    @property
    def jacobian_calls(self) -> int:
        """How often a function is called for the Jacobian of one step of one sequence."""
        return 1 if self.derivative is not None else self.n * (1 if self.trust["complex"] else 2)

    def _held_in_words(self) -> str:
        states, wrong = self.held.get("states", 0), self.held.get("wrong", 0)
        if not states:
            return ", which was not held against the step"
        if self.held["surrogate"]:
            return f", a surrogate: J v is off {self.way} by {self.held['error']:.1g}, relative, at random states"
        where = f"{states - wrong} of {states}" if wrong else f"{states}"
        why = f", to about {ALIKE32:g} as the step computes in single precision," if self.single else ""
        return f", which agrees with {self.way}{why} at {where} random states"

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
            raise InputError(f"{place(error, function)}{fails}: {what}") from error
        wanted = f"({self.n},)" if name == "step" else f"({self.n}, {self.n})"
        if name == "step" and isinstance(returned, tuple | list) and any(map(is_long, returned)):
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

    def linearise(self, x: Array, s: Array) -> Linear:
        return Dense(self.matrices(x, s))

    def matrices(self, x: Array, s: Array) -> Array:
        """Return the Jacobians (..., B, n, n) at inputs (..., m, B) and states (..., n, B)."""
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

    def by_differences(self, x: Array, s: Array, v: Array, wider: float = 1.0) -> Array:
        """Return J v by central differences, of a step `wider` times the best one."""
        h = wider * self._h(s, v)
        new: Array = (self.once(x, s + h * v) - self.once(x, s - h * v)) / (2 * h)
        return new

    def _h(self, s: Array, v: Array) -> float:
        return float(np.cbrt(EPS32 if self.single else EPS)) * max(_largest(s[v != 0]), 1.0)

    def unseen(self, x: Array, s: Array, v: Array) -> float:
        """Return what differences cannot tell from 0 in J v: rounding of the step, and what a wider one changes."""
        rounding = (AGAIN32 if self.single else AGAIN) * _largest(self.once(x, s)) / self._h(s, v)
        return rounding + _largest(self.by_differences(x, s, v, 2.0) - self.by_differences(x, s, v))

    def floor(self, x: Array, s: Array, v: Array, slope: float) -> float:
        """Return the size of J v below which nothing is said of a Jacobian that was given.

        Where a unit is saturated, 1 - y^2 is 0 or eps, and the complex step has all the digits of 1e-25.

        Args:
            x: input (m,).
            s: state (n,).
            v: direction (n,).
            slope: the largest J v at any state.
        """
        if not self.trust["complex"]:
            return self.unseen(x, s, v)
        again = AGAIN32 if self.trust.get("single") else AGAIN
        return again * max(slope, _largest(self.once(x, s)) / max(_largest(s), 1.0))

    def _computes_in_single(self) -> bool:
        """Tell whether a variable of the new state is in single precision wherever that is not by chance."""
        rows = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for x, s, _ in self._points():
                with suppress(InputError):
                    rows.append(self.once(x, s))
            new = np.array([r for r in rows if r.shape == (self.n,)] or [np.zeros(self.n)])
            new = np.where(np.isfinite(new), new, 0.0)
            few = np.ldexp(np.frexp(new)[0], DIGITS) % 1 == 0
            fits = new.astype(np.float32).astype(float) == new
        return bool(((fits | few).all(axis=0) & ((~few).sum(axis=0) > 1)).any())

    def _complex_agrees(self) -> bool:
        """Tell whether the function carries complex numbers through: abs, casts and libraries may not.

        Asked at random states, and not at zero, where |s|^2 looks as if it did; states that have no number are
        passed over, and those where differences see none.
        """
        compared = telling = 0
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
            for x, s, v in self._points():
                try:
                    a, b, unseen = self.by_complex_step(x, s, v), self.by_differences(x, s, v), self.unseen(x, s, v)
                except InputError:  # it may refuse complex numbers in any way
                    return False
                if not (np.isfinite(b).all() and np.isfinite(unseen)):
                    continue
                gap, largest = _largest(a - b), _largest(np.stack([a, b]))
                if not gap <= (ALIKE32 if self.trust.get("single") else ALIKE) * largest + unseen:
                    return False
                compared, telling = compared + 1, telling + (largest > unseen)
                if telling == TELLING:
                    break
        self.held["alike"] = telling
        return compared > 0

    def _points(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield random inputs and states, with a direction each."""
        rng = np.random.default_rng(0)
        for of_input, of_state in POINTS:
            x = of_input * rng.standard_normal(self.inputs)
            s, v = rng.standard_normal((2, self.n)) * [[of_state], [1]]
            yield x, s, v

    def prove(self, *, surrogate: bool = False) -> None:
        """Ask whether the step is a function of x and s alone, and the Jacobian that was given its derivative.

        J v is held against the derivative along one random direction at each of a few random states. The complex
        step looks at that state alone, so that one that disagrees is enough. Differences may reach over a kink near
        by, and say anything: of them, most have to disagree. States where J v is below `floor` say nothing.

        Args:
            surrogate: whether the Jacobian is meant to be another one.

        Raises:
            InputError: it is not so.
        """
        pairs = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of states that have no number
            for at in self._points():
                x, s, v = at
                try:
                    new = self.once(x, s)
                    self.once(-x, -s)
                    again = self.once(x, s)
                    pair = self.pair(*at) if self.derivative is not None else None
                except InputError:  # it may be defined elsewhere only
                    continue
                if not np.allclose(again, new, rtol=AGAIN, atol=AGAIN, equal_nan=True):
                    text = "the step gives another result for the same input and state, so that it has no derivative"
                    raise InputError(text, "random numbers, counters and what it remembers have no place in it")
                if pair is not None and all(np.isfinite(y).all() for y in pair):
                    pairs.append((at, *pair))
            slope = max((_largest(truth) for *_, truth in pairs), default=0.0)
            all_of_them = (self._apart(stated, truth, at, slope) for at, stated, truth in pairs)
            comparisons = [f for f in all_of_them if f is not None][:TELLING]
        self.held.update(surrogate=surrogate, states=len(comparisons))
        if not comparisons:
            return
        wrong, error = sum(w for w, _ in comparisons), max(e for _, e in comparisons)
        self.held.update(wrong=wrong, error=error)
        if not surrogate and (wrong if self.trust["complex"] else 2 * wrong > len(comparisons)):
            where = f"at {wrong} of {len(comparisons)} random states"
            hint = (
                "check-cell names the entry; one that is not meant to be the derivative is declared: surrogate = True"
            )
            text = "the jacobian is not the derivative of the step"
            raise InputError(f"{text}: J v is off {self.way} by {error:.2g}, relative, {where}", hint)

    def pair(self, x: Array, s: Array, v: Array) -> tuple[Array, Array]:
        """Return J v as it is stated, and as the step itself says."""
        ways = self.by_complex_step if self.trust["complex"] else self.by_differences
        return self._jacobian(x, s) @ v, ways(x, s, v)

    def _apart(
        self, stated: Array, truth: Array, at: tuple[Array, Array, Array], slope: float
    ) -> tuple[bool, float] | None:
        """Tell whether J v is wrong, and by how much, relative to the larger of the two; None where nothing tells."""
        gap, largest = _largest(stated - truth), _largest(np.stack([stated, truth]))
        try:
            floor = self.floor(*at, slope)
        except InputError:  # it is not defined a little further off
            return None
        if gap and not largest > floor:
            return None
        alike = ALIKE32 if self.single else ALIKE
        return gap > alike * largest + floor, max(gap - floor, 0.0) / largest if largest else 0.0


def _largest(y: Array) -> float:
    return float(np.abs(y).max(initial=0.0))


def _rows(x: Array, s: Array) -> tuple[tuple[Any, ...], Array, Array]:
    """Return the leading axes (time, sequences) and one row for each state."""
    lead = (*s.shape[:-2], s.shape[-1])
    flat = [np.moveaxis(z, -2, -1).reshape(math.prod(lead), z.shape[-2]) for z in (x, s)]
    return lead, flat[0], flat[1]
