"""Minimal LSTM: gates that see the input only."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, log_sigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class MinLSTM(OneMapCell):
    """State s = [h].

    i, f = sigmoid(W x + b)    k = f / (f + i)    n = W_n x + b_n    h' = k h + (1 - k) n

    J = diag(k): around is all there is. k = sigmoid(log f - log i), so that two shut gates still say what to keep.
    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024).
    """

    parts = ("h",)
    gates = {
        "i": Gate("input", (0, 1), keeps=-1),
        "f": Gate("forget", (0, 1), keeps=+1),
        "n": Gate("candidate"),
    }
    recurrent_weights = False

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["i"]), sigmoid(p["f"]), p["n"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        i, f, n = p["i", "f", "n"]
        return {"h": n + sigmoid(log_sigmoid(f) - log_sigmoid(i)) * (s["h"] - n)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        i, f, n = p["i", "f", "n"]
        k = log_sigmoid(f) - log_sigmoid(i)
        d = (s["h"] - n) * dsigmoid(k)
        through = {"i": -d * sigmoid(-i), "f": d * sigmoid(-f), "n": sigmoid(-k)}
        return Partials(through={"h": through}, around={"h": {"h": sigmoid(k)}})
