"""Closed-form continuous-time network (liquid)."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class CfC(OneMapCell):
    """State s = [h].

    h' = sigmoid(-f dt) tanh(g) + sigmoid(f dt) tanh(k)    f, g, k = U h + W x + b

    Nothing goes around the weights: the gate chooses between two new values, and the old state is in neither.
    Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl & Rus (2022), without a backbone; their code adds to
    f dt a product that dt does not multiply, which at dt = 1 is the same.
    """

    dt: float = 1.0

    parts = ("h",)
    gates = {
        "f": Gate("time", (0, 1)),
        "g": Gate("early", (-1, 1)),
        "k": Gate("late", (-1, 1)),
    }
    limits = {"dt": "(0, inf)"}
    skip_path = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["f"] * self.dt), tanh(p["g"]), tanh(p["k"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        late, g, k = self.activations(p, s)
        return {"h": g + late * (k - g)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        f, dt = p["f"], self.dt
        late, g, k = self.activations(p, s)
        through = {
            "f": dt * (k - g) * dsigmoid(f * dt),
            "g": sigmoid(-f * dt) * dtanh(p["g"]),
            "k": late * dtanh(p["k"]),
        }
        return Partials(through={"h": through})
