"""Is a user's step a function of input and state alone, and which derivative of it can be trusted?

The function is called at a few random inputs and states. The complex step is taken where it agrees with central
differences, and a Jacobian that was given is compared with the step, along one direction at each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from gradscope.checking.derivative import DIFFERENCES, EXACT, largest, require
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array
from gradscope.networks.arguments import Step, sizes_of, takes_two
from gradscope.networks.function import FunctionCell

# Sizes of the random inputs and states at which derivatives are compared. The first few that show a derivative count:
# the small ones are for steps that saturate, and of no use where there is a kink at 0.
SIZES = ((1, 0.1), (1, 1), (1, 1), (1, 3), (0.1, 0.1), (0.01, 0.01), (0.001, 0.001))
ENOUGH_STATES = 4
SCALES = (1.0, 0.1, 0.01, 0.001)  # of input and state: the first that is not saturated is looked at entry by entry
EPS, EPS32 = float(np.finfo(float).eps), float(np.finfo(np.float32).eps)
AGAIN = 1e3 * EPS  # relative: sums in another order, and nothing more
AGAIN32 = 1e2 * EPS32  # a thousand would leave nothing to compare
ALIKE = 1e-5  # relative; differences err by about 1e-10, and an imaginary part that is lost by the whole
ALIKE32 = 1e-2  # differences err by about 1e-4
MANTISSA_BITS = 12  # numbers of no more are in single precision whatever they were computed in, as 0, 1 and 0.5

GIVEN = "The Jacobian of the step is the function that was given for it"

Point = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Fact:
    """One fact about a step function: what was asked, the answer, and whether the answer keeps the rules."""

    what: str
    answer: str
    right: bool = True

    @property
    def sentence(self) -> str:
        """Question and answer."""
        return f"{self.what}: {self.answer}"


def from_step(
    step: Step,
    *,
    state_size: int,
    input_size: int,
    jacobian: Step | None = None,
    parts: Mapping[str, int] | None = None,
    surrogate: bool = False,
    examine: bool = True,
) -> FunctionCell:
    """Make a cell from your own function step(x, s) -> new s, for one state at a time.

    The Jacobian is `jacobian(x, s)` if you give it; it is compared with the step at a few random states. Else it
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
        examine: whether to ask if the step depends on x and s alone, and if `jacobian` is its derivative.

    Raises:
        UsageError: sizes below 1, or parts that do not add up to the state.
        InputError: the function fails, takes other arguments, returns another shape or other numbers, or another
            result for the same x and s; or `jacobian` is not its derivative.
    """
    if state_size < 1 or input_size < 0:
        raise UsageError(f"state_size must be at least 1 and input_size at least 0, not {state_size} and {input_size}")
    parts = sizes_of(parts) or {"h": state_size}
    for name in parts:
        if name == "state" or name.endswith("_total"):
            raise UsageError(
                f"a part cannot be named '{name}'", "the names 'state' and '..._total' are reserved for sums over parts"
            )
    if sum(parts.values()) != state_size:
        raise UsageError(f"the parts add up to {sum(parts.values())}, but the state size is {state_size}")
    for function in (step, jacobian):
        if function is not None:
            takes_two(function)
    cell = FunctionCell(step, state_size, input_size, jacobian, dict(parts), surrogate and jacobian is not None)
    _check_returned(cell)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
        cell = replace(cell, single=_computes_in_single(cell))
        agreeing = _complex_step_agrees(cell)
    cell = replace(cell, analytic=agreeing is not None)
    cell = replace(cell, assumption=_assumption(cell, agreeing or 0))
    return _examined(cell) if examine else cell


def _check_returned(cell: FunctionCell) -> None:
    """Catch a step, or a Jacobian, of another shape or type than float64."""
    with np.errstate(all="ignore"):
        new = cell.once(np.zeros(cell.inputs), np.zeros(cell.n))
        if cell.derivative is not None:
            cell.matrix(np.zeros(cell.inputs), np.zeros(cell.n))
    if new.shape != (cell.n,):
        raise InputError(f"the step returned shape {new.shape}; it must be ({cell.n},)")
    if new.dtype.kind != "f" or new.dtype.itemsize < np.dtype(float).itemsize:
        raise InputError(f"the step returned {new.dtype} numbers; it is given float64, and must return float64")


def points(cell: FunctionCell) -> Iterator[Point]:
    """Yield random inputs (m,) and states (n,), with a direction (n,) each."""
    rng = np.random.default_rng(0)
    for input_scale, state_scale in SIZES:
        x = input_scale * rng.standard_normal(cell.inputs)
        s, v = rng.standard_normal((2, cell.n)) * [[state_scale], [1]]
        yield x, s, v


def _computes_in_single(cell: FunctionCell) -> bool:
    """Whether a variable of the new state is in single precision wherever that is not by chance."""
    rows = []
    for x, s, _ in points(cell):
        with suppress(InputError):
            rows.append(cell.once(x, s))
    new = np.array([r for r in rows if r.shape == (cell.n,)] or [np.zeros(cell.n)])
    new = np.where(np.isfinite(new), new, 0.0)
    short = np.ldexp(np.frexp(new)[0], MANTISSA_BITS) % 1 == 0
    fits = new.astype(np.float32).astype(float) == new
    return bool(((fits | short).all(axis=0) & ((~short).sum(axis=0) > 1)).any())


def _complex_step_agrees(cell: FunctionCell) -> int | None:
    """Return at how many states the complex step agrees with differences that show a derivative; None where it errs.

    abs, casts and libraries may lose imaginary parts. Asked at random states, and not at zero, where |s|^2 looks
    analytic; states with nonfinite differences are passed over.
    """
    compared = showing = 0
    for x, s, v in points(cell):
        try:
            a, b, unseen = cell.by_complex_step(x, s, v), cell.by_differences(x, s, v), _unseen(cell, x, s, v)
        except InputError:  # the function may refuse complex numbers in any way
            return None
        if not (np.isfinite(b).all() and np.isfinite(unseen)):
            continue
        size = max(largest(a), largest(b))
        if not largest(a - b) <= (ALIKE32 if cell.single else ALIKE) * size + unseen:
            return None
        compared, showing = compared + 1, showing + (size > unseen)
        if showing == ENOUGH_STATES:
            break
    return showing if compared else None


def _unseen(cell: FunctionCell, x: Array, s: Array, v: Array) -> float:
    """Return what differences cannot tell from 0 in J v: rounding of the step, and what a wider one changes."""
    rounding = (AGAIN32 if cell.coarse else AGAIN) * largest(cell.once(x, s)) / cell.difference_step(s, v)
    return rounding + largest(cell.by_differences(x, s, v, 2.0) - cell.by_differences(x, s, v))


def _floor(cell: FunctionCell, x: Array, s: Array, v: Array, slope: float) -> float:
    """Return the size of J v below which nothing is said of a given Jacobian; `slope` is the largest J v anywhere.

    Where a unit is saturated, 1 - y^2 is 0 or eps, and the complex step has all the digits of 1e-25.
    """
    if not cell.analytic:
        return _unseen(cell, x, s, v)
    return (AGAIN32 if cell.single else AGAIN) * max(slope, largest(cell.once(x, s)) / max(largest(s), 1.0))


def _way(cell: FunctionCell) -> str:
    return "the complex step" if cell.analytic else "central differences"


def _assumption(cell: FunctionCell, agreeing: int) -> str:
    """Say where the Jacobian comes from."""
    if cell.derivative is not None:
        return f"{GIVEN}, which was not compared with the step."
    if not cell.analytic:
        why = "computes in single precision" if cell.single else "does not support complex numbers"
        text = "The Jacobian of the step is taken by central differences, to about"
        return f"{text} {_difference_error(cell)}: the function {why}."
    agrees = f"which agrees with differences at {agreeing} random states"
    agrees = agrees if agreeing else "and differences see no derivative at the random states at which they were taken"
    return f"The Jacobian of the step is taken by the complex step, {agrees}."


def _difference_error(cell: FunctionCell) -> str:
    """Return the error of central differences, for a derivative of about 1."""
    return "1e-4" if cell.coarse else "1e-9"


def _examined(cell: FunctionCell) -> FunctionCell:
    """Return the cell, if its step is a function of x and s alone and a given Jacobian the derivative of the step.

    The complex step looks at a state alone, so that one state that disagrees is enough. Differences may reach over
    a kink near by, and say anything: of them, most have to disagree.

    Raises:
        InputError: the step is no such function, or the Jacobian another one.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of states that have no number
        if not all(_repeats(cell, x, s) for x, s, _ in points(cell)):
            text = "the step gives different results for the same input and state, so it has no derivative"
            raise InputError(text, "it must not use random numbers, counters or memory of earlier calls")
        errors = [] if cell.derivative is None else _errors_of_given(cell)
    if not errors:
        return cell
    states, wrong, error = len(errors), sum(is_wrong for is_wrong, _ in errors), max(e for _, e in errors)
    off = f"J v is off {_way(cell)} by"
    if cell.surrogate:
        return replace(cell, assumption=f"{GIVEN}, a surrogate: {off} {error:.1g}, relative, at random states.")
    if wrong if cell.analytic else 2 * wrong > states:
        where = f"{off} {error:.2g}, relative, at {wrong} of {states} random states"
        hint = "gradscope check-cell shows the entry; declare an intentional surrogate with surrogate = True"
        raise InputError(f"the jacobian is not the derivative of the step: {where}", hint)
    right = f"{states - wrong} of {states}" if wrong else f"{states}"
    why = f", to about {ALIKE32:g} as the step computes in single precision," if cell.coarse else ""
    return replace(cell, assumption=f"{GIVEN}, which agrees with {_way(cell)}{why} at {right} random states.")


