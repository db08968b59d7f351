"""Minimal GRU: gates that see the input only."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class MinGRU(OneMapCell):
    """State s = [h].

    z = sigmoid(W_z x + b_z)    n = W_n x + b_n    h' = (1 - z) h + z n

    J = diag(1 - z): around is all there is. Here z near 1 forgets.
    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024).
    """

    parts = ("h",)
    gates = {"z": Gate("update", (0, 1), keeps=-1), "n": Gate("candidate")}
    recurrent_weights = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["z"]), p["n"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        z, n = self.activations(p, s)
        return {"h": s["h"] + z * (n - s["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        z, n = self.activations(p, s)
        through = {"z": (n - s["h"]) * dsigmoid(p["z"]), "n": z}
        return Partials(through={"h": through}, around={"h": {"h": sigmoid(-p["z"])}})
