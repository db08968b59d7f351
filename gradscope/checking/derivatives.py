"""Which derivative of a cell is wrong, and by how much?

Every entry of the grids that `partials` writes is held against the derivative of `advance` in the one gate or old part
that it is about, all others held fixed: by the complex step (Squire & Trapp 1998), or by central differences where
there are kinks. A step function has no grids: there the two ways are held against one another.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.maps.grid import absent
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import MapsCell
from gradscope.networks.formulas import ENTERING, INPUT, JOINT, RECURRENT, Parts, Preactivations
from gradscope.networks.function import AGAIN32, ALIKE32, FunctionCell
from gradscope.networks.map import Map

__all__ = ["DIFFERENCES", "EXACT", "H", "Derivative", "Fact", "derivatives_of", "facts_of", "step_is_stated"]

EXACT = 1e-12  # relative; about 5000 roundings of float64, more than any small cell has
# Central differences with step h err by h^2 |f'''| / 6 + eps |f| / h, 1e-10 at h = eps^(1/3): a hundred times that.
DIFFERENCES = 1e-8
H = float(np.cbrt(np.finfo(float).eps))
Grid = Mapping[str, Mapping[str, Any]]
TINY = 1e-30  # the complex step has no cancellation, so it can be this small


@dataclass(frozen=True)
class Derivative:
    """One derivative that a cell states, beside what it is.

    Attributes:
        part: the new part that is derived.
        road: through, around or within, as in `Partials`.
        of: name of the preactivation, or part, by which it is derived.
        error: largest difference over units and states, relative to the largest derivative.
        allowed: the error that rounding may make.
        remark: how what is stated has to do with what it should be; "" where that is not known. Of what is right: that
            it may be left out by mistake.
    """

    part: str
    road: str
    of: str
    error: float
    allowed: float
    remark: str = ""

    @property
    def right(self) -> bool:
        """Whether it is what it should be."""
        return self.error <= self.allowed


@dataclass(frozen=True)
class Fact:
    """What was found out about a step function: what was asked, the answer, and whether that keeps the rules."""

    what: str
    found: str
    right: bool = True


def derivatives_of(cell: MapsCell, x: Array, s: Array) -> list[Derivative]:
    """Compare every derivative that a cell states.

    Args:
        cell: the cell.
        x: inputs (m, B).
        s: states (n, B), away from kinks.

    Returns:
        those that are stated or not zero, in the order of the grids; of several maps one after another.
    """
    rows: list[Derivative] = []
    several = len(cell.maps) > 1
    for number, m in enumerate(cell.maps, 1):
        found = _Formulas(m, x, s, cell.kinks).compared()
        rows += [Derivative(f"{number}: {d.part}", *_rest(d)) if several else d for d in found]
        s = m.apply(x, s)
    return rows


def _rest(d: Derivative) -> tuple[str, str, float, float, str]:
    return d.road, d.of, d.error, d.allowed, d.remark


class _Formulas:
    """The formulas of one map at one point."""

    def __init__(self, m: Map, x: Array, s: Array, kinks: bool) -> None:
        self.m, self.kinks = m, kinks
        given, old = m.preactivations(x, s)
        shape = (m.width, s.shape[-1])
        seen = [name for name in m.places if not _without_weights(m, name)]
        self.p = {name: np.broadcast_to(given[name], shape).copy() for name in m.places}
        self.old = {part: value.copy() for part, value in old.items()}
        self.rng = np.random.default_rng(0)
        self.new = self._advance(self.p, self.old)
        self.allowed = DIFFERENCES if kinks else EXACT
        self.by_p = {name: self._moved(self.p, name) for name in seen}
        self.by_old = {part: self._moved(self.old, part) for part in self.old}

    def _given(self, p: dict[str, Array], old: dict[str, Array]) -> tuple[Preactivations, Parts]:
        """Return what the formulas are given, in arrays of their own."""
        m = self.m
        split = [name + INPUT if gate.split else name for name, gate in m.gates.items()]
        rows, entering = (np.array([p[name] for name in names]) for names in (m.gates, split))
        return Preactivations(m.places, rows, rows, entering), Parts(old)

    def _advance(self, p: dict[str, Array], old: dict[str, Array]) -> list[Array]:
        new = self.m.advance(*self._given(p, old))
        return [np.asarray(new[part]) for part in self.m.parts]

    def _moved(self, where: dict[str, Array], name: str) -> tuple[Array, list[Array]]:
        """Return a random direction of one preactivation or old part, and how every new part changes along it."""
        d = self.rng.standard_normal(where[name].shape)

        def at(step: complex) -> list[Array]:
            moved = where | {name: where[name] + step * d}
            return self._advance(*((moved, self.old) if where is self.p else (self.p, moved)))

        if self.kinks:
            return d, [(right - left) / (2 * H) for right, left in zip(at(H), at(-H), strict=True)]
        return d, [np.imag(p) / TINY for p in at(1j * TINY)]

    def compared(self) -> list[Derivative]:
        """Compare all derivatives."""
        partials = self.m.partials(*self._given(self.p, self.old))
        try:
            partials.grids(self.m.parts, self.m.old_names, self.m.gates)
        except KeyError as error:
            raise AssertionError(f"partials has {error}, which is the name of nothing there") from None
        rows = self._grid("through", partials.through, self.by_p)
        rows += self._grid("around", partials.around, self.by_old)
        within = partials.within or {}
        rows += self._within(within, [*self.by_p.values(), *self.by_old.values()])
        by_gate = [[self.by_p[n] for n in (g, g + INPUT) if n in self.by_p] for g in self.m.gates]
        return rows + self._unsaid(within, [*by_gate, *([move] for move in self.by_old.values())])

    def _grid(self, road: str, grid: Grid, moves: Mapping[str, tuple[Array, list[Array]]]) -> list[Derivative]:
        before = "p_" if road == "through" else ""
        rows = []
        for i, part in enumerate(self.m.parts):
            for name, (d, changes) in moves.items():
                entry = grid.get(part, {}).get(name, 0)
                if absent(entry) and not changes[i].any():
                    continue
                others = {
                    f"d {q}'/d {before}{other}": (direction, changed[j])
                    for j, q in enumerate(self.m.parts)
                    for other, (direction, changed) in moves.items()
                    if (q, other) != (part, name)
                }
                error, remark = self._one(entry, d, changes[i], self.new[i], others)
                rows.append(Derivative(part, road, name, error, self.allowed, remark))
        return rows

    def _one(
        self, entry: Any, d: Array, truth: Array, new: Array, others: dict[str, tuple[Array, Array]]
    ) -> tuple[float, str]:
        if absent(entry):
            return 1.0, f"nothing is written, and it is up to {_slope(truth, d):.2g}"
        try:
            found = np.broadcast_to(entry * d, truth.shape)
        except ValueError:
            return float("inf"), f"its shape is {np.shape(entry)}, and it must be {truth.shape}"
        error = self._error(found, truth, new)
        if error <= self.allowed:
            return error, ""
        if not truth.any():
            return error, "there is no such path: leave it out"
        k = float((found * truth).sum() / (truth * truth).sum())
        if self._error(found, k * truth, new) <= 100 * self.allowed:
            return error, "wrong sign" if abs(k + 1) < 1e-6 else f"{k:.6g} times what it should be"
        for name, (along, other) in others.items():
            # both are diagonals times directions of their own
            if (
                along.shape == d.shape == other.shape
                and self._error(found * along, other * d, new) <= 100 * self.allowed
            ):
                return error, f"it is {name}"
        return error, ""

    def _error(self, found: Array, wanted: Array, new: Array) -> float:
        """Return the largest difference, relative; differences see no less than rounding of the new part."""
        scale = max(float(np.abs(found).max()), float(np.abs(wanted).max()), np.finfo(float).tiny)
        scale = max(scale, float(np.abs(new).max())) if self.kinks else scale
        error = float(np.abs(found - wanted).max()) / scale
        return error if np.isfinite(error) else float("inf")

    def _within(self, grid: Grid, moves: Sequence[tuple[Array, list[Array]]]) -> list[Derivative]:
        """What one new part owes to another explains a change that comes through that other alone."""
        rows = []
        for p, part in enumerate(self.m.parts):
            for q, name in enumerate(self.m.parts):
                entry = grid.get(part, {}).get(name, 0)
                if absent(entry):
                    continue
                if p == q:
                    rows.append(Derivative(part, "within", name, float("inf"), 0.0, "a part owes nothing to itself"))
                    continue
                tried = [self._error(entry * t[q], t[p], self.new[p]) for _, t in moves if t[q].any()]
                error = min(tried, default=float("inf"))
                remark = "" if error <= 10 * self.allowed else f"it explains no change of {part}' through {name}'"
                rows.append(Derivative(part, "within", name, error, 10 * self.allowed, remark))
        return rows

    def _unsaid(self, grid: Grid, moves: Sequence[Sequence[tuple[Array, list[Array]]]]) -> list[Derivative]:
        """Remark on a new part that looks as if it were made of another one, where nothing is stated of that.

        It does where whatever moves the other, at least two gates or old parts, moves it in one proportion, and
        something moves it alone. That is no error: what is made of what is not in the numbers of one step.
        """
        rows = []
        for p, part in enumerate(self.m.parts):
            for q, name in enumerate(self.m.parts):
                if p == q or not absent(grid.get(part, {}).get(name, 0)):
                    continue
                pairs = [[(t[q], t[p]) for _, t in move] for move in moves]
                both = [[(b, a) for b, a in move if b.any()] for move in pairs]
                alone = any(a.any() and not b.any() for move in pairs for b, a in move)
                (b, a), *_ = flat = [pair for move in both for pair in move] or [(np.zeros(1), np.zeros(1))]
                if not alone or sum(map(bool, both)) < 2 or a.shape != b.shape or not (a.any() and b.all()):
                    continue
                if all(self._error(a / b * other, one, self.new[p]) <= 10 * self.allowed for other, one in flat):
                    remark = f"not stated, though whatever moves {name}' moves {part}' in proportion"
                    rows.append(Derivative(part, "within", name, 0.0, 10 * self.allowed, remark))
        return rows


def _without_weights(m: Map, name: str) -> bool:
    """Tell whether a map has no weights that a preactivation is made with: then the preactivation is always zero."""
    array, _ = m.places[name]
    missing = {RECURRENT: m.U is None, ENTERING: m.W is None, JOINT: m.U is None and m.W is None}
    return missing[array]


def _slope(truth: Array, d: Array) -> float:
    return float(np.abs(truth / d).max()) if truth.shape == d.shape else float(np.abs(truth).max())


def facts_of(cell: FunctionCell, *, seed: int = 0) -> list[Fact]:
    """Find out what is to be known of a step function: its derivative, and whether it is a function of x and s alone.

    Args:
        cell: of `from_step`.
        seed: of the states.

    Raises:
        InputError: the function fails.
    """
    rng = np.random.default_rng([seed, 3])
    x, s = rng.standard_normal(cell.inputs), rng.standard_normal(cell.n)
    new = cell.once(x, s)
    facts = [Fact("new state", f"shape {new.shape}, {new.dtype}, finite", bool(np.isfinite(new).all()))]
    if not facts[0].right:
        facts = [Fact("new state", f"shape {new.shape}, {new.dtype}, not finite at a random state", False)]
    facts += [_leaves_alone(cell, x, s), _is_pure(cell, x, s, new), *_ways(cell, x, s)]
    return facts


def _leaves_alone(cell: FunctionCell, x: Array, s: Array) -> Fact:
    given = {"x": x.copy(), "s": s.copy()}
    cell.function(given["x"], given["s"])
    changed = [k for k, was in (("x", x), ("s", s)) if not np.array_equal(given[k], was)]
    return Fact("arguments", f"{' and '.join(changed)} written to" if changed else "left as they are", not changed)


def _is_pure(cell: FunctionCell, x: Array, s: Array, new: Array) -> Fact:
    cell.once(-x, -s)
    same = np.array_equal(cell.once(x, s), new, equal_nan=True)
    found = "the same" if same else "another one: it depends on more than x and s"
    return Fact("result for the same x and s later", found, same)


SIZES = (1.0, 0.1, 0.01, 0.001)  # of input and state: the first that is not saturated is looked at


def _ways(cell: FunctionCell, x: Array, s: Array) -> list[Fact]:
    def columns(way: Callable[[Array, Array, Array], Array]) -> Array:
        return np.stack([way(x, s, e) for e in np.eye(cell.n)], axis=1)

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # casts warn that they drop the imaginary part
        for size in SIZES:
            at = size * x, size * s, np.ones(cell.n)
            if float(np.abs(cell.by_differences(*at)).max()) > 10 * cell.unseen(*at):
                x, s, _ = at
                break
        differences = columns(cell.by_differences)
        largest = max(float(np.abs(differences).max()), np.finfo(float).tiny)
        if not cell.trust["complex"]:
            why = "not analytic: abs, a cast or the like loses imaginary parts"
            why = "the step computes in single precision" if cell.single else why
            truth, facts = differences, [Fact("carries complex numbers through", f"no, {why}")]
        else:
            truth = columns(cell.by_complex_step)
            apart = f"{float(np.abs(truth - differences).max()) / largest:.1e}"
            facts = [Fact("complex step and central differences", f"apart by {apart}, relative")]
        if cell.derivative is None:
            way = "complex step, exact to rounding"
            way = way if cell.trust["complex"] else f"central differences, to about {cell.good_to}"
            return [*facts, Fact("Jacobian", f"by {way}")]
        floor = max(cell.floor(x, s, e, float(np.abs(truth).max())) for e in np.eye(cell.n))
    stated = cell.linearise(x[:, None], s[:, None]).column(0).dense()
    gap = np.abs(stated - truth)
    scale = max(largest, float(np.abs(stated).max()))
    error, allowed = float(gap.max()) / scale, _allowed(cell) + floor / scale
    if cell.surrogate:
        return [*facts, Fact("Jacobian", f"of the file, a surrogate: off {cell.way} by {error:.1e}, relative")]
    row, column = (int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    right = error <= allowed
    worst = (
        ""
        if right
        else f", worst in row {row}, column {column}: {stated[row, column]:.6g}, not {truth[row, column]:.6g}"
    )
    return [*facts, Fact("Jacobian", f"of the file, off by {error:.1e}, relative, {allowed:.0e} allowed{worst}", right)]


def _allowed(cell: FunctionCell) -> float:
    if cell.trust["complex"]:  # which may be one in single precision
        return AGAIN32 if cell.trust.get("single") else EXACT
    return ALIKE32 if cell.single else DIFFERENCES


def step_is_stated(cell: FunctionCell, x: Array, s: Array, v: Array) -> float:
    """Return by how much J v of a step function is off, relative to what is allowed.

    Args:
        cell: of `from_step`.
        x: inputs (m, B).
        s: states (n, B).
        v: directions (n, B).
    """
    points = list(zip(x.T, s.T, v.T, strict=True))
    pairs = [cell.pair(*at) for at in points]
    slope = max(float(np.abs(truth).max()) for _, truth in pairs)
    worst = 0.0
    for at, (stated, truth) in zip(points, pairs, strict=True):
        largest = float(np.abs(np.stack([stated, truth])).max())
        room = _allowed(cell) * largest + cell.floor(*at, slope)
        gap = float(np.abs(stated - truth).max())
        worst = max(worst, gap / room if gap and room else gap and float("inf"))
    return worst
