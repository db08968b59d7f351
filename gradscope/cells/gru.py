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
    """GRU; state s = [h]. PyTorch's sign: z near 1 keeps the OLD h; Chung et al. write 1 - z for it.

    r, z = sigmoid(p)    n = tanh(p_x + r p)          h' = (1 - z) n + z h    (reset after)
    r, z = sigmoid(p)    n = tanh(p_x + U_n (r h))    h' = (1 - z) n + z h    (reset before)

    d h'/d h = z around the weights, what f is to the LSTM.
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
        first, second = self.blocks(2)
        return _Gates(*first), _Candidate(*second)

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        r, z = sigmoid(p["r", "z"])
        return r, z, tanh(p["n_x"] + r * p["n"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        _, z, n = self.activations(p, s)
        return {"h": n + z * (s["h"] - n)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        r, z, n = self.activations(p, s)
        dr, dz = dsigmoid(p["r", "z"])
        dn = (1 - z) * dtanh(p["n_x"] + r * p["n"])
        through = {"r": dn * p["n"] * dr, "z": (s["h"] - n) * dz, "n": dn * r, "n_x": dn}
        return Partials(through={"h": through}, around={"h": {"h": z}})


class _Gates(Map):
    """Reset before, first half: keeps h, and makes z and q = r h."""

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
        return Partials(through={"z": {"z": dz}, "q": {"r": s["h"] * dr}}, around={"h": {"h": 1}, "q": {"h": r}})


class _Candidate(Map):
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
