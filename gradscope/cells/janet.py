"""Just another network: an LSTM with a forget gate and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class JANET(OneMapCell):
    """State s = [h], the cell itself.

    h' = sigmoid(f) h + (1 - sigmoid(f - beta)) tanh(g)    f, g = U h + W x + b

    d h'/d h = sigmoid(f) around the weights. With beta = 1 what is kept and what is written add up to more than one.
    van der Westhuizen & Lasenby (2018).
    """

    beta: float = 1.0

    parts = ("h",)
    gates = {"f": Gate("forget", (0, 1), keeps=+1), "g": Gate("cell", (-1, 1))}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["f"]), tanh(p["g"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        f, g = self.activations(p, s)
        return {"h": f * s["h"] + sigmoid(self.beta - p["f"]) * g}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        f, g = self.activations(p, s)
        df = s["h"] * dsigmoid(p["f"]) - g * dsigmoid(p["f"] - self.beta)
        dg = sigmoid(self.beta - p["f"]) * dtanh(p["g"])
        return Partials(through={"h": {"f": df, "g": dg}}, around={"h": {"h": f}})
