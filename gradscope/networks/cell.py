"""What every cell shares, and the three kinds of cell: one map, maps in a row, or a Jacobian of the cell's own.

A cell writes element-wise formulas, and this file turns them into steps and Jacobians. Arrays here are feature-major:
a state is (n, B), an input (m, B), for B independent sequences, with any leading axes (time) in front. A cell's file
has no loop, no transpose and no batch axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.maps.composition import Composite
from gradscope.maps.jacobian import Array, Linear
from gradscope.networks.changes import usual
from gradscope.networks.gate import gate_intervals, gate_names
from gradscope.networks.limits import inside, one_of
from gradscope.networks.map import WEIGHTS, Map, Weighted
from gradscope.networks.network import Network

__all__ = ["WEIGHTS", "Cell", "DenseCell", "MapsCell", "OneMapCell", "cell_class", "class_in"]

Four = tuple[Array | None, Array | None, Array | None, Array | None]  # W, U, b_ih, b_hh


@dataclass(frozen=True, eq=False)
class Cell(Weighted, Network):
    """A recurrent cell of one layer: weights, settings, and a step with its Jacobian. Derive from one of the kinds."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The values of each setting that is a word."""
    limits: ClassVar[Mapping[str, str]] = {}
    """The interval of each setting that is a number and not free, "(0, 1]"; its ends may be other settings."""
    recurrent_weights: ClassVar[bool] = True
    """Whether an initialisation draws U and b_hh; False where there are none, or they are made of other arrays."""
    overflows: ClassVar[bool] = False
    """Whether a gate has no bound, as an exponential one: large weights make states that are rightly not finite."""
    no_weights: ClassVar[tuple[str, ...]] = ()
    """Arrays that are rates, or logarithms of such: no number of any size will do."""
    products: ClassVar[int | None] = None
    """H x H products a step with what depends on the state, at the default settings; None: one a gate, or none."""
    skip_path: ClassVar[bool | str] = True
    """Whether some of the old state gets into the new one around the weights; as a word, the setting it takes."""
    cost: ClassVar[str | None] = None
    """What a step's recurrence costs, where it is neither O(H^2) nor O(H)."""
    usual_init: ClassVar[str] = "pytorch"
    """The initialisation that is used unless another one is asked for."""

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        """Draw the arrays that only this cell has, as its paper does; one of the usual four replaces what was drawn.

        Args:
            hidden: units.
            inputs: number of inputs.
            rng: source of randomness.
            settings: every setting of the cell.
        """
        return {}

    def __post_init__(self) -> None:
        self.check_settings({name: getattr(self, name) for name in (*self.choices, *self.limits)})

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Refuse settings that the formulas cannot take.

        Raises:
            UsageError: one is not among its `choices`, or outside of its `limits`.
        """
        for setting, known in cls.choices.items():
            one_of(setting, settings[setting], known)
        for setting, interval in cls.limits.items():
            inside(setting, interval, settings)

    @cached_property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        """Size of each part of the state, in order: one number a unit for each part, unless a kind says otherwise."""
        return dict.fromkeys(self.parts, self.width)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        assert self.W is not None
        return int(self.W.shape[1])

    @property
    def hidden_size(self) -> int:
        """Units of the hidden state."""
        return self.width

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return gate_intervals(self.gates)

    def blocks(self, gates: int) -> tuple[Four, Four]:
        """Return (W, U, b_ih, b_hh) of the first few gates, and of the others."""

        def some(rows: slice) -> Four:
            W, U, b_ih, b_hh = (w if w is None else w[rows] for w in (self.W, self.U, self.b_ih, self.b_hh))
            return W, U, b_ih, b_hh

        return some(slice(0, gates * self.width)), some(slice(gates * self.width, None))

    @property
    def bias(self) -> Array | None:
        """Sum of the two biases."""
        given = [b for b in (self.b_ih, self.b_hh) if b is not None]
        return sum(given[1:], given[0]) if given else None

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Return the settings of this cell and their defaults, the weights left out."""
        fields = [f for f in dataclasses.fields(cls) if f.init and f.name not in WEIGHTS]
        return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING and f.default is not None}

    def changed_settings(self) -> dict[str, Any]:
        """Return the settings that are not at their default."""
        return {k: getattr(self, k) for k, v in self.settings().items() if getattr(self, k) != v}

    def astype(self, dtype: Any) -> Self:
        """Return a copy with weights of another floating-point type."""
        return self.replace(**{k: w.astype(dtype) for k, w in self.weights().items()})

    def with_bias(self, gate: str, value: float) -> Self:
        """Return a copy in which the two biases of a gate add up to `value`, for every unit."""
        i = list(self.gates).index(gate)
        rows = slice(i * self.width, (i + 1) * self.width)
        b_ih = np.zeros(self.rows, self.dtype) if self.b_ih is None else self.b_ih.copy()
        b_ih[rows] = value
        if self.b_hh is None:
            return self.replace(b_ih=b_ih)
        b_hh = self.b_hh.copy()
        b_hh[rows] = 0
        return self.replace(b_ih=b_ih, b_hh=b_hh)

    def changes(self, missing_factor: float, steps: int) -> dict[str, Callable[[], Self]]:
        return usual(self, missing_factor, steps)

    @classmethod
    def bias_settings(cls) -> dict[str, str]:
        """Return {setting: gate}, such as {"forget_bias": "f"}."""
        return {f"{name}_bias": gate for gate, name in gate_names(cls.gates).items()}


