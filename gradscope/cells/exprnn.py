"""Orthogonal network by the exponential map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, Map, MapsCell, Partials, Parts, Preactivations, Property


@dataclass(frozen=True, eq=False)
class ExpRNN(MapsCell):
    """h' = modrelu(Q h + W x), Q = exp(A - A^T) orthogonal; state s = [h].

    modrelu(p) = sign(p) relu(|p| + b). J = diag(1 where the unit is on) Q: nothing is lost but what units that are
    off take away, and nothing can explode. Where b > 0 a unit jumps by 2 b as p passes zero, of which no derivative
    tells.
    Lezcano-Casado & Martinez-Rubio (2019); A - A^T of 2 x 2 blocks with angles from U(-pi, pi) and b from U(-0.01,
    0.01), as there.
    """

    A: Array | None = None
    b: Array | None = None

    parts = ("h",)
    gates = {"h": Gate("hidden")}
    recurrent_weights = False
    kinks = True
    products = 1
    skip_path = False

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        A = np.zeros((hidden, hidden))
        first = np.arange(0, hidden - 1, 2)
        A[first, first + 1] = rng.uniform(-np.pi, np.pi, len(first))
        return {"A": A, "b": rng.uniform(-0.01, 0.01, hidden), "b_ih": None}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.A is not None
        angles, planes = np.linalg.eigh(1j * (self.A - self.A.T))  # orthogonal to the last digit, whatever their size
        Q = ((planes * np.exp(-1j * angles)) @ planes.conj().T).real
        return (_ModReLU(self.W, Q.astype(self.A.dtype), self.b_ih, None, self.b),)

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        off = self.evolve(x, s) == 0
        return {
            "units that are off": Property(
                float(off.mean()), "share of units and steps looked at: they pass no gradient"
            )
        }


@dataclass(frozen=True, eq=False)
class _ModReLU(Map):
    """Shrinks or grows every unit by its bias, down to zero."""

    b: Array | None = None

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        h, b = p["h"], self.column("b")
        return (np.where(np.abs(h.real) + b > 0, h + b * np.sign(h.real), 0),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": self.activations(p, s)[0]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h = p["h"]
        return Partials(through={"h": {"h": (np.abs(h) + self.column("b") > 0).astype(h.dtype)}})
