"""Does a user's cell run? Every formula is called at two points, and what it returns has to fit parts and gates.

Whether derivatives are right is not asked here, nor whether numbers are finite: formulas may have poles.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from gradscope.checking.declarations import fails, is_built_in, kind, refuse
from gradscope.errors import GradscopeError
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell, DenseCell, MapsCell
from gradscope.networks.formulas import Partials, Parts, Preactivations
from gradscope.networks.map import Map

WRITTEN = 'write y = s["h"] * k in place of s["h"] *= k, and leave out= alone'
RANDOM = "formulas must not use random numbers, counters or memory of earlier calls"


def check_user_cell(cell: Cell) -> None:
    """Try out a cell whose class is not of this package.

    Raises:
        InputError: the first thing that is wrong.
    """
    if not is_built_in(type(cell)):
        try_out(cell)


def try_out(cell: Cell) -> None:
    """Run a cell at two points, and at the first of them again.

    Raises:
        InputError: a formula fails, writes into its arguments, returns what does not fit the gates and parts, or
            returns something else for the same arguments.
    """
    cls, rng = type(cell), np.random.default_rng(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            maps = cell.maps if isinstance(cell, MapsCell) else ()
            sizes, inputs = cell.sizes, cell.input_size
        except GradscopeError:
            raise
        except Exception as error:  # a user's code may fail in any way
            fails(cls, "maps", error)
        sequences = 2 if cell.width != 2 else 3  # units and sequences must not be mistaken for one another
        x = rng.standard_normal((inputs, sequences)).astype(cell.dtype)
        s = (rng.standard_normal((sum(sizes.values()), sequences)) / 2).astype(cell.dtype)
        first, _, again = (_step(cell, maps, k * x, k * s) for k in (1, -1, 1))
    if not np.array_equal(first, again, equal_nan=True):
        refuse(cls, f"{cls.__name__} gives different new states for the same input and state", RANDOM)


def _step(cell: Cell, maps: Sequence[Map], x: Array, s: Array) -> Array:
    """Return the new state (n, B), with every formula on the way tried out."""
    if isinstance(cell, DenseCell):
        return _dense_step(cell, x, s)
    for m in maps:
        s.flags.writeable = False  # a formula that writes into its arguments fails at that line
        try:
            p, old = m.preactivations(x, s)
        except Exception as error:  # a user's `Map`, or weights of another shape
            fails(type(cell), f"the product with the weights of {type(m).__name__}", error)
        trial = _Trial(type(cell), m, p, old)
        new = trial.new_parts()
        if type(cell).gate_values is MapsCell.gate_values:
            trial.gate_values()
        trial.partials()
        s = np.concatenate([new[part] for part in m.parts], axis=-2)
    return s


def _dense_step(cell: Cell, x: Array, s: Array) -> Array:
    cls, n = type(cell), len(s)
    try:
        new, shape = np.array(cell.evolve(x.copy(), s.copy())), cell.linearise(x, s).shape
    except Exception as error:  # a user's code may fail in any way
        fails(cls, "a step", error)
    if new.shape != s.shape:
        refuse(cls, f"evolve of {cls.__name__} returns shape {new.shape}, but the state has {s.shape}")
    if shape != (n, n):
        refuse(cls, f"linearise of {cls.__name__} returns shape {shape}, but the state has {n} entries")
    return new


class _Trial:
    """The formulas of one map at one point."""

    def __init__(self, cls: type[Cell], m: Map, p: Preactivations, s: Parts) -> None:
        self.cls, self.m, self.arrays, self.s = cls, m, p._arrays, s
        self.sequences = next(iter(s.values())).shape[-1]
        for array in self.arrays:
            array.flags.writeable = False

    def new_parts(self) -> dict[str, Array]:
        """Try `advance`, which must return an array for each new part."""
        m, new = self.m, self._called("advance")
        if not isinstance(new, Mapping) or set(new) != set(m.parts):
            parts = isinstance(new, Mapping) and f"the parts {', '.join(map(str, new)) or 'none'}"
            self._refuse("advance", f"returns {parts or kind(new)}, not a dict of the new parts: {', '.join(m.parts)}")
        for part, size in zip(m.parts, m.new_sizes, strict=True):
            self._fits("advance", "returns", f"for the part {part}", new[part], size)
        return {part: np.asarray(value) for part, value in new.items()}

    def gate_values(self) -> None:
        """Try `activations`, which must return an array for each gate."""
        values, gates = self._called("activations"), self.m.gates
        several = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim > 0)
        if not several or len(values) != len(gates):
            what = f"{len(values)} of them" if isinstance(values, Sequence) else kind(values)
            self._refuse("activations", f"returns {what}, it must return one array per gate: {', '.join(gates)}")
        for gate, value in zip(gates, values, strict=True):
            self._fits("activations", "returns", f"for the gate {gate}", value, self.m.width)

    def partials(self) -> None:
        """Try `partials`, whose names must be known and whose entries must broadcast to the shape of a part."""
        m, partials = self.m, self._called("partials")
        if not isinstance(partials, Partials):
            hint = "it must return gradscope.networks.Partials(through={...}, around={...})"
            self._refuse("partials", f"returns {kind(partials)}", hint)
        columns = {"through": ("gate", m.places), "around": ("old part", m.old_names), "within": ("new part", m.parts)}
        sizes = dict(zip(m.parts, m.new_sizes, strict=True))
        for path, (column, known) in columns.items():
            for part, row in self._items(path, getattr(partials, path) or {}, "new part", m.parts):
                for name, entry in self._items(f"{path}[{part!r}]", row, column, known):
                    self._fits("partials", "has", f"in {path}[{part!r}][{name!r}]", entry, sizes[part], broadcast=True)

    def _called(self, name: str) -> Any:
        """Return what a formula returns; it is given read-only arrays."""
        p, s = Preactivations(self.m.places, *self.arrays), Parts(self.s)
        views = {key: p[key] for key in self.m.places}
        try:
            returned = getattr(self.m, name)(p, s)
        except Exception as error:  # a user's formulas may fail in any way
            if isinstance(error, ValueError) and "read-only" in str(error):
                refuse(self.cls, f"{name} of {type(self.m).__name__} writes into its arguments", WRITTEN, error)
            fails(self.cls, name, error, self._arguments())
        replaced = [f"p[{key!r}]" for key, value in views.items() if p.get(key) is not value]
        replaced += [f"s[{part!r}]" for part, value in self.s.items() if s.get(part) is not value]
        if replaced:
            self._refuse(name, f"writes into its arguments: {', '.join(replaced)}", WRITTEN)
        return returned

    def _arguments(self) -> str:
        parts, gates = ", ".join(self.m.old_names), ", ".join(self.m.places)
        return f"s has one array per part ({parts}), p has one per gate ({gates}), each (units, sequences)"

    def _refuse(self, formula: str, what: str, hint: str = "") -> NoReturn:
        refuse(self.cls, f"{formula} of {type(self.m).__name__} {what}", hint or self._arguments())

    def _items(self, what: str, row: Any, column: str, known: Iterable[str]) -> Iterable[tuple[str, Any]]:
        """Return the items of a dict in `partials`, which must be by the known names."""
        names = ", ".join(known)
        if not isinstance(row, Mapping):
            self._refuse("partials", f"has {kind(row)} for {what}, not a dict by {column} ({names})")
        for name in row:
            if name not in known:
                self._refuse("partials", f"has {name!r} in {what}, which is not a {column} ({names})")
        return row.items()

    def _fits(self, formula: str, verb: str, where: str, value: Any, size: int, *, broadcast: bool = False) -> None:
        """Refuse what is no array of real numbers of shape (units, sequences), or does not broadcast to one."""
        shape = (size, self.sequences)
        try:
            y = np.asarray(value)
        except ValueError:  # rows of different lengths
            self._refuse(formula, f"{verb} no array {where}")
        if y.dtype.kind not in "biuf":
            self._refuse(formula, f"{verb} {kind(value)} {where}", "write a number or an array (units, sequences)")
        filled = (1,) * (2 - y.ndim) + y.shape if broadcast else y.shape
        allowed = [(n, 1) if broadcast else (n,) for n in shape]
        if len(filled) != 2 or any(n not in fit for n, fit in zip(filled, allowed, strict=True)):
            self._refuse(formula, f"{verb} shape {y.shape} {where}, (units, sequences) is {shape}")
