"""Simple recurrent unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class SRU(Cell):
    """State s = [c]; the output r c' + (1 - r) x is read from it, and is not fed back.

    z = W_z x + b_z    f = sigmoid(W_f x + b_f + u c)    c' = f c + (1 - f) z

    J = diag(f + (c - z) f (1 - f) u): no weights between units, a gate that sees its own.
    Lei, Zhang, Wang, Dai & Artzi (2018), the version whose gates see c, with a bias for z; u of variance 1/2,
    uniform, as in their code.
    """

    u: Array | None = None

    parts = ("c",)
    gates = ("z", "f")
    gate_names: ClassVar = {"z": "candidate", "f": "forget"}
    keep_gates: ClassVar = {"f": 1}
    squash: ClassVar = {"f": (0, 1)}
    recurrent_weights: ClassVar = False

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"u": rng.uniform(-1, 1, hidden) * np.sqrt(1.5)}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        z, f = a + v
        return z, sigmoid(f + self.column("u") * s[0])

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        z, f = self.activations(a, v, s)
        return (z + f * (s[0] - z),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        z, p = a + v
        u = self.column("u")
        p = p + u * s[0]
        f, df = sigmoid(p), (s[0] - z) * dsigmoid(p)
        return Partials(through=[[sigmoid(-p), df]], around=[[f + u * df]])
