"""Does a user's class declare what a cell declares? Asked before the class is used: a slip is one sentence."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from gradscope.errors import InputError
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import WEIGHTS, Cell, DenseCell, MapsCell, OneMapCell
from gradscope.networks.formulas import INPUT
from gradscope.networks.gate import Gate
from gradscope.networks.network import Network

HINT = "docs/howto/write-a-cell.md shows a complete cell"
GATES = 'write gates = {"f": Gate("forget", (0, 1), keeps=+1)}, one for each block of rows of the weights'


def check_class(cls: type[Cell]) -> None:
    """Refuse a class whose declarations are not those of a cell; the cells of this package are tested.

    Raises:
        InputError: the first slip.
    """
    if is_built_in(cls):
        return
    if not issubclass(cls, MapsCell | DenseCell):
        refuse(cls, f"{cls.__name__} is not a kind of Cell", "derive it from OneMapCell, MapsCell or DenseCell")
    if issubclass(cls, DenseCell):
        for name in ("evolve", "linearise"):
            if getattr(cls, name) is getattr(Network, name):
                refuse(cls, f"{cls.__name__} must define {name}(self, x, s)")
    for check in (_check_fields, _check_parts, _check_gates, _check_settings):
        check(cls)


def is_built_in(cls: type) -> bool:
    """Whether a class is one of this package."""
    return cls.__module__.startswith("gradscope.")


def drawn_arrays(cls: type[Cell], returned: Any) -> dict[str, Array | None]:
    """Return what `init_parameters` of a class returned, where these are arrays of the class.

    Raises:
        InputError: they are not.
    """
    if not isinstance(returned, Mapping):
        refuse(cls, f"init_parameters of {cls.__name__} returns {kind(returned)}, not a dict of arrays")
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    for name in [n for n in returned if n not in known]:
        what = f"init_parameters of {cls.__name__} returns '{name}', which is not a field of the class"
        refuse(cls, what, f"write {name}: Any = None")
    return dict(returned)


def refuse(cls: type, what: str, hint: str = HINT, error: Exception | None = None) -> NoReturn:
    """Raise an InputError that names the file of a class, and the line in it where an error was raised."""
    module = vars(sys.modules.get(cls.__module__, sys))
    path, real = module.get("__spec_path__") or module.get("__file__"), module.get("__file__")
    frames = traceback.extract_tb(error.__traceback__) if error else []
    lines = [f", line {f.lineno}" for f in frames if f.filename in (path, real)]
    where = f"{path}{''.join(lines[-1:])}: " if path else ""
    raise InputError(f"{where}{what}", hint) from error


def fails(cls: type, what: str, error: Exception, hint: str = HINT) -> NoReturn:
    """Refuse a class whose code raised an error."""
    if str(error) == f"{cls.__name__} must define {what}":  # said by the kinds of cell
        refuse(cls, str(error), hint)
    words = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    refuse(cls, f"{what} of {cls.__name__} fails: {words}", hint, error)


def kind(value: Any) -> str:
    """Say what a value is that should have been something else."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"something of type {type(value).__name__}"


def _check_fields(cls: type[Cell]) -> None:
    """Catch a missing @dataclass, and a field without default."""
    annotations = vars(cls).get("__annotations__", {})
    fields = [n for n, t in annotations.items() if "ClassVar" not in str(t)]
    if fields and "__dataclass_fields__" not in vars(cls):
        what = f"{cls.__name__} has the field {fields[0]}, but is not a dataclass"
        refuse(cls, what, "write @dataclass(frozen=True, eq=False) above it")
    for f in dataclasses.fields(cls):
        if f.init and f.name not in WEIGHTS and f.default is f.default_factory is dataclasses.MISSING:
            hint = f"give settings a default, as in {f.name}: float = 0.1; drawn arrays have None"
            refuse(cls, f"the field {f.name} of {cls.__name__} has no default", hint)


def _check_parts(cls: type[Cell]) -> None:
    """Catch parts that are no tuple of names, and a name for two."""
    parts = cls.parts
    if not (isinstance(parts, tuple | list) and parts and all(isinstance(n, str) and n for n in parts)):
        what = f"parts of {cls.__name__} must be a tuple of names, not {parts!r}"
        refuse(cls, what, "for example parts = ('h',)")
    for name in parts:
        if parts.count(name) > 1:
            refuse(cls, f"parts of {cls.__name__} has '{name}' twice")


def _check_gates(cls: type[Cell]) -> None:
    """Catch gates that are no dict of `Gate`, and fields of a gate that are none."""
    if not isinstance(cls.gates, Mapping) or not cls.gates:
        refuse(cls, f"gates of {cls.__name__} must be a dict of gates, not {cls.gates!r}", GATES)
    for key, gate in cls.gates.items():
        if not isinstance(key, str) or not isinstance(gate, Gate):
            refuse(cls, f"gates of {cls.__name__} has {gate!r} for {key!r}, which is not a Gate", GATES)
        for field, is_valid in GATE_FIELDS.items():
            if not is_valid(getattr(gate, field)):
                refuse(cls, f"gate {key} of {cls.__name__} has {field} {getattr(gate, field)!r}", GATES)
        if gate.split and key + INPUT in cls.gates:
            what = f"the input preactivation of gate {key} has that name"
            refuse(cls, f"{cls.__name__} cannot have a gate {key}{INPUT}: {what}")


def _is_interval(value: Any) -> bool:
    try:
        low, high = value
        return bool(float(low) < float(high))
    except (TypeError, ValueError):
        return False


GATE_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str) and (v == "" or v.isidentifier()),
    "interval": lambda v: v is None or _is_interval(v),
    "keeps": lambda v: isinstance(v, int) and v in (-1, 0, 1) and not isinstance(v, bool),
    "split": lambda v: isinstance(v, bool),
}


def _check_settings(cls: type[Cell]) -> None:
    """Catch choices and limits of what is no setting, and weights that read what is no part."""
    for table in ("choices", "limits"):
        for setting in getattr(cls, table):
            if setting not in cls.settings():
                refuse(cls, f"{table} of {cls.__name__} names '{setting}', which is not a setting of the class")
    if _is_one_map(cls) and cls.recurrent_weights and cls.reads not in cls.parts:  # type: ignore[attr-defined]
        what = f"the recurrent weights of {cls.__name__} read the part '{cls.reads}', and its parts are"  # type: ignore[attr-defined]
        hint = f"reads = {cls.parts[0]!r} in the class states which part they read"
        refuse(cls, f"{what} {', '.join(cls.parts)}", hint)


def _is_one_map(cls: type[Cell]) -> bool:
    return issubclass(cls, OneMapCell) and cls.maps is OneMapCell.maps
