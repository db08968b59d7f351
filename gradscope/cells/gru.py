"""Gated recurrent unit, reset after the matrix product (PyTorch, cuDNN) or before it (Cho et al.)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.cell import Cell, Map, Parts
from gradscope.networks.elementwise import dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class GRU(Cell):
    """GRU; state s = [h]. PyTorch's sign: z near 1 keeps the OLD h; Chung et al. write 1 - z for it.

    r, z = sigmoid(a + v)    n = tanh(v + r a)    h' = (1 - z) n + z h        (reset after)
    r, z = sigmoid(a + v)    n = tanh(v + U_n (r h))    h' = (1 - z) n + z h  (reset before)

    d h'/d h = z around the weights, what f is to the LSTM.
    Cho et al. (2014); reset after: as torch.nn.GRU and cuDNN.
    """

    reset: str = "after"

    parts = ("h",)
    gates = ("r", "z", "n")  # row blocks of U, W and b, as in PyTorch
    choices: ClassVar = {"reset": ("after", "before")}
    gate_names: ClassVar = {"r": "reset", "z": "update", "n": "candidate"}
    keep_gates: ClassVar = {"z": 1}
    squash: ClassVar = {"r": (0, 1), "z": (0, 1), "n": (-1, 1)}

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        if self.reset == "after":
            return (self,)
        first, second = self.blocks(2)
        return _Gates(*first), _Candidate(*second)

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        r, z = sigmoid(a[:2] + v[:2])
        return r, z, tanh(v[2] + r * a[2])

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        _, z, n = self.activations(a, v, s)
        return (n + z * (s[0] - n),)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        r, z, n = self.activations(a, v, s)
        ds = dsigmoid(a[:2] + v[:2])
        dz = (s[0] - n) * ds[1]
        dn = (1 - z) * dtanh(v[2] + r * a[2])
        dr = dn * a[2] * ds[0]
        return Partials(through=[[dr, dz, dn * r]], entry=[[dr, dz, dn]], around=[[z]])


class _Gates(Map):
    """Reset before, first half: keeps h, and makes z and q = r h."""

    old_parts = ("h",)
    parts = ("h", "z", "q")
    gates = ("r", "z")

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(sigmoid(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        r, z = self.activations(a, v, s)
        return s[0], z, r * s[0]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        r, _ = self.activations(a, v, s)
        dr, dz = dsigmoid(a + v)
        return Partials(through=[[0, 0], [0, dz], [s[0] * dr, 0]], around=[[1], [0], [r]])


class _Candidate(Map):
    """Reset before, second half: n from U_n q, then the mixture of n and h."""

    old_parts = ("h", "z", "q")
    gates = ("n",)
    reads = "q"

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(tanh(a + v))

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        h, z, _ = s
        (n,) = self.activations(a, v, s)
        return ((1 - z) * n + z * h,)

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        h, z, _ = s
        (n,) = self.activations(a, v, s)
        return Partials(through=[[(1 - z) * dtanh((a + v)[0])]], around=[[z, h - n, 0]])
