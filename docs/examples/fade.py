"""Units that decay, each at a rate set by the input; they do not interact."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class Fade(OneMapCell):
    """State s = [h].

    f = sigmoid(W_f x + b_f)    n = tanh(W_n x + b_n)    h' = f h + (1 - f) n
    """

    parts = ("h",)
    gates = {"f": Gate("forget", (0, 1), keeps=+1), "n": Gate("candidate", (-1, 1))}
    recurrent_weights = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["f"]), tanh(p["n"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        f, n = self.activations(p, s)
        return {"h": f * s["h"] + (1 - f) * n}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        f, n = self.activations(p, s)
        through = {"f": (s["h"] - n) * dsigmoid(p["f"]), "n": (1 - f) * dtanh(p["n"])}
        return Partials(through={"h": through}, around={"h": {"h": f}})
