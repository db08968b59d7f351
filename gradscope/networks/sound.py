"""Is a class of somebody else put together as a cell is?

Asked before it runs, so that a slip in a declaration or in the shape of a formula is one sentence with the file and the
class, and not a failure somewhere inside. Whether the derivatives are right is not asked: `testing` does that.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from gradscope.errors import GradscopeError, InputError
from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import WEIGHTS, Cell
from gradscope.networks.map import Map

__all__ = ["drawn_arrays", "fits", "refuse_unsound_cell", "refuse_unsound_class"]

HINT = "docs/howto/write-a-cell.md shows a complete cell"


def refuse_unsound_class(cls: type[Cell]) -> None:
    """Refuse a class whose declarations are not those of a cell; those of this package are tested.

    Raises:
        InputError: the first thing that is wrong.
    """
    if cls.__module__.startswith("gradscope."):
        return
    _check_fields(cls)
    for what in ("parts", "gates"):
        _check_names(cls, what)
    _check_gates(cls)
    for what in ("choices", "limits"):
        for setting in getattr(cls, what):
            if setting not in cls.settings():
                _refuse(cls, f"{what} of {cls.__name__} names '{setting}', which is no setting of it")
    plain = cls.maps is Cell.maps
    if plain and cls.recurrent_weights and cls.reads not in cls.parts:
        text = f"the recurrent weights of {cls.__name__} read the part '{cls.reads}', and its parts are"
        _refuse(
            cls, f"{text} {', '.join(cls.parts)}", f"reads = {cls.parts[0]!r} in the class says which one they read"
        )
    defined = {
        "advance": not plain or cls.evolve is not Cell.evolve or cls.advance is not Map.advance,
        "partials": not plain or cls.linearise is not Cell.linearise or cls.partials is not Map.partials,
        "activations": not plain or cls.gate_values is not Cell.gate_values or cls.activations is not Map.activations,
    }
    for name, there in defined.items():
        if not there:
            _refuse(cls, f"{cls.__name__} does not define {name}(self, a, v, s)")


def refuse_unsound_cell(cell: Cell) -> None:
    """Refuse a cell whose formulas fail, or return what does not fit, at one made-up step.

    Raises:
        InputError: the first thing that is wrong.
    """
    if type(cell).__module__.startswith("gradscope."):
        return
    fits(cell)


def drawn_arrays(cls: type[Cell], returned: Any) -> dict[str, Array | None]:
    """Return what a class draws with `own`, where it is arrays of the class.

    Raises:
        InputError: it is not.
    """
    if not isinstance(returned, Mapping):
        _refuse(cls, f"own of {cls.__name__} returns {_kind(returned)}, and it must return a dict of arrays")
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    for name in returned:
        if name not in known:
            _refuse(
                cls, f"own of {cls.__name__} returns '{name}', which is no field of it", f"write {name}: Any = None"
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
            _refuse(cls, text, f"give a setting one, as in {f.name}: float = 0.1; an array that own draws has None")


def _of_class(annotation: Any) -> bool:
    return "ClassVar" in str(annotation)


def _check_names(cls: type[Cell], what: str) -> None:
    names = getattr(cls, what)
    right = isinstance(names, tuple | list) and names and all(isinstance(n, str) and n for n in names)
    if not right:
        hint = f"for instance {what} = ('h',)"
        _refuse(cls, f"{what} of {cls.__name__} must be a tuple of names, and not {names!r}", hint)
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if twice:
        _refuse(cls, f"{what} of {cls.__name__} has '{twice[0]}' twice")


def _check_gates(cls: type[Cell]) -> None:
    forms: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "gate_names": ("{'f': 'forget'}, gate and its name", lambda v: isinstance(v, str) and v.isidentifier()),
        "keep_gates": (
            "{'f': +1}, or -1 where an open gate forgets",
            lambda v: not isinstance(v, bool) and v in (1, -1),
        ),
        "squash": ("{'f': (0, 1)}, gate and the range of its values", _range),
    }
    for what, (form, right) in forms.items():
        given = getattr(cls, what)
        hint = f"it is written {what} = {form}"
        if not isinstance(given, Mapping):
            _refuse(cls, f"{what} of {cls.__name__} must be a dict, and not {given!r}", hint)
        for gate, value in given.items():
            if gate not in cls.gates:
                _refuse(cls, f"{what} of {cls.__name__} names the gate {gate!r}; its gates are {', '.join(cls.gates)}")
            if not _holds(right, value):
                _refuse(cls, f"{what} of {cls.__name__} has {value!r} for the gate {gate}", hint)


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
            maps, sizes, inputs = cell.maps, cell.sizes, cell.input_size
        except GradscopeError:
            raise
        except Exception as error:  # code of somebody else may fail in any way
            _fails(cls, "the maps", error)
        batch = 2 if cell.width != 2 else 3  # units and sequences must not be mistaken for one another
        x = rng.standard_normal((inputs, batch)).astype(cell.dtype)
        s = (rng.standard_normal((sum(sizes.values()), batch)) / 2).astype(cell.dtype)
        if cls.evolve is not Cell.evolve or cls.linearise is not Cell.linearise:
            _fits_whole(cell, x, s)
            return
        for m in maps:
            try:
                a, v, old = m.preactivations(x, s)
            except Exception as error:  # a `Map` of somebody else, or weights that it made
                _fails(cls, f"the product with the weights of {type(m).__name__}", error)
            s = _Probe(cls, m, a, v, old).new_state(gates=cls.gate_values is Cell.gate_values)


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

    def __init__(self, cls: type[Cell], m: Map, a: Array, v: Array, old: Sequence[Array]) -> None:
        self.cls, self.m, self.given = cls, m, (a, v, tuple(old))
        self.name = type(m).__name__
        self.batch = old[0].shape[-1]

    def new_state(self, *, gates: bool) -> Array:
        """Look at all formulas, and return the new state; at the values of gates only where they are asked for."""
        m = self.m
        new = self._arrays("advance", self._called("advance"), m.parts, "part", m.new_sizes)
        if gates:
            values = self._called("activations")
            self._arrays("activations", values, m.gates, "gate", (m.width,) * len(m.gates))
        self._grids(self._called("partials"))
        return np.concatenate(new, axis=-2)

    def _called(self, name: str) -> Any:
        a, v, old = self.given
        arrays = {"a": a.copy(), "v": v.copy()} | {f"s[{i}]": o.copy() for i, o in enumerate(old)}
        s = [arrays[f"s[{i}]"] for i in range(len(old))]
        try:
            returned = getattr(self.m, name)(arrays["a"], arrays["v"], s)
        except Exception as error:  # formulas of somebody else may fail in any way
            _fails(self.cls, name, error, self._told())
        was = {"a": a, "v": v} | {f"s[{i}]": o for i, o in enumerate(old)}
        written = [n for n in was if not np.array_equal(was[n], arrays[n], equal_nan=True)]
        replaced = [f"s[{i}]" for i in range(len(old)) if s[i : i + 1] != [] and s[i] is not arrays[f"s[{i}]"]]
        if written or replaced or len(s) != len(old):
            text = (
                f"{name} of {self.name} writes into {' and '.join([*written, *replaced]) or 's'}, which is given to it"
            )
            self._refuse(text, "write y = s[0] * k in place of s[0] *= k, and leave out= alone")
        return returned

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        _refuse(self.cls, what, hint or self._told())

    def _told(self) -> str:
        m = self.m
        parts, gates = ", ".join(m.parts if m.old_parts is None else m.old_parts), ", ".join(m.gates)
        return f"s has one array a part ({parts}), a and v have one a gate ({gates}), each (units, sequences)"

    def _arrays(self, name: str, found: Any, names: Sequence[str], each: str, sizes: Sequence[int]) -> list[Array]:
        wanted = f"it must return one array a {each}: {', '.join(names)}"
        several = isinstance(found, Sequence) or (isinstance(found, np.ndarray) and found.ndim > 0)
        if not several or len(found) != len(names):
            what = f"{len(found)} of them" if isinstance(found, Sequence) else _kind(found)
            self._refuse(f"{name} of {self.name} returns {what}, and {wanted}")
        shapes = [np.shape(y) for y in found]
        for n, shape, size in zip(names, shapes, sizes, strict=True):
            if shape != (size, self.batch):
                text = f"{name} of {self.name} returns shape {shape} for the {each} {n}"
                self._refuse(f"{text} of {size} units in {self.batch} sequences, which is ({size}, {self.batch})")
        return [np.asarray(y) for y in found]

    def _grids(self, found: Any) -> None:
        m = self.m
        if not isinstance(found, Partials):
            text = f"partials of {self.name} returns {_kind(found)}"
            self._refuse(text, "it must return gradscope.maps.jacobian.Partials(through=[[...]], around=[[...]])")
        old = m.parts if m.old_parts is None else m.old_parts
        columns = {"through": ("gate", m.gates), "around": ("old part", old)}
        columns |= {"entry": ("gate", m.gates), "within": ("new part", m.parts)}
        for road, (kind, names) in columns.items():
            grid = getattr(found, road)
            if grid is None and road in ("entry", "within"):
                continue
            try:
                widths = [len(row) for row in grid]
            except TypeError:
                self._refuse(f"{road} in partials of {self.name} is no grid: a list of rows, one a new part")
            if widths != [len(names)] * len(m.parts):
                text = f"{road} in partials of {self.name} has rows of {', '.join(map(str, widths)) or 'no'} entries"
                rows = f"a row for each new part ({', '.join(m.parts)})"
                self._refuse(f"{text}; it needs {rows}, with an entry for each {kind} ({', '.join(names)})")
            for part, size, row in zip(m.parts, m.new_sizes, grid, strict=True):
                for n, entry in zip(names, row, strict=True):
                    self._entry(f"{road} in partials of {self.name} has for part {part} and {kind} {n}", entry, size)

    def _entry(self, what: str, entry: Any, size: int) -> None:
        try:
            y = np.asarray(entry)
        except ValueError:
            self._refuse(f"{what} no array")
        if y.dtype.kind not in "biuf":
            self._refuse(f"{what} {_kind(entry)}", "write a number, an array (units, sequences), or 0 for no path")
        try:
            shape = np.broadcast_shapes(y.shape, (size, self.batch))
        except ValueError:
            shape = ()
        if shape != (size, self.batch):
            self._refuse(f"{what} shape {y.shape}, and units and sequences are ({size}, {self.batch})")
