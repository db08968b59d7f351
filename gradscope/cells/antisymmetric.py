"""Antisymmetric RNN, plain and gated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import (
    Array,
    Gate,
    Map,
    MapsCell,
    Partials,
    Parts,
    Preactivations,
    Property,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class AntisymmetricRNN(MapsCell):
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
    gates = {"h": Gate("hidden", (-1, 1))}
    limits = {"epsilon": "(0, inf)", "gamma": "[0, inf)"}
    choices = {"gate": ("none", "input")}

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
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

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        factors = np.abs(1 + self.epsilon * np.linalg.eigvals(self.M))
        return {
            "largest Euler factor": Property(
                float(factors.max()),
                "|1 + epsilon mu| of one step, mu an eigenvalue of M, units at rest and no gate shut",
            )
        }


@dataclass(frozen=True, eq=False)
class _Step(Map):
    """Euler's step."""

    epsilon: float = 0.1

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["h"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        return {"h": s["h"] + self.epsilon * tanh(p["h"])}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        return Partials(through={"h": {"h": self.epsilon * dtanh(p["h"])}}, around={"h": {"h": 1}})


@dataclass(frozen=True, eq=False)
class _GatedStep(Map):
    """Euler's step with a gate that has the same recurrent weights."""

    epsilon: float = 0.1

    gates = {"h": Gate(), "z": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return tanh(p["h"]), sigmoid(p["z"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        h, z = self.activations(p, s)
        return {"h": s["h"] + self.epsilon * (z * h)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h, z = self.activations(p, s)
        through = {"h": self.epsilon * (z * dtanh(p["h"])), "z": self.epsilon * (h * dsigmoid(p["z"]))}
        return Partials(through={"h": through}, around={"h": {"h": 1}})
