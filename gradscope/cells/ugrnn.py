"""Update gate RNN: a vanilla network with one gate."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class UGRNN(OneMapCell):
    """State s = [h].

    c = tanh(p)    g = sigmoid(p)    h' = g h + (1 - g) c

    d h'/d h = g around the weights. Here g near 1 keeps the old state.
    Collins, Sohl-Dickstein & Sussillo (2017).
    """

    parts = ("h",)
    gates = {"c": Gate("candidate", (-1, 1)), "g": Gate("update", (0, 1), keeps=+1)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return tanh(p["c"]), sigmoid(p["g"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        c, g = self.activations(p, s)
        return {"h": c + g * (s["h"] - c)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        c, g = self.activations(p, s)
        through = {"c": sigmoid(-p["g"]) * dtanh(p["c"]), "g": (s["h"] - c) * dsigmoid(p["g"])}
        return Partials(through={"h": through}, around={"h": {"h": g}})
