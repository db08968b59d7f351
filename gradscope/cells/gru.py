"""Gated recurrent unit, reset after the matrix product (PyTorch, cuDNN) or before it (Cho et al.)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gradscope.networks import (
    Array,
    Gate,
    Map,
    OneMapCell,
    Partials,
    Parts,
    Preactivations,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class GRU(OneMapCell):
    """GRU; state s = [h]. PyTorch's sign: z near 1 keeps the OLD h; the z of Chung et al. is 1 - z here.

    r = sigmoid(p_r)    z = sigmoid(p_z)    h' = (1 - z) n + z h

    n = tanh(p_n_x + r p_n)                              (reset after)
    n = tanh(p_n), with p_n = W_n x + U_n (r h) + b_n    (reset before)

    d h'/d h = z around the weights, as d c'/d c = f in an LSTM.
    Cho et al. (2014); reset after: as torch.nn.GRU and cuDNN.
    """

    reset: str = "after"

    parts = ("h",)
    gates = {  # row blocks of U, W and b, as in PyTorch
        "r": Gate("reset", (0, 1)),
        "z": Gate("update", (0, 1), keeps=+1),
        "n": Gate("candidate", (-1, 1), split=True),
    }
    choices = {"reset": ("after", "before")}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        if self.reset == "after":
            return (self,)
        first, second = self.blocks(gates=2)  # rows of r and z, and of n
        return _ResetBeforeGates(*first), _ResetBeforeCandidate(*second)

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        r, z = sigmoid(p["r", "z"])
        return r, z, tanh(p["n_x"] + r * p["n"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        _, z, n = self.activations(p, s)
        return {"h": n + z * (s["h"] - n)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        r, z, n = self.activations(p, s)
        dr, dz = dsigmoid(p["r", "z"])
        dh_n = (1 - z) * dtanh(p["n_x"] + r * p["n"])  # equal expressions are evaluated once (kernels.tape)
        through = {"r": dh_n * p["n"] * dr, "z": (s["h"] - n) * dz, "n": dh_n * r, "n_x": dh_n}
        return Partials(through={"h": through}, around={"h": {"h": z}})


# Names, intervals and signs of the gates are those of `GRU.gates`; here a bare Gate() only gives the order of the rows.


class _ResetBeforeGates(Map):
    """Reset before, first half: h is copied, z and q = r h are computed."""

    old_parts = ("h",)
    parts = ("h", "z", "q")
    gates = {"r": Gate(), "z": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return tuple(sigmoid(p["r", "z"]))

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        r, z = self.activations(p, s)
        return {"h": s["h"], "z": z, "q": r * s["h"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        r, _ = self.activations(p, s)
        dr, dz = dsigmoid(p["r", "z"])
        return Partials(
            through={"z": {"z": dz}, "q": {"r": s["h"] * dr}},
            around={"h": {"h": 1}, "q": {"h": r}},  # the integer 1: copied
        )


class _ResetBeforeCandidate(Map):
    """Reset before, second half: n from U_n q, then the mixture of n and h."""

    old_parts = ("h", "z", "q")
    gates = {"n": Gate()}
    reads = "q"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["n"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        h, z = s["h", "z"]
        (n,) = self.activations(p, s)
        return {"h": (1 - z) * n + z * h}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        h, z = s["h", "z"]
        (n,) = self.activations(p, s)
        return Partials(through={"h": {"n": (1 - z) * dtanh(p["n"])}}, around={"h": {"h": z, "z": h - n}})
