"""What are the formulas of a cell given, and what do they return? Preactivations, parts and derivatives, by name.

A formula is element-wise: it sees units and sequences side by side, with any leading axes (time) in front, and never
asks for their number. Names become positions in one place, `Partials.grids`, at the border to the Jacobian.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.maps.jacobian import Array, Grids
from gradscope.networks.gate import Gate

__all__ = ["INPUT", "Partials", "Parts", "Preactivations", "places"]

INPUT = "_x"  # follows the name of a split gate: its input preactivation
JOINT, RECURRENT, ENTERING = range(3)  # the sum of both preactivations, U h + b_hh, and W x + b_ih
Places = Mapping[str, tuple[int, int]]


def places(gates: Mapping[str, Gate]) -> Places:
    """Return {name of a preactivation: (which of the three arrays, row in it)}."""
    positions: dict[str, tuple[int, int]] = {}
    for row, (key, gate) in enumerate(gates.items()):
        positions[key] = (RECURRENT if gate.split else JOINT), row
        if gate.split:
            positions[key + INPUT] = ENTERING, row
    return positions


class Preactivations(dict[Any, Any]):
    """The preactivations of a map, by gate, (..., H, B) each.

    p["r"] is U h + W x + b of gate r; of a gate that is `split`, p["n"] is U h + b_hh and p["n_x"] is W x + b_ih.
    p["r", "z"] is one array with a row for each gate: a view where the rows lie beside one another, else a copy.
    """

    def __init__(self, where: Places, joint: Any, recurrent: Any, entering: Any) -> None:
        super().__init__()
        self._where, self._arrays = where, (joint, recurrent, entering)

    if TYPE_CHECKING:

        def __getitem__(self, names: str | tuple[str, ...]) -> Array: ...

    def __missing__(self, names: str | tuple[str, ...]) -> Any:
        if isinstance(names, str):
            array, row = self._where[names]
            self[names] = self._arrays[array][row]
            return self[names]
        rows = [self._where[name] for name in names]
        array, first = rows[0]
        if rows == [(array, first + i) for i in range(len(rows))]:
            return self._arrays[array][first : first + len(rows)]
        return np.stack([self[name] for name in names])


class Parts(dict[Any, Any]):
    """The parts of a state, by name, (..., H, B) each: s["h"], or `h, c = s["h", "c"]`."""

    if TYPE_CHECKING:

        def __getitem__(self, names: str | tuple[str, ...]) -> Array: ...

    def __missing__(self, names: str | tuple[str, ...]) -> tuple[Any, ...]:
        if isinstance(names, str):
            raise KeyError(names)
        return tuple([self[name] for name in names])


@dataclass(frozen=True)
class Partials:
    """Derivatives of the new parts of a state, unit by unit: arrays (..., H, B), or numbers.

    A path that is not there is a name that is not there. The integer 1 in `around` says that a map only copies the old
    part: contributions within a step are then followed to the map that computes it. 1.0, or an array of ones, does not.

    Attributes:
        through: {new part: {name of a preactivation: derivative}}; of a split gate n, by "n" and by "n_x".
        around: {new part: {old part: derivative}}, with all preactivations held fixed: the skip path.
        within: {new part: {other new part: derivative}}, what one new part contributes to another in the same step,
            as c' does to h' in an LSTM. This says how `through` and `around`, which hold all of it, come about.
    """

    through: Mapping[str, Mapping[str, Any]]
    around: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    within: Mapping[str, Mapping[str, Any]] | None = None

    def grids(self, parts: Sequence[str], old_parts: Sequence[str], gates: Mapping[str, Gate]) -> Grids:
        """Return the derivatives by position, with the integer 0 for paths that are not there.

        Raises:
            KeyError: a name is of no part, or of no preactivation.
        """
        by_input = [key + INPUT if gate.split else key for key, gate in gates.items()]
        known = {*gates, *by_input}
        through = _grid(self.through, parts, gates, known)
        entry = _grid(self.through, parts, by_input, known) if len(known) > len(by_input) else None
        around = _grid(self.around, parts, old_parts, set(old_parts))
        within = None if self.within is None else _grid(self.within, parts, parts, set(parts))
        return Grids(through, around, entry, within)


def _grid(
    rows: Mapping[str, Mapping[str, Any]], parts: Sequence[str], columns: Iterable[str], known: set[str]
) -> list[list[Any]]:
    if not rows.keys() <= set(parts) or not all(row.keys() <= known for row in rows.values()):
        names = [p for p in rows if p not in parts] + [c for row in rows.values() for c in row if c not in known]
        raise KeyError(names[0])
    none: Mapping[str, Any] = {}
    return [[row.get(c, 0) for c in columns] for row in [rows.get(p, none) for p in parts]]
