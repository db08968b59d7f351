"""Leaky echo state network: a reservoir whose weights are not trained."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dtanh, tanh


@dataclass(frozen=True, eq=False)
class ESN(OneMapCell):
    """h' = (1 - alpha) h + alpha tanh(U h + W x + b); state s = [h].

    U is drawn once, and scaled to a spectral radius: `--init reservoir`, with the settings `radius` and `density`.
    Nothing trains it; gradients are of interest all the same, since what a reservoir remembers decays as they do. d
    h'/d h = 1 - alpha around the weights.
    Jaeger (2001); leaky: Jaeger, Lukosevicius, Popovici & Siewert (2007).
    """

    alpha: float = 1.0

    parts = ("h",)
    gates = {"h": Gate("hidden", (-1, 1))}
    limits = {"alpha": "(0, 1]"}
    usual_init = "reservoir"
    skip_path = "alpha < 1"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        (new,) = self.activations(p, s)
        return {"h": s["h"] + self.alpha * (new - s["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": self.alpha * dtanh(p["h"])}}, around={"h": {"h": 1 - self.alpha}})
