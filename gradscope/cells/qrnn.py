"""Quasi-recurrent network."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class QRNN(OneMapCell):
    """Forget-gate pooling; state s = [c]. An output gate, where there is one, is read from it and not fed back.

    z = tanh(W_z x + b_z)    f = sigmoid(W_f x + b_f)    c' = f c + (1 - f) z

    J = diag(f): what the input says, and nothing else, decides how far gradients reach. The convolution has width 1:
    a wider one sees more of the input, and changes no derivative in c.
    Bradbury, Merity, Xiong & Socher (2017).
    """

    parts = ("c",)
    gates = {"z": Gate("candidate", (-1, 1)), "f": Gate("forget", (0, 1), keeps=+1)}
    recurrent_weights = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return tanh(p["z"]), sigmoid(p["f"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        z, f = self.activations(p, s)
        return {"c": z + f * (s["c"] - z)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        z, f = self.activations(p, s)
        through = {"z": sigmoid(-p["f"]) * dtanh(p["z"]), "f": (s["c"] - z) * dsigmoid(p["f"])}
        return Partials(through={"c": through}, around={"c": {"c": f}})
