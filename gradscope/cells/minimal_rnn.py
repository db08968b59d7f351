"""Minimal RNN: one gate, and a state that sees the input only through a layer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import (
    Array,
    Gate,
    Map,
    MapsCell,
    Partials,
    Parts,
    Preactivations,
    Product,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class MinimalRNN(MapsCell):
    """State s = [h].

    z = tanh(W x + b_z)    u = sigmoid(U h + U_z z + b)    h' = u h + (1 - u) z

    d h'/d h = u around the weights. Here u near 1 keeps the old state.
    Chen (2017); Chen, Pennington & Schoenholz (2018).
    """

    U_z: Array | None = None
    b_z: Array | None = None

    parts = ("h",)
    gates = {"u": Gate("update", (0, 1), keeps=+1)}

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
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
    gates = {"z": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["z"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": s["h"], "z": tanh(p["z"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"z": {"z": dtanh(p["z"])}}, around={"h": {"h": 1}})


class _Layer(Product):
    """Keeps h and z, and makes p = U_z z."""

    old_parts = ("h", "z")
    parts = ("h", "z", "p")
    reads = "z"


class _Gate(Map):
    """u from U h and p, then the mixture of h and z."""

    old_parts = ("h", "z", "p")
    gates = {"u": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (sigmoid(p["u"] + s["p"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        h, z = s["h", "z"]
        (u,) = self.activations(p, s)
        return {"h": z + u * (h - z)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h, z, other = s["h", "z", "p"]
        (u,) = self.activations(p, s)
        d = (h - z) * dsigmoid(p["u"] + other)
        return Partials(through={"h": {"u": d}}, around={"h": {"h": u, "z": sigmoid(-p["u"] - other), "p": d}})
