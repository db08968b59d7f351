"""Orthogonal network by the exponential map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Map, Parts


@dataclass(frozen=True, eq=False)
class ExpRNN(Cell):
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
    gates = ("h",)
    gate_names: ClassVar = {"h": "hidden"}
    recurrent_weights: ClassVar = False
    kinks: ClassVar = True
    products: ClassVar = 1
    road: ClassVar = False

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
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

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        off = self.evolve(x, s) == 0
        return {
            "units that are off": Fact(float(off.mean()), "share of units and steps looked at: they pass no gradient")
        }


@dataclass(frozen=True, eq=False)
class _ModReLU(Map):
    """Shrinks or grows every unit by its bias, down to zero."""

    b: Array | None = None

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        p, b = (a + v)[0], np.asarray(self.b)[:, None]
        return (np.where(np.abs(p.real) + b > 0, p + b * np.sign(p.real), 0),)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return self.activations(a, v, s)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = (a + v)[0]
        return Partials(through=[[(np.abs(p) + np.asarray(self.b)[:, None] > 0).astype(p.dtype)]], around=[[0]])
