"""How a run begins: what a network reads before it is measured, or before it is left to itself."""

from __future__ import annotations

import numpy as np

from gradscope.dynamics.drive import LEAD_IN, drive
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array
from gradscope.networks.loop import Loop
from gradscope.networks.network import Network
from gradscope.settings import BATCH

__all__ = ["lead_in_of", "start_of"]


def lead_in_of(
    cell: Network, inputs: Array | None, lead_in: Array | None, batch: int | None, seed: int
) -> Array | None:
    """Return the lead-in that a network reads before it is measured, (B, N, m); None for none.

    A closed loop without one reads noise: from a state of zeros, most of them would stand still.

    Args:
        cell: the network.
        inputs: those of the run, if any.
        lead_in: as the user gives it, (B, N, m) or (N, m), or None.
        batch: number of sequences, if it is given.
        seed: of the noise.

    Raises:
        UsageError: a closed loop has inputs.
        InputError: the shape does not fit the network or the run.
    """
    if isinstance(cell, Loop) and inputs is not None:
        raise UsageError("a closed loop has no input", "lead_in= takes what the network reads before it feeds itself")
    width = cell.network.network_input_size
    if lead_in is None:
        return drive("noise", batch or BATCH, LEAD_IN, width, seed=seed) if isinstance(cell, Loop) else None
    sequences = len(inputs) if inputs is not None and np.ndim(inputs) == 3 else batch
    return _checked(np.asarray(lead_in), width, sequences)


def _checked(lead_in: Array, width: int, sequences: int | None) -> Array:
    """Return the lead-in of a user as (B, N, m); refuse one that does not fit the network or the run."""
    lead_in = lead_in[None] if lead_in.ndim == 2 else lead_in
    if lead_in.ndim != 3 or lead_in.shape[2] != width or not lead_in.size:
        raise InputError(f"lead_in has shape {lead_in.shape}; this network needs (sequences, steps, {width})")
    if len(lead_in) > 1 and sequences not in (None, len(lead_in)):
        raise InputError(f"lead_in has {len(lead_in)} sequences, and the run has {sequences}")
    return lead_in


def start_of(cell: Network, lead_in: Array | None) -> Array | None:
    """Return the states that the run starts in; None for zeros."""
    return None if lead_in is None else run(cell.network, lead_in).states[-1].T