@dataclass(frozen=True, eq=False)
class MapsCell(Cell):
    """A cell whose step is maps in a row, `maps`: each has weights and formulas, and passes its parts to the next."""

    @property
    def maps(self) -> tuple[Map, ...]:
        """The maps that make up one step, in order."""
        raise TypeError(f"{type(self).__name__} must define maps")

    @cached_property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        """Size of each part of the state, in order."""
        return dict(zip(self.parts, self.maps[-1].new_sizes, strict=True))

    def evolve(self, x: Array, s: Array) -> Array:
        for m in self.maps:
            s = m.apply(x, s)
        return s

    def linearise(self, x: Array, s: Array) -> Linear:
        first, *others = self.maps
        steps: list[Linear] = [first.differentiate(x, s)]
        for before, m in zip(self.maps, others, strict=False):
            s = before.apply(x, s)
            steps.append(m.differentiate(x, s))
        return Composite(tuple(steps)) if others else steps[0]

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        values: dict[str, Array] = {}
        for m in self.maps:
            activations = zip(m.gates, m.activations(*m.preactivations(x, s)), strict=True)
            values |= {gate: value for gate, value in activations if gate in self.gates}
            s = m.apply(x, s) if len(self.maps) > 1 else s
        return values


@dataclass(frozen=True, eq=False)
class OneMapCell(Map, MapsCell):
    """A cell that is one map from state to state: it writes `activations`, `advance` and `partials`.

    Where a setting asks for another map, or for one more, the cell returns these from `maps`.
    """

    @property
    def maps(self) -> tuple[Map, ...]:
        return (self,)


@dataclass(frozen=True, eq=False)
class DenseCell(Cell):
    """A cell that is no chain of element-wise maps: it writes `sizes`, `evolve`, and `linearise`, as a dense matrix."""


def cell_class(name: str) -> type[Cell]:
    """Return the cell class of a file in the room.

    Raises:
        UsageError: there is no such cell, or its file defines none, or several.
    """
    return class_in(plugins.load("cells", name))


def class_in(module: ModuleType) -> type[Cell]:
    """Return the one public cell that a module defines."""
    cells = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Cell)]
    public = [c for c in cells if c.__module__ == module.__name__ and c.__name__[0] != "_"]
    if len(public) != 1:
        defined = ", ".join(c.__name__ for c in public) or "none"
        raise UsageError(f"{module.__name__} must define exactly one public cell, and it defines {defined}")
    return public[0]
