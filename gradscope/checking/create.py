"""From a name, sizes, an initialisation and settings to a network; a class of the user's is examined on the way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.checking.declarations import check_class, drawn_arrays
from gradscope.checking.trial import check_user_cell
from gradscope.errors import UsageError
from gradscope.networks.cell import Cell, cell_class
from gradscope.networks.instantiate import checked, instantiate, known_settings, settings_of_init
from gradscope.networks.network import Network
from gradscope.networks.norm import named_norm
from gradscope.networks.stack import Direction, check_between, stack
from gradscope.settings import HIDDEN, INPUT_SIZE


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


def _layer(
    cell: str | type[Cell],
    hidden: int,
    inputs: int,
    init: str | None,
    gain: float,
    rng: np.random.Generator,
    settings: dict[str, Any],
) -> Cell:
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
    drawn = {k: values.pop(k) for k in settings_of_init(init or cls.usual_init) if k in values}
    biases = {k: values.pop(k) for k in cls.bias_settings() if k in values}
    layer = instantiate(cls, name, hidden, inputs, rng, init, values, drawn, partial(drawn_arrays, cls))
    layer = layer if gain == 1 else layer.with_gain(gain)
    for key, value in biases.items():
        layer = layer.with_bias(cls.bias_settings()[key], value)
    check_user_cell(layer)
    return layer
