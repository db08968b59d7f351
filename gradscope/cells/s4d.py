"""Diagonal structured state space (S4D)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, ComplexDiagonal, Gate, Map, MapsCell


@dataclass(frozen=True, eq=False)
class S4D(MapsCell):
    """For each of H channels u = W x + b, N complex states; state [re, im], N after N of each channel.

    z' = exp(dt A) z + (exp(dt A) - 1) / A u    (zero-order hold, B = 1)

    A of a channel is -1/2 + i pi n (`a_init` lin) or -1/2 + i 2N/pi (2N / (2 n + 1) - 1) (inv), n = 0, ..., N - 1, and
    dt its own step; the N states stand for 2N, the others being their conjugates. J is the same at every step, |exp(dt
    A)| = exp(-dt / 2). The output C z + D u is read from z, and not fed back.
    Gu, Goel, Gupta & Re (2022); dt from dt_min to dt_max, uniform in its logarithm.
    """

    log_dt: Array | None = None
    A: Array | None = None  # (2, H, N): log of -Re, Im
    states: int = 16
    a_init: str = "lin"
    dt_min: float = 0.001
    dt_max: float = 0.1

    parts = ("re", "im")
    gates = {"u": Gate("input")}
    limits = {"states": "[1, 65536]", "dt_min": "(0, dt_max]", "dt_max": "(0, inf)"}
    choices = {"a_init": ("lin", "inv")}
    recurrent_weights = False
    no_weights = ("log_dt", "A")
    cost = "O(H states)"

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        n, count = np.arange(settings["states"]), settings["states"]
        inverse = 2 * count / np.pi * (2 * count / (2 * n + 1) - 1)
        imaginary = np.pi * n if settings["a_init"] == "lin" else inverse
        each = np.array([np.full(count, np.log(0.5)), imaginary])
        low, high = np.log(settings["dt_min"]), np.log(settings["dt_max"])
        return {"log_dt": rng.uniform(low, high, hidden), "A": np.repeat(each[:, None], hidden, axis=1)}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.W is not None and self.A is not None and self.log_dt is not None
        A = -np.exp(self.A[0]) + 1j * self.A[1]
        held = np.exp(self.log_dt)[:, None] * A
        entering = (np.expm1(held) / A).ravel()
        both, count = np.concatenate([entering.real, entering.imag]), self.A.shape[2]

        def spread(w: Array) -> Array:
            rows = np.repeat(w, count, axis=0)
            return np.asarray((np.concatenate([rows, rows]).T * both).T, w.dtype)

        eigenvalues = np.exp(held).ravel()
        parts = np.array([eigenvalues.real, eigenvalues.imag], self.W.dtype)
        bias = None if self.b_ih is None else spread(self.b_ih)
        return (ComplexDiagonal(spread(self.W), None, bias, None, parts),)
