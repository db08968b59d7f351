"""One run of one model, linearised: what every analysis is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.analysis._cotangents import GradientNorms, gradient_norms
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import Loss
from gradscope.dynamics.progress import Progress, no_progress
from gradscope.numerics.nonfinite import NonFinite


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one model.

    Attributes:
        chain: the Jacobians of the measured steps.
        longer: the same, with steps before them that only turn the frame of the Lyapunov exponents.
        burn: how many steps of `longer` turn it at least; None: the analysis decides.
        loss: direct gradients of the loss.
        records: values of the input that are not finite.
        columns: names of the inputs; empty where they have none.
        progress: takes (name, done, total) of the part that is measured.
        answers: {analysis: what it answered} of those that are done; `measure` fills it.
        further: returns the chain of so many further sequences of synthetic input; None where the input is given.
    """

    chain: JacobianChain
    longer: JacobianChain
    loss: Loss
    burn: int | None = None
    records: Sequence[NonFinite] = ()
    progress: Progress = no_progress
    columns: Sequence[str] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)
    further: Callable[[int], JacobianChain | None] | None = None

    @property
    def is_finite(self) -> bool:
        """Whether `finite` met nothing that is not."""
        return not self.answers["finite"]

    @cached_property
    def has_paths(self) -> bool:
        """Whether the gradient has a choice: around the recurrent weights, or through those of several gates."""
        chain = self.chain
        if chain.trajectory is None:
            return False
        probe = np.ones((chain.size, chain.batch), chain.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            shares = chain.at(chain.steps - 1).path_shares(probe, probe)
        return bool(shares.around.any()) or len(shares.through) > 1

    @cached_property
    def followed(self) -> GradientNorms:
        """Gradient norms of the last step's loss alone, with cotangents where paths are measured from them."""
        keep = self.has_paths and not self.chain.diagonal
        return gradient_norms(self.chain, self.loss.last_only(), keep=keep)

    def values(self, count: int) -> int | None:
        """Return how many exponents, singular values or eigenvalues are asked for; None: all that there are."""
        return None if count >= self.chain.size else count
