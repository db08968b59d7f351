"""Which recurrent layers of PyTorch do these tensors make up?

`weight_ih_l{k}[_reverse]`, `weight_hh_...`, `bias_ih_...`, `bias_hh_...` and, for projections, `weight_hr_...`
of nn.RNN, nn.LSTM and nn.GRU; the same without suffix for the cells. Those of equinox call their biases `bias` and, for
b_hn of a GRU, `bias_n`. Rows are gates: i, f, g, o of an LSTM and r, z, n of a GRU, its reset after the product.
Source: the documentation of torch.nn.LSTM, GRU and RNN, and the code of equinox.nn.LSTMCell and GRUCell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Array
from gradscope.files.display import printable
from gradscope.files.layouts._base import ORDERS, LayoutOptions, RecurrentLayer, floating, reordered, shapes
from gradscope.files.layouts._norm import PIECE, RAW, combined
from gradscope.networks.cell import Cell, cell_class
from gradscope.networks.stack import Direction, Stack

PARAMETER = re.compile(r"(?:(.*)\.)?(weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l(0|[1-9][0-9]{0,3})(_reverse)?)?", re.S)
KINDS = {1: "rnn", 3: "gru", 4: "lstm"}  # rows of weight_hh over hidden units: the cell
ARTICLES = {"rnn": "an RNN", "gru": "a GRU", "lstm": "an LSTM"}
Place = tuple[int, bool]  # layer, reverse
Group = dict[str, tuple[str, Array]]  # parameter: its name in the file, its array


@dataclass(frozen=True, eq=False)
class Module:
    """The tensors of one nn.RNN, nn.LSTM, nn.GRU, or of one of their cells.

    Attributes:
        name: its path, as "encoder.lstm".
        places: tensors of each layer and direction.
        is_cell: whether its names have no _l0: then it is a cell, and its loop over time is code that is in no file.
        beside: names of all other tensors of the module and of its submodules, without its path.
        pieces: {name: names of the tensors of the file that were combined into it}.
    """

    name: str
    places: dict[Place, Group]
    is_cell: bool
    beside: tuple[str, ...]
    pieces: Mapping[str, tuple[str, ...]]

    @property
    def bidirectional(self) -> bool:
        """Whether it has weights of the reverse direction."""
        return any(reverse for _, reverse in self.places)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return 1 + max(layer for layer, _ in self.places)

    @property
    def order(self) -> list[Place]:
        """Every place that it should have, from the input up, forward before reverse."""
        ways = (False, True) if self.bidirectional else (False,)
        return [(layer, reverse) for layer in range(self.depth) for reverse in ways]

    def parameters(self, *places: Place) -> tuple[str, ...]:
        """Return the names in the file of all tensors of some places."""
        names = [name for place in places for name, _ in self.places[place].values()]
        return tuple(piece for name in names for piece in self.pieces.get(name, (name,)))

    def raw(self) -> list[str]:
        """Return the names of the matrices that weight dropout keeps, which were read as the weights."""
        return [p for p in self._combined() if RAW.fullmatch(p)]

    def has_pieces(self) -> bool:
        """Return whether a parameter was combined from several tensors."""
        return any(PIECE.fullmatch(p) for p in self._combined())

    def missing(self) -> list[str]:
        """Return the biases that are not there, though there are others."""
        names = {(p, place) for place, group in self.places.items() for p in group if p.startswith("bias")}
        both = ("bias_ih",) if self.single_bias else ("bias_ih", "bias_hh")
        suffix = "" if self.is_cell else "_l{}{}"
        wanted = [(p, place) for place in self.order for p in both] if names else []
        return [p + suffix.format(k, "_reverse" * back) for p, (k, back) in wanted if (p, (k, back)) not in names]

    @property
    def single_bias(self) -> bool:
        """Whether its one bias has the name `bias`, as in equinox."""
        name, _ = self.places[0, False].get("bias_ih", ("", None))
        return name.rpartition(".")[2] == "bias"

    def _combined(self) -> list[str]:
        names = [name for group in self.places.values() for name, _ in group.values()]
        return [piece for name in names for piece in self.pieces.get(name, ())]


def find(tensors: Mapping[str, Array], options: LayoutOptions) -> list[RecurrentLayer]:
    """Return every recurrent module.

    Raises:
        InputError: the weights of a module do not fit together.
    """
    arrays, pieces = combined(tensors)
    layers: list[RecurrentLayer] = []
    for path, (places, is_cell) in _modules(arrays).items():
        start = f"{path}." if path else ""
        if is_cell and not {"bias_ih", "bias_hh"} & places[0, False].keys():
            places[0, False] |= _biases_of_equinox(start, arrays)
        whole = Module(printable(path) or options.root, places, is_cell, (), pieces)
        used = {*whole.parameters(*places)}
        beside = tuple(name[len(start) :] for name in tensors if name.startswith(start) and name not in used)
        layers += _layers(replace(whole, beside=beside), options)
    return layers


def _biases_of_equinox(start: str, arrays: Mapping[str, Array]) -> Group:
    """Return the biases of an LSTM or GRU of equinox, if there are any; bias_n of a GRU acts within the reset gate."""
    group = {"bias_ih": (f"{start}bias", arrays[f"{start}bias"])} if f"{start}bias" in arrays else {}
    inner = arrays.get(f"{start}bias_n")
    if group and inner is not None and inner.ndim == 1:
        others = np.zeros(2 * len(inner), inner.dtype)  # the reset and the update gate have one bias
        group["bias_hh"] = (f"{start}bias_n", np.concatenate([others, inner]))
    return group


def _modules(arrays: Mapping[str, Array]) -> dict[str, tuple[dict[Place, Group], bool]]:
    """Return {path: tensors of each layer and direction, and whether it is a cell: its names have no _l0}.

    No module of PyTorch has names of both kinds; where a path has both, those with _l0 count.
    """
    modules: dict[str, dict[bool, dict[Place, Group]]] = {}
    for name, array in arrays.items():
        if match := PARAMETER.fullmatch(name):
            path, parameter, layer, reverse = match[1] or "", match[2], match[3], match[4]
            places = modules.setdefault(path, {}).setdefault(layer is None, {})
            places.setdefault((int(layer or 0), bool(reverse)), {})[parameter] = (name, array)
    return {path: (kinds[is_cell], is_cell) for path, kinds in modules.items() for is_cell in (min(kinds),)}


def _layers(module: Module, options: LayoutOptions) -> list[RecurrentLayer]:
    """Return a module as one network, or, if it is bidirectional, each direction of each of its layers.

    Raises:
        InputError: a layer is missing, or the layers do not fit together.
    """
    kind, cells = _cells(module, options)
    assumptions, notes = _sentences(module, kind, options)

    def entry(name: str, cell: Any, first: Cell, parameters: tuple[str, ...]) -> RecurrentLayer:
        sizes = (first.input_size, first.hidden_size, module.depth, module.bidirectional)
        unused = tuple(map(printable, module.beside))
        return RecurrentLayer(name, cell, kind, *sizes, list(assumptions), list(notes), parameters, unused, module.name)

    if not module.bidirectional:
        bottom = cells[0, False]
        stack = bottom if module.depth == 1 else Stack({f"l{k}": cells[k, False] for k in range(module.depth)})
        return [entry(module.name, stack, bottom, module.parameters(*module.order))]
    layers: list[RecurrentLayer] = []
    below: tuple[Direction, ...] = ()
    for k in range(module.depth):
        pair = tuple(Direction(cells[k, reverse], reverse, below) for reverse in (False, True))
        for direction in pair:
            suffix = (f".l{k}" if module.depth > 1 else "") + (".reverse" if direction.reverse else "")
            parameters = module.parameters((k, direction.reverse))
            layers.append(entry(module.name + suffix, direction, direction.cell, parameters))
        below = pair
    return layers


def _cells(module: Module, options: LayoutOptions) -> tuple[str, dict[Place, Cell]]:
    """Return the kind of a module and the cell of each layer and direction.

    Raises:
        InputError: a layer is missing, or the layers do not fit together.
    """
    kinds: dict[Place, str] = {}
    cells: dict[Place, Cell] = {}
    for place in module.order:
        layer, reverse = place
        if place not in module.places:
            missing = f"layer {layer}{' reverse' if reverse else ''}"
            present = dict(pair for group in module.places.values() for pair in group.values())
            raise InputError(f"{module.name} has no weights of {missing}", f"it has {shapes(present)}")
        kinds[place], cells[place] = _cell(module.name, module.places[place], options)
        expected = sum(_outputs(cell) for (below, _), cell in cells.items() if below == layer - 1)
        if layer and cells[place].input_size != expected:
            here = f"layer {layer} has {cells[place].input_size} inputs, layer {layer - 1} has {expected} outputs"
            raise InputError(f"the layers of {module.name} do not fit: {here}")
    if len(set(kinds.values())) > 1:
        raise InputError(f"the layers of {module.name} are of several kinds: {', '.join(kinds.values())}")
    return kinds[0, False], cells


def _outputs(cell: Cell) -> int:
    return int(cell.output.stop - cell.output.start)


def _sentences(module: Module, kind: str, options: LayoutOptions) -> tuple[list[str], list[str]]:
    """Return what was assumed since the file does not say it, and notes on how its weights were read."""
    name = module.name
    assumptions, notes = [], []
    if module.is_cell:
        assumptions.append(
            f"{name}: names without _l0 are those of a cell that a loop in the model's code steps; the file shows "
            f"neither that loop nor the kind of cell, and {ARTICLES[kind]} whose state is fed back unchanged is assumed"
        )
    if kind == "rnn" and options.activation is None:
        assumptions.append(
            f"{name}: the file does not state the activation, tanh is assumed; pass --activation relu otherwise"
        )
    if missing := module.missing():
        assumptions.append(f"{name}: {', '.join(missing[:5])} not in the file, zero is assumed")
    if kind in ORDERS:
        given = options.order(kind)
        source = "as given" if given else "as PyTorch orders them"
        notes.append(f"{name}: gates in the order {', '.join(given or ORDERS[kind])}, {source}")
    if kind == "gru":
        notes.append(f"{name}: the reset gate acts after the matrix product, as in PyTorch")
    if module.has_pieces():
        notes.append(f"{name}: weight_norm or pruning was folded into plain weights")
    if raw := module.raw():
        weights = ", ".join(printable(r) for r in raw[:5])
        notes.append(f"{name}: {weights} read as the weights, without the dropout of weights in training")
    return assumptions, notes


def _cell(name: str, group: Group, options: LayoutOptions) -> tuple[str, Cell]:
    """Return the kind and the cell of one layer in one direction.

    Raises:
        InputError: its weights do not fit together.
    """
    for present, absent in (("weight_ih", "weight_hh"), ("weight_hh", "weight_ih")):
        if absent not in group:
            held = shapes(dict(group.values()))
            raise InputError(f"{name}: {present} without {absent}: it has {held}", "is the file complete?")
    dtype = floating(name, (a for _, a in group.values()), options.dtype)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which the analysis reports
        weights = {k: np.array(a, dtype, order="C") for k, (_, a) in group.items()}
    kind = KINDS[_gates(name, group, weights)]
    settings: dict[str, Any] = {}
    if "weight_hr" in weights:
        settings = {"W_hr": weights["weight_hr"], "projection": len(weights["weight_hr"])}
    if kind == "rnn" and options.activation is not None:
        settings["activation"] = options.activation
    if order := options.order(kind):
        weights |= {k: reordered(a, order, ORDERS[kind]) for k, a in weights.items() if k != "weight_hr"}
    biases = weights.get("bias_ih"), weights.get("bias_hh")
    return kind, cell_class(kind)(weights["weight_ih"], weights["weight_hh"], *biases, **settings)


def _gates(name: str, group: Group, weights: Mapping[str, Array]) -> int:
    """Return the number of gates: rows of the weights over hidden units.

    Raises:
        InputError: the shapes of the weights do not fit together.
    """
    held = shapes(dict(group.values()))
    W, U, W_hr = weights["weight_ih"], weights["weight_hh"], weights.get("weight_hr")
    if not all(_has_axes(k, a) for k, a in weights.items()):
        raise InputError(f"{name}: its weights are not matrices and its biases not vectors: {held}")
    if len(W) != len(U):
        raise InputError(f"{name}: the rows of its weights disagree: {held}", "both have gates * hidden rows")
    hidden: int = weights.get("weight_hr", U).shape[1]
    gates, rest = divmod(len(U), hidden)
    projected = W_hr is not None and (gates != 4 or len(W_hr) != U.shape[1])  # only nn.LSTM has projections
    if rest or gates not in KINDS or projected:
        message = f"{len(U)} rows for {hidden} hidden units are not 1, 3 or 4 gates"
        raise InputError(f"{name}: {message}: {held}", "weight_hh is (gates * hidden, hidden); is it transposed?")
    if any(len(a) != len(U) for k, a in weights.items() if k.startswith("bias")):
        raise InputError(f"{name}: its biases do not fit its weights: {held}")
    return gates


def _has_axes(parameter: str, array: Array) -> bool:
    return array.size > 0 and array.ndim == (1 if parameter.startswith("bias") else 2)
