"""FastGRNN: a gate and a candidate that share their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class FastGRNN(OneMapCell):
    """State s = [h].

    p = U h + W x    z = sigmoid(p + b_z)    g = tanh(p + b_g)    h' = (sigmoid(zeta) (1 - z) + sigmoid(nu)) g + z h

    d h'/d h = z around the weights. One matrix serves both, so that what opens the gate also drives the candidate.
    Kusupati, Singh, Bhatia, Kumar, Jain & Varma (2018); zeta = 1 and nu = -4 as there in the beginning.
    """

    b: Array | None = None  # (2, H): b_z, b_g
    zeta: float = 1.0
    nu: float = -4.0

    parts = ("h",)
    gates = {"p": Gate("shared")}

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"b": np.ones((2, hidden)), "b_ih": None, "b_hh": None}

    def _values(self, p: Array) -> tuple[Array, Array, Array, Array]:
        b_z, b_g = self.column("b")
        write, always = (float(sigmoid(np.array(x))) for x in (self.zeta, self.nu))
        return p + b_z, p + b_g, sigmoid(p + b_z), write * sigmoid(-p - b_z) + always

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (p["p"],)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        _, g, z, write = self._values(p["p"])
        return {"h": write * tanh(g) + z * s["h"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        to_gate, g, z, write = self._values(p["p"])
        zeta = float(sigmoid(np.array(self.zeta)))
        d = (s["h"] - zeta * tanh(g)) * dsigmoid(to_gate) + write * dtanh(g)
        return Partials(through={"h": {"p": d}}, around={"h": {"h": z}})
