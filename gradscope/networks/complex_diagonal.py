"""A complex diagonal recurrence, z' = lambda z + v, in real and imaginary parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.maps.jacobian import Array, Partials
from gradscope.networks.map import Map, Parts

__all__ = ["ComplexDiagonal"]


@dataclass(frozen=True, eq=False)
class ComplexDiagonal(Map):
    """State [re, im]; J = [[Re lambda, -Im lambda], [Im lambda, Re lambda]], unit by unit: |lambda| twice.

    Attributes:
        eigenvalues: (2, H), real and imaginary parts of lambda.
    """

    eigenvalues: Array | None = None

    parts = ("re", "im")
    gates = ("re", "im")

    def activations(self, a: Array, v: Array, s: Parts) -> Parts:
        return tuple(a + v)

    def advance(self, a: Array, v: Array, s: Parts) -> Parts:
        p, (re, im) = a + v, np.asarray(self.eigenvalues)[..., None]
        return re * s[0] - im * s[1] + p[0], im * s[0] + re * s[1] + p[1]

    def partials(self, a: Array, v: Array, s: Parts) -> Partials:
        ones = np.ones_like(s[0])
        re, im = (e * ones for e in np.asarray(self.eigenvalues)[..., None])
        return Partials(through=[[1, 0], [0, 1]], around=[[re, -im], [im, re]])
