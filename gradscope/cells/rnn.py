"""Vanilla recurrent network (Elman 1990), tanh or relu."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import ACTIVATIONS, Array, Gate, OneMapCell, Partials, Parts, Preactivations


@dataclass(frozen=True, eq=False)
class RNN(OneMapCell):
    """h' = phi(W x + b_ih + U h + b_hh), phi = tanh or relu; state s = [h].

    There is no skip path: J = diag(phi') U, and every step back crosses U.
    Elman (1990); as torch.nn.RNN.
    """

    activation: str = "tanh"

    parts = ("h",)
    gates = {"h": Gate("hidden")}
    choices = {"activation": ("tanh", "relu")}
    skip_path = False

    @property
    def kinks(self) -> bool:
        return self.activation == "relu"

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        phi = ACTIVATIONS[self.activation]
        return {"h": (phi.low, phi.high)}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (ACTIVATIONS[self.activation].f(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": self.activations(p, s)[0]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": ACTIVATIONS[self.activation].df(p["h"])}})
