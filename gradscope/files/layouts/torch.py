"""Which recurrent layers of PyTorch do these tensors make up?

`weight_ih_l{k}[_reverse]`, `weight_hh_...`, `bias_ih_...`, `bias_hh_...` and, for projections, `weight_hr_...`
of nn.RNN, nn.LSTM and nn.GRU; the same without suffix for the cells. Rows are gates: i, f, g, o of an LSTM and
r, z, n of a GRU, its reset after the product. Source: the documentation of torch.nn.LSTM, GRU and RNN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Array
from gradscope.files.display import printable
from gradscope.files.layouts._base import ORDERS, Found, Options, floating, reordered, shapes
from gradscope.files.layouts._norm import combined
from gradscope.networks.cell import Cell, cell_class
from gradscope.networks.stack import Direction, Stack

PARAMETER = re.compile(r"(?:(.*)\.)?(weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l([0-9]{1,4})(_reverse)?)?", re.S)
KINDS = {1: "rnn", 3: "gru", 4: "lstm"}  # rows of weight_hh over hidden units
Place = tuple[int, bool]  # layer, reverse
Group = dict[str, tuple[str, Array]]  # parameter -> its name in the file, its array


def find(tensors: Mapping[str, Array], options: Options) -> list[Found]:
    """Find every recurrent module.

    Raises:
        InputError: the weights of a module do not fit together.
    """
    arrays, origins = combined(tensors)
    modules: dict[str, dict[Place, Group]] = {}
    suffixed: set[str] = set()
    for name, array in arrays.items():
        match = PARAMETER.fullmatch(name)
        if match:
            module, parameter, layer, reverse = match.groups()
            place = (int(layer or 0), bool(reverse))
            modules.setdefault(module or "", {}).setdefault(place, {})[parameter] = (name, array)
            suffixed |= {module or ""} if layer else set()
    found: list[Found] = []
    for module, places in modules.items():
        siblings = _siblings(module, arrays)
        if module not in suffixed and "bias_n" in siblings:  # an equinox GRU, whose biases differ
            continue
        if module not in suffixed and "bias" in siblings and "bias_ih" not in places[0, False]:
            key = f"{module}.bias" if module else "bias"
            places[0, False]["bias_ih"] = (key, arrays[key])
            siblings.remove("bias")
        found += _network(module, places, siblings, options, origins)
    return found


def _siblings(module: str, arrays: Mapping[str, Array]) -> list[str]:
    """Return the other parameters right beside those of a module."""
    start = f"{module}." if module else ""
    rest = [n[len(start) :] for n in arrays if n.startswith(start) and not PARAMETER.fullmatch(n)]
    return [n for n in rest if "." not in n]


def _network(
    module: str, places: dict[Place, Group], siblings: list[str], options: Options, origins: dict[str, tuple[str, ...]]
) -> list[Found]:
    name = printable(module) or options.root
    both = any(reverse for _, reverse in places)
    count = 1 + max(layer for layer, _ in places)
    order = [(k, r) for k in range(count) for r in ((False, True) if both else (False,))]
    for place in order:
        if place not in places:
            missing = f"layer {place[0]}{' reverse' if place[1] else ''}"
            raise InputError(f"{name} has no weights of {missing}", f"it has {shapes(_flat(places))}")
    kinds: dict[Place, str] = {}
    cells: dict[Place, Cell] = {}
    notes: list[str] = []
    for place in order:
        kinds[place], cells[place] = _cell(name, places[place], options)
        layer = place[0]
        expected = sum(_outputs(cells[p]) for p in cells if p[0] == layer - 1)
        if layer and cells[place].input_size != expected:
            here = f"layer {layer} has {cells[place].input_size} inputs, layer {layer - 1} has {expected} outputs"
            raise InputError(f"the layers of {name} do not fit: {here}")
    kind = kinds[order[0]]
    if len(set(kinds.values())) > 1:
        raise InputError(f"the layers of {name} are of several kinds: {', '.join(kinds.values())}")
    assumptions = []
    if kind == "rnn" and options.activation is None:
        assumptions.append(f"{name}: tanh is assumed, the file does not say; pass --activation relu if it is relu")
    if kind in ORDERS:
        given = options.order(kind)
        source = "as given" if given else "as PyTorch orders them"
        notes.append(f"{name}: gates in the order {', '.join(given or ORDERS[kind])}, {source}")
    if kind == "gru":
        notes.append(f"{name}: the reset gate acts after the matrix product, as in PyTorch")
    if siblings:
        beside = ", ".join(printable(s) for s in siblings[:5])
        assumptions.append(f"{name}: {beside} beside its weights are not of a PyTorch module and were ignored")
    used = {p: tuple(o for n, _ in places[p].values() for o in origins.get(n, (n,))) for p in order}
    if any(len(origins.get(n, ())) > 1 for p in order for n, _ in places[p].values()):
        notes.append(f"{name}: weight_norm or pruning was combined into plain weights")

    def entry(label: str, cell: Any, first: Cell, parameters: tuple[str, ...]) -> Found:
        sizes = (first.input_size, first.hidden_size, count, both)
        return Found(label, cell, kind, *sizes, list(assumptions), list(notes), parameters)

    if not both:
        bottom = cells[0, False]
        cell = bottom if count == 1 else Stack({f"l{k}": cells[k, False] for k in range(count)})
        return [entry(name, cell, bottom, tuple(n for p in order for n in used[p]))]
    found: list[Found] = []
    below: tuple[Direction, ...] = ()
    for k in range(count):
        pair = tuple(Direction(cells[k, r], r, below) for r in (False, True))
        for direction in pair:
            suffix = (f".l{k}" if count > 1 else "") + (".reverse" if direction.reverse else "")
            found.append(entry(name + suffix, direction, direction.cell, used[k, direction.reverse]))
        below = pair
    return found


def _flat(places: dict[Place, Group]) -> dict[str, Array]:
    return {name: array for group in places.values() for name, array in group.values()}


def _outputs(cell: Cell) -> int:
    return int(cell.output.stop - cell.output.start)


def _cell(name: str, group: Group, options: Options) -> tuple[str, Cell]:
    """Build the cell of one layer in one direction."""
    held = shapes(dict(group.values()))
    for present, absent in (("weight_ih", "weight_hh"), ("weight_hh", "weight_ih")):
        if absent not in group:
            raise InputError(f"{name}: {present} without {absent}: it has {held}", "is the file complete?")
    dtype = floating(name, (a for _, a in group.values()), options.dtype)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, a finding for later
        w = {k: np.array(a, dtype, order="C") for k, (_, a) in group.items()}
    W, U, W_hr = w["weight_ih"], w["weight_hh"], w.get("weight_hr")
    if any(a.ndim != (1 if k.startswith("bias") else 2) or a.size == 0 for k, a in w.items()):
        raise InputError(f"{name}: its weights are not matrices and its biases not vectors: {held}")
    if len(W) != len(U):
        raise InputError(f"{name}: the rows of its weights disagree: {held}", "both have gates * hidden rows")
    hidden = U.shape[1] if W_hr is None else W_hr.shape[1]
    gates, rest = divmod(len(U), hidden)
    if rest or gates not in KINDS or (W_hr is not None and (gates != 4 or len(W_hr) != U.shape[1])):
        what = f"{len(U)} rows for {hidden} hidden units are not 1, 3 or 4 gates"
        raise InputError(f"{name}: {what}: {held}", "weight_hh is (gates * hidden, hidden); is it transposed?")
    if any(len(a) != len(U) for k, a in w.items() if k.startswith("bias")):
        raise InputError(f"{name}: its biases do not fit its weights: {held}")
    kind = KINDS[gates]
    settings: dict[str, Any] = {"W_hr": W_hr, "projection": len(W_hr)} if W_hr is not None else {}
    if kind == "rnn" and options.activation is not None:
        settings["activation"] = options.activation
    order = options.order(kind)
    if order is not None:
        w |= {k: reordered(a, order, ORDERS[kind]) for k, a in w.items() if k != "weight_hr"}
    cell = cell_class(kind)(w["weight_ih"], w["weight_hh"], w.get("bias_ih"), w.get("bias_hh"), **settings)
    return kind, cell
