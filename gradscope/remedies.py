"""What would help? Each change of the weights is made, run on the same inputs, and measured.

Only gradient norms are taken of a changed cell, one sweep back along its run, and only one changed cell exists at a
time. Without products and spectra, a change costs a small part of an analysis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradscope.analysis import finite
from gradscope.analysis.gradients import Gradients, gradient_norms
from gradscope.analysis.orbits import joined, orbits
from gradscope.analysis.reach import rate_change, reach
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.loss import Loss
from gradscope.dynamics.start import start_of
from gradscope.dynamics.trajectory import run
from gradscope.maps.jacobian import Array
from gradscope.networks.network import Network
from gradscope.report.case import Case
from gradscope.report.remedy import KINDS, Base, Remedy, best, helps
from gradscope.report.verdict import state_of

__all__ = ["try_changes"]

LARGEST = 700.0  # exp of more overflows


def try_changes(
    cell: Network,
    inputs: Array,
    lead_in: Array | None,
    warmup: int,
    loss: Loss,
    answers: Mapping[str, Any],
    along: Array,
    storage: str,
    tell: Callable[[str], None],
) -> tuple[Remedy, ...]:
    """Measure every change that the cell knows, best first; none where the gradient neither vanishes nor explodes.

    Args:
        cell: the cell as it is.
        inputs: (B, T, m), warm-up included.
        lead_in: what is read before that, or None.
        warmup: steps run before the measured ones.
        loss: the loss that the cell was measured with.
        answers: what was measured of the cell as it is.
        along: the orbits of its sequences, (B,).
        storage: what is kept of a run.
        tell: called with a word when a change begins.
    """
    before, state, far = answers["gradients"].followed.state, state_of(Case(answers)), answers["reach"]
    if state not in KINDS:
        return ()
    base = Base(state, far.rate, bool(np.isneginf(before[0]).all()))
    missing_factor = math.inf if far.rate is None else math.exp(min(-far.rate, LARGEST))
    last, steps, threshold = loss.last_only(), far.steps, far.threshold
    rest = (inputs, lead_in, warmup, last, threshold, storage)
    found = []
    for name, make in cell.changes(missing_factor, steps).items():
        tell(f"remedies: {name}")
        after, kept, other = _changed(make(), *rest)
        shift = rate_change(before, after["gradients"].norms.state, joined(along[kept], other))
        new, r = state_of(Case(after)), after["reach"]
        better = helps(base, new, r.rate, shift)
        found.append(Remedy(name, new, r.rate, r.interval, shift, r.reach, r.log10_gain, better))
    return best(tuple(found))


def _changed(
    changed: Network,
    inputs: Array,
    lead_in: Array | None,
    warmup: int,
    loss: Loss,
    threshold: float,
    storage: str,
) -> tuple[dict[str, Any], Array, Array]:
    """Run a changed cell, and return what `_gradients` does."""
    start = start_of(changed, lead_in)
    chain = linearise(run(changed, inputs, warmup=warmup, start=start, storage=storage))
    return _gradients(chain, loss, threshold)


def _gradients(chain: JacobianChain, loss: Loss, threshold: float) -> tuple[dict[str, Any], Array, Array]:
    """Return the norms of a changed cell, which sequences they are of, and the orbits of those."""
    assert chain.trajectory is not None
    norms = gradient_norms(chain, loss)
    with_loss = ~np.isneginf(norms.state[-1])
    kept = with_loss if with_loss.any() else np.ones_like(with_loss)
    along = orbits(chain.trajectory)[kept]
    answers = {
        "finite": tuple(finite.nonfinite(chain.trajectory)),
        "gradients": Gradients(norms.of(kept), None, kept, loss.ends),
        "reach": reach(norms.state[:, kept], threshold, along),
    }
    return answers, kept, along
