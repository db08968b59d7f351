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
from gradscope.analysis._cotangents import gradient_norms
from gradscope.analysis.gradients import Gradients
from gradscope.analysis.orbits import joined, orbits
from gradscope.analysis.reach import rate_change, reach
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import Loss
from gradscope.dynamics.progress import Progress
from gradscope.networks.network import Network
from gradscope.report.case import Case
from gradscope.report.remedy import KINDS, Base, Remedy, best, helps
from gradscope.report.verdict import state_of

__all__ = ["try_changes"]

LARGEST = 700.0  # exp of more overflows


def try_changes(
    changes_of: Callable[[float, int], Mapping[str, Callable[[], Network]]],
    rerun: Callable[[Network], JacobianChain],
    loss: Loss,
    answers: Mapping[str, Any],
    progress: Progress,
) -> tuple[Remedy, ...]:
    """Measure every change that a cell knows, best first; none where the gradient neither vanishes nor explodes.

    Args:
        changes_of: `Network.changes` of the cell as it is.
        rerun: runs a changed cell on the same inputs, and linearises it.
        loss: the loss that the cell was measured with.
        answers: what was measured of the cell as it is.
        progress: takes (name, done, total) when a change begins.
    """
    before, state, far = answers["gradients"].followed.state, state_of(Case(answers)), answers["reach"]
    if state not in KINDS:
        return ()
    base = Base(state, far.rate, bool(np.isneginf(before[0]).all()), far.reach)
    missing_factor = math.inf if far.tail_rate is None else math.exp(min(-far.tail_rate, LARGEST))
    remedies = []
    changes = changes_of(missing_factor, far.steps)
    for number, (name, make) in enumerate(changes.items()):
        progress(f"remedies: {name}", number, len(changes))
        after = _gradients(rerun(make()), loss.last_only(), far.threshold)
        along = joined(answers["orbits"][after["gradients"].sequences], after["orbits"])
        shift = rate_change(before, after["gradients"].norms.state, along)
        new, r = state_of(Case(after)), after["reach"]
        better = helps(base, new, r.rate, shift, r.reach)
        remedies.append(Remedy(name, new, r.rate, r.interval, shift, r.reach, r.log10_gain, better))
    return best(tuple(remedies), state)


def _gradients(chain: JacobianChain, loss: Loss, threshold: float) -> dict[str, Any]:
    """Return the answers on a changed cell that a verdict needs; the orbits are of the sequences in the norms."""
    assert chain.trajectory is not None
    norms = gradient_norms(chain, loss)
    some = ~np.isneginf(norms.state[-1])
    sequences = some if some.any() else np.ones_like(some)
    along = orbits(chain.trajectory)[sequences]
    return {
        "finite": tuple(finite.nonfinite(chain.trajectory)),
        "gradients": Gradients(norms.of(sequences), None, sequences, loss.ends),
        "orbits": along,
        "reach": reach(norms.state[:, sequences], threshold, along),
    }
