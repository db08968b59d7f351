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

    z = tanh(p_z), with p_z = W x + b_z
    u = sigmoid(p_u + p), with p_u = U h + b and p = U_z z
    h' = u h + (1 - u) z

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
            _EmbedInput(self.W, None, self.b_z, None),
            _MultiplyInput(None, self.U_z, None, None),
            _Update(None, self.U, None, self.bias),
        )


# Names, intervals and signs of gates are those of `MinimalRNN.gates`; a bare Gate() only gives the order of the rows.


class _EmbedInput(Map):
    """First map: h is copied, z is computed from the input."""

    old_parts = ("h",)
    parts = ("h", "z")
    gates = {"z": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["z"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": s["h"], "z": tanh(p["z"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"z": {"z": dtanh(p["z"])}}, around={"h": {"h": 1}})  # the integer 1: copied


class _MultiplyInput(Product):
    """Second map: h and z are copied, p = U_z z is computed."""

    old_parts = ("h", "z")
    parts = ("h", "z", "p")
    reads = "z"


class _Update(Map):
    """Third map: u from U h and p, then the mixture of h and z."""

    old_parts = ("h", "z", "p")
    gates = {"u": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (sigmoid(p["u"] + s["p"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        h, z = s["h", "z"]
        (u,) = self.activations(p, s)
        return {"h": z + u * (h - z)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h, z, product = s["h", "z", "p"]  # product: U_z z
        (u,) = self.activations(p, s)
        dh_u = (h - z) * dsigmoid(p["u"] + product)
        around = {"h": u, "z": sigmoid(-p["u"] - product), "p": dh_u}
        return Partials(through={"h": {"u": dh_u}}, around={"h": around})
