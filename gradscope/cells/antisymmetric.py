"""Antisymmetric RNN, plain and gated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Fact, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class AntisymmetricRNN(Cell):
    """h' = h + epsilon z tanh(M h + W x + b), M = U - U^T - gamma; state s = [h].

    z = 1, or sigmoid(M h + W_z x + b_z) with gate = input. With gamma = 0 the differential equation that it follows
    neither forgets nor explodes near rest; steps of Euler's method grow by sqrt(1 + epsilon^2 w^2) along an eigenvalue
    i w of M, and gamma damps that. d h'/d h = 1 around the weights.
    Chang, Chen, Haber & Chi (2019); U from N(0, 1 / H).
    """

    W_z: Array | None = None
    b_z: Array | None = None
    epsilon: float = 0.1
    gamma: float = 0.01
    gate: str = "none"

    parts = ("h",)
    gates = ("h",)
    limits: ClassVar = {"epsilon": "(0, inf)", "gamma": "[0, inf)"}
    choices: ClassVar = {"gate": ("none", "input")}
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (-1, 1)}

    @classmethod
    def own(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Array | None]:
        U = rng.standard_normal((hidden, hidden)) / np.sqrt(hidden)
        k = 1 / np.sqrt(inputs)
        gate = {"W_z": rng.uniform(-k, k, (hidden, inputs)), "b_z": np.zeros(hidden)}
        return {"U": U} | (gate if settings["gate"] == "input" else {})

    @property
    def M(self) -> Array:  # noqa: N802  as in the paper
        """The matrix that h is multiplied by, U - U^T - gamma."""
        assert self.U is not None
        return np.asarray(self.U - self.U.T - self.gamma * np.eye(self.width, dtype=self.U.dtype))

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        if self.gate == "none":
            return (_Step(self.W, self.M, self.bias, None, self.epsilon),)
        assert self.W is not None and self.W_z is not None and self.b_z is not None
        bias = np.zeros_like(self.b_z) if self.bias is None else self.bias
        W, M, b = np.concatenate([self.W, self.W_z]), np.tile(self.M, (2, 1)), np.concatenate([bias, self.b_z])
        return (_GatedStep(W, M, b, None, self.epsilon),)

    def facts(self, x: Array, s: Array) -> dict[str, Fact]:
        factors = np.abs(1 + self.epsilon * np.linalg.eigvals(self.M))
        return {
            "largest Euler factor": Fact(
                float(factors.max()),
                "|1 + epsilon mu| of one step, mu an eigenvalue of M, units at rest and no gate shut",
            )
        }


@dataclass(frozen=True, eq=False)
class _Step(Map):
    """Euler's step."""

    epsilon: float = 0.1

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        return (s[0] + self.epsilon * tanh((a + v)[0]),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        return Partials(through=[[self.epsilon * dtanh((a + v)[0])]], around=[[1]])


@dataclass(frozen=True, eq=False)
class _GatedStep(Map):
    """Euler's step with a gate that has the same recurrent weights."""

    epsilon: float = 0.1

    gates = ("h", "z")

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        h, z = a + v
        return tanh(h), sigmoid(z)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        h, z = self.activations(a, v, s)
        return (s[0] + self.epsilon * (z * h),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        p = a + v
        h, z = self.activations(a, v, s)
        through = [self.epsilon * (z * dtanh(p[0])), self.epsilon * (h * dsigmoid(p[1]))]
        return Partials(through=[through], around=[[1]])
