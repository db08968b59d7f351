"""Which derivative that a cell writes is wrong, and by how much?

Every entry of `partials` is compared with the derivative of `advance` in the one preactivation or old part that it is
about, all others held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.checking.derivative import derivative, largest, tolerance
from gradscope.maps.grid import absent
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import MapsCell
from gradscope.networks.formulas import ENTERING, INPUT, JOINT, RECURRENT, Partials, Parts, Preactivations
from gradscope.networks.map import Map

Grid = Mapping[str, Mapping[str, Any]]  # {new part: {preactivation or part: derivative}}
SAME_STEP = 10  # errors of two derivatives meet in a same-step term
LIKENESS = 100  # times what is allowed: how near a wrong entry must be to another to be called it


@dataclass(frozen=True)
class Derivative:
    """One derivative that a cell states, beside what it is.

    Attributes:
        part: the new part that is derived.
        path: through, around or within, as in `Partials`.
        of: name of the preactivation, or part, by which it is derived.
        error: largest difference over units and states, relative to the largest derivative.
        allowed: the error that rounding may make.
        remark: what a wrong derivative looks like, "" where that is not known; of a right one, what is left unsaid.
    """

    part: str
    path: str
    of: str
    error: float
    allowed: float
    remark: str = ""

    @property
    def right(self) -> bool:
        """Whether the derivative is what it should be."""
        return self.error <= self.allowed

    @property
    def quotient(self) -> str:
        """The derivative as it is written, "d h'/d p_f"."""
        number, colon, part = self.part.rpartition(": ")
        by = {"through": f"p_{self.of}", "within": f"{self.of}'"}.get(self.path, self.of)
        return f"{f'map {number}: ' if colon else ''}d {part}'/d {by}"

    @property
    def sentence(self) -> str:
        """Which derivative has which error, and what it looks like."""
        remark = f" ({self.remark})" if self.remark else ""
        return f"{self.quotient} {self.path} has relative error {self.error:.2g}{remark}"


@dataclass(frozen=True)
class _Move:
    """A random direction of one preactivation or old part, and how each new part changes along it."""

    direction: Array
    changes: dict[str, Array]


def compare_partials(cell: MapsCell, x: Array, s: Array) -> list[Derivative]:
    """Compare every derivative that the formulas of a cell state.

    Args:
        cell: the cell.
        x: inputs (m, B).
        s: states (n, B), away from kinks.

    Returns:
        those that are stated or not zero, by map, path, part and name.

    Raises:
        AssertionError: `partials` names what is not there.
    """
    rows: list[Derivative] = []
    for number, m in enumerate(cell.maps, 1):
        compared = _Formulas(m, x, s, cell.kinks).compare()
        rows += [replace(d, part=f"{number}: {d.part}") for d in compared] if len(cell.maps) > 1 else compared
        s = m.apply(x, s)
    return rows


class _Formulas:
    """The formulas of one map at one point, and how new parts move with each of their arguments."""

    def __init__(self, m: Map, x: Array, s: Array, kinks: bool) -> None:
        self.m, self.kinks, self.allowed = m, kinks, tolerance(kinks)
        self.rng = np.random.default_rng(0)
        given, old = m.preactivations(x, s)
        # arrays of full shape: what has no weights is one zero
        self.p = {name: np.broadcast_to(given[name], (m.width, s.shape[-1])).copy() for name in m.places}
        self.old = {part: value.copy() for part, value in old.items()}
        self.new = self._advance(self.p, self.old)
        without = {RECURRENT: m.U is None, ENTERING: m.W is None, JOINT: m.U is None and m.W is None}
        weighted = [name for name, (array, _) in m.places.items() if not without[array]]
        self.by_p = {name: self._move(self.p, name) for name in weighted}
        self.by_old = {part: self._move(self.old, part) for part in self.old}

    def _arguments(self, p: Mapping[str, Array], old: Mapping[str, Array]) -> tuple[Preactivations, Parts]:
        """Return what the formulas are given, in arrays of their own."""
        by_input = [name + INPUT if gate.split else name for name, gate in self.m.gates.items()]
        rows, entering = (np.array([p[name] for name in names]) for names in (self.m.gates, by_input))
        return Preactivations(self.m.places, rows, rows, entering), Parts(old)

    def _advance(self, p: Mapping[str, Array], old: Mapping[str, Array]) -> dict[str, Array]:
        new = self.m.advance(*self._arguments(p, old))
        return {part: np.asarray(new[part]) for part in self.m.parts}

    def _move(self, group: dict[str, Array], name: str) -> _Move:
        d = self.rng.standard_normal(group[name].shape)

        def at(h: complex) -> Array:
            moved = group | {name: group[name] + h * d}
            new = self._advance(*((moved, self.old) if group is self.p else (self.p, moved)))
            return np.concatenate([*new.values()])

        ends = np.cumsum([len(value) for value in self.new.values()])[:-1]
        return _Move(d, dict(zip(self.new, np.split(derivative(at, self.kinks), ends), strict=True)))

    def compare(self) -> list[Derivative]:
        """Compare all derivatives of the map."""
        partials: Partials = self.m.partials(*self._arguments(self.p, self.old))
        try:
            partials.grids(self.m.parts, self.m.old_names, self.m.gates)
        except KeyError as error:
            raise AssertionError(
                f"partials of {type(self.m).__name__} has {error}, which does not name a gate or part"
            ) from None
        rows = self._along("through", partials.through, self.by_p)
        rows += self._along("around", partials.around, self.by_old)
        for part in self.m.parts:
            row = (partials.within or {}).get(part, {})
            stated = {other: row.get(other, 0) for other in self.m.parts}
            rows += [self._within(part, other, e) for other, e in stated.items() if not absent(e)]
            rows += [
                self._unsaid(part, other) for other, e in stated.items() if absent(e) and self._follows(part, other)
            ]
        return rows

    def _along(self, path: str, grid: Grid, moves: dict[str, _Move]) -> list[Derivative]:
        """Compare the entries of a grid, each with the change along its own direction."""
        rows = []
        for part in self.m.parts:
            for name, move in moves.items():
                entry = grid.get(part, {}).get(name, 0)
                if absent(entry) and not move.changes[part].any():
                    continue
                error, remark = self._entry(entry, part, move)
                if error > self.allowed and not remark:
                    remark = self._mistaken(entry, part, path, name, moves)
                rows.append(Derivative(part, path, name, error, self.allowed, remark))
        return rows

    def _entry(self, entry: Any, part: str, move: _Move) -> tuple[float, str]:
        """Return the error of an entry, and what the entry is in place of the derivative."""
        truth, d = move.changes[part], move.direction
        if absent(entry):
            slope = largest(truth / d) if truth.shape == d.shape else largest(truth)
            return 1.0, f"not stated, although it is up to {slope:.2g}"
        try:
            stated = np.broadcast_to(entry * d, truth.shape)
        except ValueError:
            return float("inf"), f"its shape is {np.shape(entry)}, it must be {truth.shape}"
        error = self._error(stated, truth, part)
        if error <= self.allowed:
            return error, ""
        if not truth.any():
            return error, "there is no such path: omit it"
        factor = float((stated * truth).sum() / (truth * truth).sum())
        if self._error(stated, factor * truth, part) > LIKENESS * self.allowed:
            return error, ""
        return error, "wrong sign" if abs(factor + 1) < 1e-6 else f"{factor:.6g} times the correct value"

    def _mistaken(self, entry: Any, part: str, path: str, name: str, moves: dict[str, _Move]) -> str:
        """Return which other derivative a wrong entry is: gates and parts are easily swapped."""
        d, prefix = moves[name].direction, "p_" if path == "through" else ""
        for other in self.m.parts:
            for of, move in moves.items():
                change, along = move.changes[other], move.direction
                # both are diagonals times directions of their own
                if (other, of) == (part, name) or not along.shape == d.shape == change.shape:
                    continue
                if self._error(entry * d * along, change * d, part) <= LIKENESS * self.allowed:
                    return f"it is d {other}'/d {prefix}{of}"
        return ""

    def _error(self, stated: Array, truth: Array, part: str) -> float:
        """Return the largest difference, relative; differences see no less than rounding of the new part."""
        scale = max(largest(stated), largest(truth), np.finfo(float).tiny)
        scale = max(scale, largest(self.new[part])) if self.kinks else scale
        error = float(np.abs(stated - truth).max()) / scale
        return error if np.isfinite(error) else float("inf")

    def _within(self, part: str, other: str, entry: Any) -> Derivative:
        """Compare a same-step term: it must explain a change that comes through the other part alone."""
        if part == other:
            return Derivative(part, "within", other, float("inf"), 0.0, "a part contributes nothing to itself")
        allowed = SAME_STEP * self.allowed
        changes = [m.changes for m in (*self.by_p.values(), *self.by_old.values()) if m.changes[other].any()]
        error = min((self._error(entry * c[other], c[part], part) for c in changes), default=float("inf"))
        remark = "" if error <= allowed else f"it explains no change of {part}' through {other}'"
        return Derivative(part, "within", other, error, allowed, remark)

    def _unsaid(self, part: str, other: str) -> Derivative:
        remark = f"not stated, though whatever moves {other}' moves {part}' in proportion"
        return Derivative(part, "within", other, 0.0, SAME_STEP * self.allowed, remark)

    def _follows(self, part: str, other: str) -> bool:
        """Whether a new part looks as if it were made of another: a remark, and no error, where that is not stated.

        It does where whatever moves the other, at least two gates or old parts, moves it in one proportion, and
        something moves it alone. What is made of what is not in the numbers of one step.
        """
        gates = [[self.by_p[n] for n in (g, g + INPUT) if n in self.by_p] for g in self.m.gates]
        sources = [*gates, *([move] for move in self.by_old.values())]
        moving = [[m.changes for m in source if m.changes[other].any()] for source in sources]
        alone = any(m.changes[part].any() and not m.changes[other].any() for source in sources for m in source)
        if part == other or not alone or sum(map(bool, moving)) < 2:
            return False
        pairs = [(c[part], c[other]) for source in moving for c in source]
        (a, b), *_ = pairs
        if a.shape != b.shape or not (a.any() and b.all()):
            return False
        return all(self._error(a / b * d, c, part) <= SAME_STEP * self.allowed for c, d in pairs)
