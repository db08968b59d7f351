"""RWKV, the recurrence of its time mixing, without its gauge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, sigmoid, softplus


@dataclass(frozen=True, eq=False)
class RWKV(OneMapCell):
    """State [q, l]: q the mean of what was seen, weighted by e^k and age, l the log of the sum of these weights.

    k = W_k x    v = W_v x    t = k - (l - d)    q' = sigmoid(-t) q + sigmoid(t) v    l' = l - d + softplus(t)

    The decay of a channel is d = e^w. The paper keeps numerator and denominator, a' = e^-d a + e^k v and b' = e^-d b +
    e^k; here q = a / b and l = log b. Around is all there is: d q'/d q = d l'/d l = sigmoid(-t). The output, (a + e^(u
    + k) v) / (b + e^(u + k)) with a bonus u for the current input, times the receptance, is read from q and l, and not
    fed back; the shift before it, which mixes inputs of two steps, is left out. Zeros are a start with a weight of one
    on q = 0, where the paper starts with none.
    Peng, Alcaide, Anthony et al. (2023); w as there at the bottom layer, -5 + 8 (i / (H - 1))^0.7.
    """

    w: Array | None = None

    parts = ("q", "l")
    gates = {"k": Gate("key"), "v": Gate("value")}
    recurrent_weights = False
    no_weights = ("w",)

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        return {"w": -5 + 8 * (np.arange(hidden) / max(hidden - 1, 1)) ** 0.7, "b_ih": None}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return p["k"], p["v"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        q, k, v = s["q"], p["k"], p["v"]
        old = s["l"] - np.exp(self.column("w"))
        return {"q": q + sigmoid(k - old) * (v - q), "l": old + softplus(k - old)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        t = p["k"] - s["l"] + np.exp(self.column("w"))
        let, keep, w = sigmoid(t), sigmoid(-t), dsigmoid(t) * (p["v"] - s["q"])
        return Partials(
            through={"q": {"k": w, "v": let}, "l": {"k": let}}, around={"q": {"q": keep, "l": -w}, "l": {"l": keep}}
        )
