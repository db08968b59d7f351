"""Minimal RNN: one gate, and a state that sees the input only through a layer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh
from gradscope.networks.product import Product


@dataclass(frozen=True, eq=False)
class MinimalRNN(Cell):
    """State s = [h].

    z = tanh(W x + b_z)    u = sigmoid(U h + U_z z + b)    h' = u h + (1 - u) z

    d h'/d h = u around the weights. Here u near 1 keeps the old state.
    Chen (2017); Chen, Pennington & Schoenholz (2018).
    """

    U_z: Array | None = None
    b_z: Array | None = None

    parts = ("h",)
    gates = ("u",)
    gate_names: ClassVar = {"u": "update"}
    keep_gates: ClassVar = {"u": 1}
    squash: ClassVar = {"u": (0, 1)}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"U_z": rng.uniform(-1, 1, (hidden, hidden)) / np.sqrt(hidden), "b_z": np.zeros(hidden)}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        return (
            _Input(self.W, None, self.b_z, None),
            _Layer(None, self.U_z, None, None),
            _Gate(None, self.U, None, self.bias),
        )


class _Input(Map):
    """Keeps h, and makes z from the input."""

    old_parts = ("h",)
    parts = ("h", "z")
    gates = ("z",)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return s[0], tanh((a + v)[0])

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[0], [dtanh((a + v)[0])]], around=[[1], [0]])


class _Layer(Product):
    """Keeps h and z, and makes p = U_z z."""

    old_parts = ("h", "z")
    parts = ("h", "z", "p")
    reads = "z"


class _Gate(Map):
    """u from U h and p, then the mixture of h and z."""

    old_parts = ("h", "z", "p")
    gates = ("u",)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return (sigmoid((a + v)[0] + s[2]),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        (u,) = self.activations(a, v, s)
        return (s[1] + u * (s[0] - s[1]),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        h, z, p = s
        (u,) = self.activations(a, v, s)
        d = (h - z) * dsigmoid((a + v)[0] + p)
        return Partials(through=[[d]], around=[[u, sigmoid(-(a + v)[0] - p), d]])
