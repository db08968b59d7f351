"""RWKV, the recurrence of its time mixing, without its gauge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, sigmoid, softplus


@dataclass(frozen=True, eq=False)
class RWKV(Cell):
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
    gates = ("k", "v")
    gate_names: ClassVar = {"k": "key", "v": "value"}
    recurrent_weights: ClassVar = False
    no_weights: ClassVar = ("w",)

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        return {"w": -5 + 8 * (np.arange(hidden) / max(hidden - 1, 1)) ** 0.7, "b_ih": None}

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        k, value = a + v
        old = s[1] - np.exp(self.column("w"))
        return s[0] + sigmoid(k - old) * (value - s[0]), old + softplus(k - old)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        k, value = a + v
        t = k - s[1] + np.exp(self.column("w"))
        let, keep, w = sigmoid(t), sigmoid(-t), dsigmoid(t) * (value - s[0])
        return Partials(through=[[w, let], [let, 0]], around=[[keep, -w], [0, keep]])
