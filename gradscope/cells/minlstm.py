"""Minimal LSTM: gates that see the input only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Parts
from gradscope.networks.elementwise import dsigmoid, log_sigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class MinLSTM(Cell):
    """State s = [h].

    i, f = sigmoid(W x + b)    k = f / (f + i)    n = W_n x + b_n    h' = k h + (1 - k) n

    J = diag(k): around is all there is. k = sigmoid(log f - log i), so that two shut gates still say what to keep.
    Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024).
    """

    parts = ("h",)
    gates = ("i", "f", "n")
    gate_names: ClassVar = {"i": "input", "f": "forget", "n": "candidate"}
    keep_gates: ClassVar = {"f": 1, "i": -1}
    squash: ClassVar = {"i": (0, 1), "f": (0, 1)}
    recurrent_weights: ClassVar = False

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        i, f, n = a + v
        return sigmoid(i), sigmoid(f), n

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        i, f, n = a + v
        return (n + sigmoid(log_sigmoid(f) - log_sigmoid(i)) * (s[0] - n),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        i, f, n = a + v
        k = log_sigmoid(f) - log_sigmoid(i)
        d = (s[0] - n) * dsigmoid(k)
        return Partials(through=[[-d * sigmoid(-i), d * sigmoid(-f), sigmoid(-k)]], around=[[sigmoid(k)]])
