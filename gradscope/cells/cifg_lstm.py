"""Long short-term memory with coupled input and forget gates."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class CIFGLSTM(OneMapCell):
    """LSTM with i = 1 - f; state s = [h, c].

    f, o = sigmoid(p)    g = tanh(p)    c' = f c + (1 - f) g    h' = o tanh(c')

    d c'/d c = f around the weights, as in an LSTM; the cell is a mean of g and cannot grow beyond one.
    Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber (2017).
    """

    parts = ("h", "c")
    gates = {
        "f": Gate("forget", (0, 1), keeps=+1),
        "g": Gate("cell", (-1, 1)),
        "o": Gate("output", (0, 1)),
    }

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["f"]), tanh(p["g"]), sigmoid(p["o"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        f, g, o = self.activations(p, s)
        c = g + f * (s["c"] - g)
        return {"h": o * tanh(c), "c": c}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        c = s["c"]
        f, g, o = self.activations(p, s)
        new = g + f * (c - g)
        df, dg, do = (c - g) * dsigmoid(p["f"]), sigmoid(-p["f"]) * dtanh(p["g"]), tanh(new) * dsigmoid(p["o"])
        e = o * dtanh(new)  # d h'/d c' within the step
        return Partials(
            through={"h": {"f": e * df, "g": e * dg, "o": do}, "c": {"f": df, "g": dg}},
            around={"h": {"c": e * f}, "c": {"c": f}},
            within={"h": {"c": e}},
        )
