"""Is a class of somebody else put together as a cell is?

Asked before it runs, so that a slip in a declaration or in the shape of a formula is one sentence with the file and the
class, and not a failure somewhere inside. Whether the derivatives are right is not asked: `testing` does that.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from gradscope.errors import GradscopeError, InputError
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import WEIGHTS, Cell, DenseCell, MapsCell, OneMapCell
from gradscope.networks.formulas import INPUT, Partials, Parts, Preactivations
from gradscope.networks.gate import Gate
from gradscope.networks.map import Map
from gradscope.networks.network import Network

__all__ = ["drawn_arrays", "fits", "refuse_unsound_cell", "refuse_unsound_class"]

HINT = "docs/howto/write-a-cell.md shows a complete cell"


def refuse_unsound_class(cls: type[Cell]) -> None:
    """Refuse a class whose declarations are not those of a cell; those of this package are tested.

    Raises:
        InputError: the first thing that is wrong.
    """
    if cls.__module__.startswith("gradscope."):
        return
    if not issubclass(cls, MapsCell | DenseCell):
        _refuse(cls, f"{cls.__name__} is a Cell of no kind", "derive it from OneMapCell, MapsCell or DenseCell")
    _check_fields(cls)
    _check_parts(cls)
    _check_gates(cls)
    for what in ("choices", "limits"):
        for setting in getattr(cls, what):
            if setting not in cls.settings():
                _refuse(cls, f"{what} of {cls.__name__} names '{setting}', which is no setting of it")
    if issubclass(cls, OneMapCell) and cls.maps is OneMapCell.maps and cls.recurrent_weights:
        if cls.reads not in cls.parts:
            text = f"the recurrent weights of {cls.__name__} read the part '{cls.reads}', and its parts are"
            hint = f"reads = {cls.parts[0]!r} in the class says which one they read"
            _refuse(cls, f"{text} {', '.join(cls.parts)}", hint)
    for name, base, arguments in _required(cls):
        if getattr(cls, name) is getattr(base, name):
            _refuse(cls, f"{cls.__name__} does not define {name}{arguments}")


def _required(cls: type[Cell]) -> list[tuple[str, type, str]]:
    """Return (method, class whose own method does nothing, arguments) of what a kind of cell has to define."""
    if issubclass(cls, DenseCell):
        return [(name, Network, "(self, x, s)") for name in ("evolve", "linearise")]
    if issubclass(cls, OneMapCell) and cls.maps is OneMapCell.maps:
        return [(name, Map, "(self, p, s)") for name in ("advance", "partials", "activations")]
    return [] if issubclass(cls, OneMapCell) else [("maps", MapsCell, "")]


def refuse_unsound_cell(cell: Cell) -> None:
    """Refuse a cell whose formulas fail, or return what does not fit, at one made-up step.

    Raises:
        InputError: the first thing that is wrong.
    """
    if type(cell).__module__.startswith("gradscope."):
        return
    fits(cell)


def drawn_arrays(cls: type[Cell], returned: Any) -> dict[str, Array | None]:
    """Return what a class draws with `init_parameters`, where these are arrays of the class.

    Raises:
        InputError: it is not.
    """
    if not isinstance(returned, Mapping):
        _refuse(cls, f"init_parameters of {cls.__name__} returns {_kind(returned)}, not a dict of arrays")
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    for name in returned:
        if name not in known:
            _refuse(
                cls,
                f"init_parameters of {cls.__name__} returns '{name}', which is no field of it",
                f"write {name}: Any = None",
            )
    return dict(returned)


def _path(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    found = vars(module).get("__spec_path__") or getattr(module, "__file__", None) if module else None
    return str(found or "")


def _refuse(
    cls: type, what: str, hint: str = HINT, *, line: int | None = None, error: Exception | None = None
) -> NoReturn:
    path = _path(cls)
    where = f"{path}{'' if line is None else f', line {line}'}: " if path else ""
    raise InputError(f"{where}{what}", hint) from error


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"something of type {type(value).__name__}"


def _check_fields(cls: type[Cell]) -> None:
    own = [n for n, t in vars(cls).get("__annotations__", {}).items() if not _of_class(t)]
    if own and "__dataclass_fields__" not in vars(cls):
        text = f"{cls.__name__} has the field {own[0]}, and is no dataclass"
        _refuse(cls, text, "write @dataclass(frozen=True, eq=False) above it")
    for f in dataclasses.fields(cls):
        if f.init and f.name not in WEIGHTS and f.default is f.default_factory is dataclasses.MISSING:
            text = f"the field {f.name} of {cls.__name__} has no default"
            _refuse(
                cls,
                text,
                f"give a setting one, as in {f.name}: float = 0.1; an array that is drawn has None",
            )


def _of_class(annotation: Any) -> bool:
    return "ClassVar" in str(annotation)


def _check_parts(cls: type[Cell]) -> None:
    parts = cls.parts
    if not (isinstance(parts, tuple | list) and parts and all(isinstance(n, str) and n for n in parts)):
        hint = "for instance parts = ('h',)"
        _refuse(cls, f"parts of {cls.__name__} must be a tuple of names, and not {parts!r}", hint)
    twice = [n for i, n in enumerate(parts) if n in parts[:i]]
    if twice:
        _refuse(cls, f"parts of {cls.__name__} has '{twice[0]}' twice")


def _check_gates(cls: type[Cell]) -> None:
    hint = 'it is written gates = {"f": Gate("forget", (0, 1), keeps=+1)}, one for each block of rows of the weights'
    if not isinstance(cls.gates, Mapping) or not cls.gates:
        _refuse(cls, f"gates of {cls.__name__} must be a dict of gates, and not {cls.gates!r}", hint)
    for key, gate in cls.gates.items():
        if not isinstance(key, str) or not isinstance(gate, Gate):
            _refuse(cls, f"gates of {cls.__name__} has {gate!r} for {key!r}, which is no Gate", hint)
        right: dict[str, Callable[[Any], bool]] = {
            "name": lambda v: isinstance(v, str) and (v == "" or v.isidentifier()),
            "interval": lambda v: v is None or _range(v),
            "keeps": lambda v: not isinstance(v, bool) and v in (-1, 0, 1),
            "split": lambda v: isinstance(v, bool),
        }
        for what, holds in right.items():
            if not _holds(holds, getattr(gate, what)):
                _refuse(cls, f"gate {key} of {cls.__name__} has {what} {getattr(gate, what)!r}", hint)
        if gate.split and key + INPUT in cls.gates:
            _refuse(cls, f"{cls.__name__} has a gate {key}{INPUT}, and so is the input of gate {key} called")


def _range(value: Any) -> bool:
    low, high = value
    return bool(float(low) < float(high))


def _holds(right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return right(value)
    except (TypeError, ValueError):
        return False


def fits(cell: Cell) -> None:
    """Call every formula of a cell once, at a random input and state.

    Raises:
        InputError: one fails, writes into what it is given, or returns what does not fit the gates and parts.
    """
    cls, rng = type(cell), np.random.default_rng(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            maps = cell.maps if isinstance(cell, MapsCell) else ()
            sizes, inputs = cell.sizes, cell.input_size
        except GradscopeError:
            raise
        except Exception as error:  # code of somebody else may fail in any way
            _fails(cls, "the maps", error)
        batch = 2 if cell.width != 2 else 3  # units and sequences must not be mistaken for one another
        x = rng.standard_normal((inputs, batch)).astype(cell.dtype)
        s = (rng.standard_normal((sum(sizes.values()), batch)) / 2).astype(cell.dtype)
        if not isinstance(cell, MapsCell):
            _fits_whole(cell, x, s)
            return
        for m in maps:
            try:
                given, old = m.preactivations(x, s)
            except Exception as error:  # a `Map` of somebody else, or weights that it made
                _fails(cls, f"the product with the weights of {type(m).__name__}", error)
            s = _Probe(cls, m, given, old).new_state(gates=cls.gate_values is MapsCell.gate_values)


def _fails(cls: type, what: str, error: Exception, hint: str = HINT) -> NoReturn:
    files = {_path(cls), getattr(sys.modules.get(cls.__module__), "__file__", "") or ""}
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    told = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    _refuse(cls, f"{what} of {cls.__name__} fails: {told}", hint, line=lines[-1] if lines else None, error=error)


def _fits_whole(cell: Cell, x: Array, s: Array) -> None:
    """Look at a cell that does not put its step together out of maps."""
    try:
        new, shape = np.shape(cell.evolve(x.copy(), s.copy())), cell.linearise(x, s).shape
    except Exception as error:  # code of somebody else may fail in any way
        _fails(type(cell), "a step", error)
    name = type(cell).__name__
    if new != s.shape:
        _refuse(type(cell), f"evolve of {name} returns shape {new}, and the state has {s.shape}")
    if shape != (len(s), len(s)):
        _refuse(type(cell), f"linearise of {name} returns shape {shape}, and the state has {len(s)} entries")


class _Probe:
    """The formulas of one map at one point."""

    def __init__(self, cls: type[Cell], m: Map, p: Preactivations, s: Parts) -> None:
        self.cls, self.m = cls, m
        self.p, self.s = {name: p[name] for name in m.places}, dict(s)
        self.name = type(m).__name__
        self.batch = next(iter(s.values())).shape[-1]

    def new_state(self, *, gates: bool) -> Array:
        """Look at all formulas, and return the new state; at the values of gates only where they are asked for."""
        m = self.m
        new = self._parts(self._called("advance"))
        if gates:
            self._gate_values(self._called("activations"))
        self._partials(self._called("partials"))
        return np.concatenate([new[part] for part in m.parts], axis=-2)

    def _called(self, name: str) -> Any:
        """Call a formula with copies, and refuse a formula that writes into them."""
        m = self.m
        # rows of one array, so that p["r", "z"] is the view that it is in a run
        arrays = [
            np.array([self.p.get(key, self.p[g]) for g, key in zip(m.gates, keys, strict=True)])
            for keys in (m.gates, [g + INPUT for g in m.gates])
        ]
        p = Preactivations(m.places, arrays[0], arrays[0], arrays[1])
        s = Parts({part: value.copy() for part, value in self.s.items()})
        views, copies = {key: p[key] for key in self.p}, dict(s)
        try:
            returned = getattr(m, name)(p, s)
        except Exception as error:  # formulas of somebody else may fail in any way
            _fails(self.cls, name, error, self._given())
        written = [f"p[{k!r}]" for k, v in self.p.items() if p.get(k) is not views[k] or not _same(views[k], v)]
        written += [f"s[{k!r}]" for k, v in self.s.items() if s.get(k) is not copies[k] or not _same(copies[k], v)]
        if written:
            text = f"{name} of {self.name} writes into {' and '.join(written)}, which is given to it"
            self._refuse(text, 'write y = s["h"] * k in place of s["h"] *= k, and leave out= alone')
        return returned

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        _refuse(self.cls, what, hint or self._given())

    def _given(self) -> str:
        parts, gates = ", ".join(self.m.old_names), ", ".join(self.m.places)
        return f"s has one array a part ({parts}), p has one a gate ({gates}), each (units, sequences)"

    def _parts(self, new: Any) -> dict[str, Array]:
        m = self.m
        wanted = f"it must return a dict of the new parts: {', '.join(m.parts)}"
        if not isinstance(new, Mapping):
            self._refuse(f"advance of {self.name} returns {_kind(new)}, and {wanted}")
        if set(new) != set(m.parts):
            self._refuse(f"advance of {self.name} returns the parts {', '.join(map(str, new)) or 'none'}, and {wanted}")
        for part, size in zip(m.parts, m.new_sizes, strict=True):
            self._shape("advance", "part", part, new[part], size)
        return {part: np.asarray(value) for part, value in new.items()}

    def _gate_values(self, values: Any) -> None:
        m = self.m
        wanted = f"it must return one array a gate: {', '.join(m.gates)}"
        several = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim > 0)
        if not several or len(values) != len(m.gates):
            what = f"{len(values)} of them" if isinstance(values, Sequence) else _kind(values)
            self._refuse(f"activations of {self.name} returns {what}, and {wanted}")
        for gate, value in zip(m.gates, values, strict=True):
            self._shape("activations", "gate", gate, value, m.width)

    def _shape(self, formula: str, each: str, name: str, value: Any, size: int) -> None:
        if np.shape(value) != (size, self.batch):
            text = f"{formula} of {self.name} returns shape {np.shape(value)} for the {each} {name}"
            self._refuse(f"{text} of {size} units in {self.batch} sequences, which is ({size}, {self.batch})")

    def _partials(self, partials: Any) -> None:
        m = self.m
        if not isinstance(partials, Partials):
            text = f"partials of {self.name} returns {_kind(partials)}"
            self._refuse(text, "it must return gradscope.networks.Partials(through={...}, around={...})")
        columns = {"through": ("gate", m.places), "around": ("old part", m.old_names), "within": ("new part", m.parts)}
        sizes = dict(zip(m.parts, m.new_sizes, strict=True))
        for path, (kind, known) in columns.items():
            grid = getattr(partials, path)
            what = f"{path} in partials of {self.name}"
            for part, row in self._items(what, {} if grid is None else grid, "a new part", m.parts):
                for name, entry in self._items(f"{what}, of part {part},", row, f"a {kind}", known):
                    self._entry(f"{what} has for part {part} and {kind} {name}", entry, sizes[part])

    def _items(self, what: str, row: Any, kind: str, known: Iterable[str]) -> Iterable[tuple[str, Any]]:
        """Return the items of a dict, which must be by the known names."""
        names = ", ".join(known)
        if not isinstance(row, Mapping):
            self._refuse(f"{what} is {_kind(row)}, and must be a dict by {kind} ({names})")
        for name in row:
            if name not in known:
                self._refuse(f"{what} has {name!r}, which is not {kind} ({names})")
        return row.items()

    def _entry(self, what: str, entry: Any, size: int) -> None:
        try:
            y = np.asarray(entry)
        except ValueError:
            self._refuse(f"{what} no array")
        if y.dtype.kind not in "biuf":
            self._refuse(f"{what} {_kind(entry)}", "write a number or an array (units, sequences)")
        try:
            shape = np.broadcast_shapes(y.shape, (size, self.batch))
        except ValueError:
            shape = ()
        if shape != (size, self.batch):
            self._refuse(f"{what} shape {y.shape}, and units and sequences are ({size}, {self.batch})")


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)
