"""Simple recurrent unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class SRU(OneMapCell):
    """State s = [c]; the output r c' + (1 - r) x is read from it, and is not fed back.

    z = W_z x + b_z    f = sigmoid(W_f x + b_f + u c)    c' = f c + (1 - f) z

    J = diag(f + (c - z) f (1 - f) u): no weights between units, a gate that sees its own.
    Lei, Zhang, Wang, Dai & Artzi (2018), the version whose gates see c, with a bias for z; u of variance 1/2,
    uniform, as in their code.
    """

    u: Array | None = None

    parts = ("c",)
    gates = {"z": Gate("candidate"), "f": Gate("forget", (0, 1), keeps=+1)}
    recurrent_weights = False

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"u": rng.uniform(-1, 1, hidden) * np.sqrt(1.5)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return p["z"], sigmoid(p["f"] + self.column("u") * s["c"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        z, f = self.activations(p, s)
        return {"c": z + f * (s["c"] - z)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        z, u = p["z"], self.column("u")
        f = p["f"] + u * s["c"]
        df = (s["c"] - z) * dsigmoid(f)
        return Partials(through={"c": {"z": sigmoid(-f), "f": df}}, around={"c": {"c": sigmoid(f) + u * df}})