def _repeats(cell: FunctionCell, x: Array, s: Array) -> bool:
    """Whether the same arguments give the same result after others: random numbers, counters and memory do not."""
    try:
        new, _, again = (cell.once(k * x, k * s) for k in (1, -1, 1))
    except InputError:  # the step may be defined elsewhere only
        return True
    return np.allclose(again, new, rtol=AGAIN, atol=AGAIN, equal_nan=True)


def _errors_of_given(cell: FunctionCell) -> list[tuple[bool, float]]:
    """Return whether a given J v is wrong, and its error relative to the larger of the two, at states that show it."""
    pairs: list[tuple[Point, Array, Array]] = []
    for x, s, v in points(cell):
        with suppress(InputError):  # the step may be defined elsewhere only
            stated, truth = cell.matrix(x, s) @ v, cell.product(x, s, v)
            if np.isfinite(stated).all() and np.isfinite(truth).all():
                pairs.append(((x, s, v), stated, truth))
    slope = max((largest(truth) for *_, truth in pairs), default=0.0)
    errors: list[tuple[bool, float]] = []
    for at, stated, truth in pairs:
        gap, size = largest(stated - truth), max(largest(stated), largest(truth))
        with suppress(InputError):  # the step is not defined a little further off
            floor = _floor(cell, *at, slope)
            if not gap or size > floor:
                wrong = gap > (ALIKE32 if cell.coarse else ALIKE) * size + floor
                errors.append((wrong, max(gap - floor, 0.0) / size if size else 0.0))
    return errors[:ENOUGH_STATES]


