"""Selective state space: the recurrence of Mamba."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, Map, MapsCell, Partials, Parts, Preactivations, sigmoid, softplus


@dataclass(frozen=True, eq=False)
class SelectiveSSM(MapsCell):
    """H channels with N states each; state s = [h], the N states of a channel beside one another.

    u = W x + b    d = softplus(D_2 D_1 u + b_d)    h' = exp(d A) h + d (B u) u

    with d and u of the channel, B u of the state, A = -exp(A_log) of both. J = diag(exp(d A)): time constant 1 / (d
    |A|) steps, chosen by the input. The output (C u) . h + D u is read from h, and not fed back; the convolution
    and the SiLU before it are left out.
    Gu & Dao (2024), Mamba-1; A_log = log(1, ..., N), softplus(b_d) from 0.001 to 0.1, uniform in its logarithm, D_1 of
    rank H / 16 (in their code a sixteenth of the model's width, which is half of H).
    """

    A_log: Array | None = None  # (H, N)
    B: Array | None = None  # (N, H)
    D_1: Array | None = None  # (rank, H)
    D_2: Array | None = None  # (H, rank)
    b_d: Array | None = None  # (H,)
    states: int = 16

    parts = ("h",)
    gates = {"u": Gate("input")}
    limits = {"states": "[1, 65536]"}
    recurrent_weights = False
    no_weights = ("A_log", "b_d")
    cost = "O(H states)"

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        rank, states, k = -(-hidden // 16), settings["states"], 1 / np.sqrt(hidden)
        dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), hidden))
        return {
            "A_log": np.tile(np.log(np.arange(1.0, states + 1)), (hidden, 1)),
            "B": rng.uniform(-k, k, (states, hidden)),
            "D_1": rng.uniform(-k, k, (rank, hidden)),
            "D_2": rng.uniform(-1, 1, (hidden, rank)) / np.sqrt(rank),
            "b_d": dt + np.log(-np.expm1(-dt)),  # softplus of it is dt
        }

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.W is not None and self.A_log is not None and self.b_d is not None
        assert self.B is not None and self.D_1 is not None and self.D_2 is not None
        states, channels = self.A_log.shape[1], len(self.A_log)
        bias = np.zeros(channels, self.W.dtype) if self.b_ih is None else self.b_ih

        def spread(w: Array, more: Array | None = None) -> Array:
            step = self.D_2 @ (self.D_1 @ w)
            step = step if more is None else step + more
            rows = (
                np.repeat(step, states, 0),
                np.tile(self.B @ w, (channels, 1) if w.ndim > 1 else channels),
                np.repeat(w, states, 0),
            )
            return np.concatenate(rows)

        return (_Scan(spread(self.W), None, spread(bias, self.b_d), None, -np.exp(self.A_log).ravel()),)


@dataclass(frozen=True, eq=False)
class _Scan(Map):
    """Every state on its own: d of its channel, B of its number, u of its channel."""

    A: Array | None = None

    gates = {
        "d": Gate(),
        "B": Gate(),
        "u": Gate(),
    }

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return softplus(p["d"]), p["B"], p["u"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        d, B, u = self.activations(p, s)
        return {"h": np.exp(d * self.column("A")) * s["h"] + d * (B * u)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        d, B, u = self.activations(p, s)
        A = self.column("A")
        keep = np.exp(d * A)
        through = {"d": (A * keep * s["h"] + B * u) * sigmoid(p["d"]), "B": d * u, "u": d * B}
        return Partials(through={"h": through}, around={"h": {"h": keep}})
