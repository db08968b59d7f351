"""What is a network run along? Its input, what the network reads before that, and how much of the run is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.drive import LEAD_IN, drive
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array
from gradscope.networks.loop import Loop
from gradscope.networks.network import Network
from gradscope.settings import Settings


@dataclass(frozen=True, eq=False)
class Course:
    """What networks are run along.

    Attributes:
        inputs: (B, T, m) or (T, m), warm-up included; m is 0 for a closed loop.
        warmup: number of steps that are run and not measured.
        lead_in: (B, N, m), read before, from a state of zeros; None for nothing.
        storage: what is stored of a run, one of `budget.STORAGE`.
        draw: returns the inputs of so many further sequences, (count, T, m); None where the input is given, or none.
    """

    inputs: Array
    warmup: int
    lead_in: Array | None = None
    storage: str = EVERYTHING
    draw: Callable[[int], Array] | None = None

    @property
    def batch(self) -> int:
        """Number of sequences B."""
        return len(self.inputs) if self.inputs.ndim == 3 else 1

    @property
    def steps(self) -> int:
        """Number of steps T, warm-up included."""
        return self.inputs.shape[1] if self.inputs.ndim == 3 else len(self.inputs)

    def chain(self, network: Network, keep: int = 0) -> JacobianChain:
        """Run a network and linearise every measured step, and the last `keep` steps of the warm-up.

        Raises:
            InputError: the shapes do not fit, or no step is left.
        """
        start = None if self.lead_in is None else run(network.network, self.lead_in).states[-1].T
        path = run(network, self.inputs, warmup=self.warmup, keep=keep, start=start, storage=self.storage)
        return linearise(path)

    def further(self, network: Network, count: int) -> JacobianChain | None:
        """Run a network along further sequences of synthetic input, storing little; None where the input is given."""
        if self.draw is None:
            return None
        return linearise(run(network, self.draw(count), warmup=self.warmup, storage=CHECKPOINTS))


def course_of(cell: Network, inputs: Array | None, lead_in: Array | None, settings: Settings) -> Course:
    """Return what a network is run along; what is not given is drawn.

    Args:
        cell: the network.
        inputs: (B, T, m) or (T, m), or None.
        lead_in: (B, N, m) or (N, m), or None.
        settings: kind, scale, length and seed of synthetic input.

    Raises:
        UsageError: a closed loop has inputs.
        InputError: the lead-in does not fit the network or the run.
    """
    closed, width = isinstance(cell, Loop), cell.network.network_input_size
    if closed and inputs is not None:
        raise UsageError("a closed loop has no input", "pass the warm-up input before the closed loop as lead_in=")
    kind, scale, seed = settings.drive, settings.input_scale, settings.seed
    if lead_in is not None:
        sequences = len(inputs) if inputs is not None and np.ndim(inputs) == 3 else settings.batch
        lead_in = _checked(np.asarray(lead_in), width, sequences)
    elif inputs is None and (closed or kind == "zeros"):  # from a state of zeros, most of them would stand still
        lead_in = drive("noise", settings.sequences, LEAD_IN, width, scale=scale, seed=seed)
    draw = None
    if inputs is None:
        batch = len(lead_in) if settings.batch is None and lead_in is not None else settings.sequences
        steps = settings.measured_steps + settings.warmup_steps
        kind = "noise" if closed else kind  # of no inputs
        further = partial(drive, kind, steps=steps, size=cell.network_input_size, scale=scale, seed=seed, first=batch)
        inputs, draw = further(batch, first=0), further if lead_in is None else None
    return Course(np.asarray(inputs), settings.warmup_steps, lead_in, draw=draw)


def _checked(lead_in: Array, width: int, sequences: int | None) -> Array:
    """Return the lead-in of a user as (B, N, m); refuse one that does not fit the network or the run."""
    lead_in = lead_in[None] if lead_in.ndim == 2 else lead_in
    if lead_in.ndim != 3 or lead_in.shape[2] != width or not lead_in.size:
        raise InputError(f"lead_in has shape {lead_in.shape}; this network needs (sequences, steps, {width})")
    if len(lead_in) > 1 and sequences not in (None, len(lead_in)):
        raise InputError(f"lead_in has {len(lead_in)} sequences, but the run has {sequences}")
    return lead_in
