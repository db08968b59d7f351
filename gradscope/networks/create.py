"""Make a cell from its name, sizes, an initialisation and settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.inits._base import Shape
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import WEIGHTS, Cell, cell_class
from gradscope.networks.gate import gate_names, keep_signs
from gradscope.networks.network import Network
from gradscope.networks.norm import named_norm
from gradscope.networks.stack import Direction, check_between, stack
from gradscope.settings import HIDDEN, INPUT_SIZE

__all__ = ["checked", "create", "directions", "instantiate", "known_settings"]


def known_settings(cell: str | type[Cell], init: str | None) -> dict[str, Any]:
    """Return the settings that a cell and an initialisation accept, with their defaults.

    Gate biases (`forget_bias`, ...) have None: unless set, they are what the initialisation draws.
    """
    cls = cell if isinstance(cell, type) else cell_class(cell)
    return cls.settings() | _init_settings(init or cls.usual_init) | dict.fromkeys(cls.bias_settings())


def _init_settings(init: str) -> dict[str, Any]:
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


def create(
    name: str | type[Cell],
    *,
    hidden_size: int = HIDDEN,
    input_size: int = INPUT_SIZE,
    layers: int = 1,
    residual: bool = False,
    norm: str = "none",
    init: str | None = None,
    gain: float = 1.0,
    seed: int | Sequence[int] = 0,
    dtype: Any = np.float64,
    **settings: Any,
) -> Network:
    """Make a cell with seeded random weights.

    Args:
        name: name of a cell, as `gradscope cells` lists them, or a cell class of your own.
        hidden_size: units of a layer.
        input_size: inputs of the bottom layer.
        layers: how many; more than one gives a `Stack`.
        residual: whether each layer above the bottom one adds its output to what it is given.
        norm: what normalises the input of these layers: "none", "layer" or "rms".
        init: name of an initialisation; pytorch unless given, or what the cell's paper has (`Cell.usual_init`).
        gain: factor on the recurrent weights.
        seed: seed of the weights.
        dtype: float64 or float32.
        **settings: settings of the cell (`activation="relu"`), of the initialisation (`tmax=200`), and
            gate biases (`forget_bias=1`: the sum of a gate's two biases, for every unit).

    Raises:
        UsageError: an unknown name or setting, a size below 1, or something between layers where there is one layer.
        InputError: a class of your own has declarations or formulas that are not those of a cell.
    """
    for what, value in (("hidden_size", hidden_size), ("input_size", input_size), ("layers", layers)):
        if value < 1:
            raise UsageError(f"{what} must be at least 1, not {value}")
    residual = checked("residual", residual, default=False)
    check_between(layers, residual=residual, normed=named_norm(norm) is not None)
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    for _ in range(layers):
        width = cells[-1].output.stop if cells else input_size
        cells.append(_layer(name, hidden_size, width, init, gain, rng, settings).astype(dtype))
    return cells[0] if layers == 1 else stack(cells, residual=residual, norm=norm)


def directions(
    name: str | type[Cell],
    *,
    input_size: int = INPUT_SIZE,
    hidden_size: int = HIDDEN,
    layers: int = 1,
    residual: bool = False,
    norm: str = "none",
    seed: int = 0,
    **options: Any,
) -> dict[str, Network]:
    """Make a bidirectional network: {"l0": ..., "l0.reverse": ..., "l1": ...}, each a `Direction`.

    Raises:
        UsageError: as `create`.
    """
    network: dict[str, Network] = {}
    below: tuple[Direction, ...] = ()
    residual = checked("residual", residual, default=False)
    check_between(layers, residual=residual, normed=named_norm(norm) is not None)
    for i in range(layers):
        width = sum(d.output.stop for d in below) if below else input_size
        pair = []
        for reverse in (False, True):
            stream = [seed, 3, i, int(reverse)]
            cell = create(name, input_size=width, hidden_size=hidden_size, seed=stream, **options)
            assert isinstance(cell, Cell)
            between = named_norm(norm) if below else None
            pair.append(Direction(cell, reverse, below, residual and i > 0, between))
        below = tuple(pair)
        network |= {f"l{i}": pair[0], f"l{i}.reverse": pair[1]}
    return network


def instantiate(
    cls: type[Cell],
    name: str,
    hidden: int,
    inputs: int,
    rng: np.random.Generator,
    init: str | None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    drawn: Mapping[str, Any] = MappingProxyType({}),
) -> Cell:
    """Make a cell of a class, with some of its settings and of those of the initialisation; None for its usual one."""
    from gradscope.checking.declarations import drawn_arrays  # the one way up: see pyproject.toml

    gates = cls.gates
    shape = Shape(name, tuple(gates), hidden, inputs, gate_names(gates), keep_signs(gates), cls.recurrent_weights)
    asked, init = init is not None, init or cls.usual_init
    weights = plugins.load("inits", init).initialise(shape, rng, **drawn)
    if not cls.recurrent_weights:
        weights |= {"U": None, "b_hh": None}
    settings = cls.settings() | dict(settings)
    cls.check_settings(settings)
    arrays = drawn_arrays(cls, cls.init_parameters(hidden, inputs, rng, **settings))
    if asked:  # an array that a cell does not have, or has in another shape, stays so all the same
        arrays = {k: w for k, w in arrays.items() if k not in WEIGHTS or _shape(w) != _shape(weights[k])}
    return cls(**weights | arrays, **settings)


def _shape(w: Array | None) -> tuple[int, ...]:
    return () if w is None else w.shape


def _layer(
    cell: str | type[Cell],
    hidden: int,
    inputs: int,
    init: str | None,
    gain: float,
    rng: np.random.Generator,
    settings: dict[str, Any],
) -> Cell:
    from gradscope.checking.declarations import check_class  # the one way up: see pyproject.toml
    from gradscope.checking.trial import check_user_cell

    cls = cell if isinstance(cell, type) else cell_class(cell)
    name = cls.__name__ if isinstance(cell, type) else cell
    check_class(cls)
    known = known_settings(cls, init)
    for key in settings:
        if key not in known:
            hint = (
                f"{plugins.suggest(key, list(known))}known for {name} with {init or cls.usual_init}: {', '.join(known)}"
            )
            raise UsageError(f"there is no setting named '{key}'", hint)
    values = {key: checked(key, value, known[key]) for key, value in settings.items()}
    drawn = {k: values.pop(k) for k in _init_settings(init or cls.usual_init) if k in values}
    biases = {k: values.pop(k) for k in cls.bias_settings() if k in values}
    layer = instantiate(cls, name, hidden, inputs, rng, init, values, drawn)
    layer = layer if gain == 1 else layer.with_gain(gain)
    for key, value in biases.items():
        layer = layer.with_bias(cls.bias_settings()[key], value)
    check_user_cell(layer)
    return layer
