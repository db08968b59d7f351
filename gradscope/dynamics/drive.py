"""Synthetic inputs: what a cell is run along when there is no data."""

from __future__ import annotations

import numpy as np

from gradscope.errors import UsageError
from gradscope.maps.jacobian import Array

DRIVES = ("noise", "zeros", "sine")
LEAD_IN = 50  # steps of noise that a closed loop reads first, so that each sequence starts in another state


def drive(kind: str, batch: int, steps: int, size: int, *, scale: float = 1.0, seed: int = 0, first: int = 0) -> Array:
    """Return synthetic input sequences, (batch, steps, size), float64.

    Args:
        kind: "noise" (white, standard normal), "zeros", or "sine" (each input a sine of its own period,
            log-spaced from 5 to 100 steps, each sequence with its own phases).
        batch: number of independent sequences.
        steps: length.
        size: number of inputs.
        scale: factor on all values.
        seed: seed of the noise or of the phases.
        first: number of the first sequence; those before it are left out.

    Raises:
        UsageError: the kind is not known.
    """
    with np.errstate(over="ignore"):  # inf is reported by the reader of the states
        return np.asarray(scale * _unscaled(kind, first, batch, steps, size, seed))


def _unscaled(kind: str, first: int, batch: int, steps: int, size: int, seed: int) -> Array:
    if kind == "noise":
        # One stream a sequence: a sequence does not depend on how many there are, or how long they are.
        streams = [np.random.default_rng([seed, 1, b]) for b in range(first, first + batch)]
        return np.stack([g.standard_normal((steps, size)) for g in streams])
    if kind == "zeros":
        return np.zeros((batch, steps, size))
    if kind == "sine":
        periods = np.geomspace(5, 100, size)
        rng = np.random.default_rng([seed, 1])  # another stream than that of the weights
        phases = rng.uniform(0, 2 * np.pi, (first + batch, 1, size))[first:]
        return np.sin(2 * np.pi * np.arange(steps)[:, None] / periods + phases)
    raise UsageError(f"there is no drive named '{kind}'", f"known: {', '.join(DRIVES)}")
