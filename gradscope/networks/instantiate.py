"""From a class, sizes, an initialisation and settings to a cell; `gradscope.checking.create` also examines a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.inits._base import Shape
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import WEIGHTS, Cell, cell_class
from gradscope.networks.gate import gate_names, keep_signs

__all__ = ["checked", "instantiate", "known_settings", "settings_of_init"]


def known_settings(cell: str | type[Cell], init: str | None) -> dict[str, Any]:
    """Return the settings that a cell and an initialisation accept, with their defaults.

    Gate biases (`forget_bias`, ...) have None: unless set, they are what the initialisation draws.
    """
    cls = cell if isinstance(cell, type) else cell_class(cell)
    return cls.settings() | settings_of_init(init or cls.usual_init) | dict.fromkeys(cls.bias_settings())


def settings_of_init(init: str) -> dict[str, Any]:
    """Return the settings that an initialisation accepts, with their defaults."""
    parameters = inspect.signature(plugins.load("inits", init).initialise).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def checked(name: str, value: Any, default: Any) -> Any:
    """Convert a setting to the type of its default; biases (None) are numbers.

    Raises:
        UsageError: it cannot be.
    """
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}[str(value).lower()]
        if isinstance(default, str):
            return str(value)
        number = float(value)
        if isinstance(default, int):
            return _whole(name, number, min(default, 1))
    except (KeyError, ValueError, TypeError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise UsageError(f"setting {name} must be {kind}, not '{value}'") from None
    if not np.isfinite(number):
        raise UsageError(f"setting {name} must be a finite number, not '{value}'")
    return number


def _whole(name: str, number: float, least: int) -> int:
    if not (number.is_integer() and number >= least):
        raise UsageError(f"setting {name} must be a whole number, {least} or more, not {number:g}")
    return int(number)


def instantiate(
    cls: type[Cell],
    name: str,
    hidden: int,
    inputs: int,
    rng: np.random.Generator,
    init: str | None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    drawn: Mapping[str, Any] = MappingProxyType({}),
    examined: Callable[[Any], dict[str, Array | None]] = dict,
) -> Cell:
    """Make a cell of a class, whose declarations are taken as they are.

    Args:
        cls: the class.
        name: what an initialisation knows the cell by.
        hidden: units.
        inputs: number of inputs.
        rng: draws the weights.
        init: name of an initialisation; None for the usual one of the cell.
        settings: of the cell, those that are not usual.
        drawn: settings of the initialisation, likewise.
        examined: takes what `init_parameters` of the class returns; returns the arrays.
    """
    gates = cls.gates
    shape = Shape(name, tuple(gates), hidden, inputs, gate_names(gates), keep_signs(gates), cls.recurrent_weights)
    asked, init = init is not None, init or cls.usual_init
    weights = plugins.load("inits", init).initialise(shape, rng, **drawn)
    if not cls.recurrent_weights:
        weights |= {"U": None, "b_hh": None}
    settings = cls.settings() | dict(settings)
    cls.check_settings(settings)
    arrays = examined(cls.init_parameters(hidden, inputs, rng, **settings))
    if asked:  # an array that a cell does not have, or has in another shape, stays so all the same
        arrays = {k: w for k, w in arrays.items() if k not in WEIGHTS or _shape(w) != _shape(weights[k])}
    return cls(**weights | arrays, **settings)


def _shape(w: Array | None) -> tuple[int, ...]:
    return () if w is None else w.shape