def facts_of(cell: FunctionCell, *, seed: int = 0) -> list[Fact]:
    """Return what is to be known of a step function: whether it is pure, and its derivative.

    Raises:
        InputError: the function fails.
    """
    rng = np.random.default_rng([seed, 3])
    x, s = rng.standard_normal(cell.inputs), rng.standard_normal(cell.n)
    new, given = cell.once(x, s), {"x": x.copy(), "s": s.copy()}
    finite = bool(np.isfinite(new).all())
    cell.function(given["x"], given["s"])
    written = " and ".join(k for k, was in (("x", x), ("s", s)) if not np.array_equal(given[k], was))
    cell.once(-x, -s)
    same = np.array_equal(cell.once(x, s), new, equal_nan=True)
    shape = f"shape {new.shape}, {new.dtype}, {'finite' if finite else 'not finite at a random state'}"
    later = "the same" if same else "different: it depends on more than x and s"
    facts = [
        Fact("new state", shape, finite),
        Fact("arguments", f"{written} written to" if written else "left as they are", not written),
        Fact("result for the same x and s later", later, same),
    ]
    source = cell.assumption.removeprefix("The Jacobian of the step is ").removesuffix(".")
    return [*facts, Fact("Jacobian", source) if cell.derivative is None else _fact_of_given(cell, x, s)]


def _fact_of_given(cell: FunctionCell, x: Array, s: Array) -> Fact:
    """Compare a given Jacobian with the step, entry by entry, at the first scale that is not saturated."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
        ones, unit = np.ones(cell.n), np.eye(cell.n)
        scaled = [(scale * x, scale * s) for scale in SCALES]
        shown = (at for at in scaled if largest(cell.by_differences(*at, ones)) > 10 * _unseen(cell, *at, ones))
        x, s = next(shown, (x, s))
        stated, truth = cell.matrix(x, s), np.stack([cell.product(x, s, e) for e in unit], axis=1)
        floor = max(_floor(cell, x, s, e, largest(truth)) for e in unit)
    gaps, scale = np.abs(stated - truth), max(largest(stated), largest(truth), np.finfo(float).tiny)
    error, allowed = float(gaps.max()) / scale, _allowed(cell) + floor / scale
    if cell.surrogate:
        return Fact("Jacobian", f"of the file, a surrogate: off {_way(cell)} by {error:.1e}, relative")
    row, column = (int(i) for i in np.unravel_index(gaps.argmax(), gaps.shape))
    entry = f", worst in row {row}, column {column}: {stated[row, column]:.6g}, not {truth[row, column]:.6g}"
    text = f"of the file, off {_way(cell)} by {error:.1e}, relative, {allowed:.0e} allowed"
    return Fact("Jacobian", text + ("" if error <= allowed else entry), error <= allowed)


def _allowed(cell: FunctionCell) -> float:
    """Return the relative error that a right Jacobian may have."""
    if cell.analytic:  # perhaps one in single precision
        return AGAIN32 if cell.single else EXACT
    return ALIKE32 if cell.single else DIFFERENCES


def check_function(cell: FunctionCell) -> None:
    """Catch a step that is no function of x and s, and a given Jacobian that is not its derivative."""
    try:
        _examined(cell)
    except InputError as error:
        require(False, cell, error.message)
