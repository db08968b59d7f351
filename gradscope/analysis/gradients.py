"""How large is dL/ds_t at every step?

One vector-Jacobian sweep from the last step to the first (`_cotangents`) for the whole loss, and one for the loss of
the last step alone, which says how far a gradient comes.

Werbos (1990), backpropagation through time; Bengio, Simard & Frasconi (1994) on why to measure it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._cotangents import GradientNorms, gradient_norms
from gradscope.maps.jacobian import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ()
TITLE = "gradients"


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradient norms of the loss, and of the last step's loss alone, of the sequences that have one.

    Attributes:
        norms: of the whole loss.
        last: of the last step's loss alone, where other steps have a loss too: `reach` is read from it, since a
            gradient that arrives from everywhere tells nothing of how far it came; else None.
        sequences: (B,), whether a sequence has a loss at its last step, and is in the norms; all are where none has.
        loss_ends: the last step that has a loss, where each may have one.
    """

    norms: GradientNorms
    last: GradientNorms | None
    sequences: Array
    loss_ends: int | None

    @property
    def followed(self) -> GradientNorms:
        """Norms of the last step's loss alone."""
        return self.last or self.norms


def measure(run: Run, settings: Settings) -> Gradients:
    """Measure gradient norms of the loss, and of the last step's loss alone."""
    last = run.followed
    norms = gradient_norms(run.chain, run.loss) if run.loss.at_every_step else last
    some = ~np.isneginf(last.state[-1])
    sequences = some if some.any() else np.ones_like(some)
    alone = last.of(sequences) if run.loss.at_every_step else None
    return Gradients(norms.of(sequences), alone, sequences, run.loss.ends)
