"""A complex diagonal recurrence, z' = lambda z + v, in real and imaginary parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.maps.jacobian import Array
from gradscope.networks.formulas import Partials, Parts, Preactivations
from gradscope.networks.gate import Gate
from gradscope.networks.map import Map

__all__ = ["ComplexDiagonal"]


@dataclass(frozen=True, eq=False)
class ComplexDiagonal(Map):
    """State [re, im]; J = [[Re lambda, -Im lambda], [Im lambda, Re lambda]], unit by unit: |lambda| twice.

    Attributes:
        eigenvalues: (2, H), real and imaginary parts of lambda.
    """

    eigenvalues: Array | None = None

    parts = ("re", "im")
    gates = {"re": Gate(), "im": Gate()}

    def activations(self, p: Preactivations, s: Parts) -> Sequence[Array]:
        return p["re"], p["im"]

    def advance(self, p: Preactivations, s: Parts) -> Mapping[str, Array]:
        re, im = np.asarray(self.eigenvalues)[..., None]
        return {"re": re * s["re"] - im * s["im"] + p["re"], "im": im * s["re"] + re * s["im"] + p["im"]}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        ones = np.ones_like(s["re"])
        re, im = (e * ones for e in np.asarray(self.eigenvalues)[..., None])
        return Partials(
            through={"re": {"re": 1}, "im": {"im": 1}},
            around={"re": {"re": re, "im": -im}, "im": {"re": im, "im": re}},
        )
