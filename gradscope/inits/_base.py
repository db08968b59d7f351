"""What do all initialisations share?  The shapes to fill, and draws that several of them use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gradscope.maps.jacobian import Array


@dataclass(frozen=True)
class Shape:
    """What there is to initialise.

    Attributes:
        cell: name of the cell, for messages.
        gates: names of the gates, in the order of their row blocks.
        hidden: units of a gate.
        inputs: number of inputs.
        gate_names: what each gate is called ("forget", "update", ...).
        keep_gates: +1 for a gate that keeps old state when open, -1 for one that lets new state in.
        recurrent: whether there are recurrent weights; what is drawn for them is dropped where there are none.
    """

    cell: str
    gates: tuple[str, ...]
    hidden: int
    inputs: int
    gate_names: Mapping[str, str]
    keep_gates: Mapping[str, int]
    recurrent: bool = True

    @property
    def rows(self) -> int:
        """Rows of the stacked weights."""
        return len(self.gates) * self.hidden

    @property
    def columns(self) -> int:
        """Columns of the recurrent weights: none, where there are none, so that no matrix is drawn in vain."""
        return self.hidden if self.recurrent else 0

    def block(self, gate: str) -> slice:
        """Rows of one gate."""
        i = self.gates.index(gate) * self.hidden
        return slice(i, i + self.hidden)


Weights = dict[str, Array]


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Draw a matrix with orthonormal columns (or rows, when it is wide), uniform in Haar measure."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # without this, QR is not uniform: Mezzadri (2007)
    return q if rows >= columns else q.T


def uniform(shape: Shape, rng: np.random.Generator) -> Weights:
    """Draw everything, biases too, from +-1/sqrt(hidden): torch.nn.RNNBase.reset_parameters."""
    k = 1 / np.sqrt(shape.hidden)
    sizes: dict[str, tuple[int, ...]] = {
        "W": (shape.rows, shape.inputs),
        "U": (shape.rows, shape.columns),
        "b_ih": (shape.rows,),
        "b_hh": (shape.rows,),
    }
    return {name: rng.uniform(-k, k, size) for name, size in sizes.items()}


def without_bias(shape: Shape) -> Weights:
    """Return two zero biases."""
    return {"b_ih": np.zeros(shape.rows), "b_hh": np.zeros(shape.rows)}
