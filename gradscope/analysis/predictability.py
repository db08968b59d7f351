"""After how many steps does a single trajectory mean nothing?

Along a chaotic run a rounding error grows as exp(lambda_1 t), lambda_1 being the largest Lyapunov exponent, until it
is as large as the state: after ln(1 / eps) / lambda_1 steps, the predictability horizon. Beyond it the states are those
of another trajectory of the same network, and so is everything that is read off one of them: the gain from end to end,
the gradient norm at a lag. Averages over the run, such as rates and exponents, are the same for both.

An exponent above zero is not enough: in a linear network that grows, the Jacobians do not depend on the state, and the
gain keeps its digits. So the run is repeated from a state that is changed by one rounding error, and the gains of both
runs are compared. Where they agree there is no horizon.

Lorenz (1963); Benettin, Galgani, Giorgilli & Strelcyn (1980) on the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._cotangents import gradient_norms
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import Loss
from gradscope.dynamics.trajectory import run_again
from gradscope.numerics.formats import LN10, Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "gradients", "reach", "lyapunov")
TITLE = "sensitivity to rounding"

SEQUENCES = 8  # that are run again, at most: a median over eight says how large the change is
ROUNDING_ERRORS = 2  # eps by which the state is changed: every entry moves by one or two of its last digits
LEAST_DECADES = 0.1  # change of a gain, a factor of 1.26, from which single trajectories are not reproducible
NEAR = 0.75  # of the horizon: growth differs between sequences, and gains change before states differ entirely


@dataclass(frozen=True, eq=False)
class Predictability:
    """How long single trajectories can be trusted.

    Attributes:
        rate: largest Lyapunov exponent, or the rate of the gradient where exponents were not measured, nats per step.
        is_exponent: whether it is the exponent.
        horizon: ln(1 / eps) / rate, in steps.
        steps: of the run that was repeated: the measured ones, and those of the warm-up that are stored.
        perturbation: relative size of the change of the state.
        change: (S,), absolute change of ln(|dL/ds_0| / |dL/ds_T|) of each sequence that was run again.
    """

    rate: float
    is_exponent: bool
    horizon: float
    steps: int
    perturbation: float
    change: Array


def horizon(rate: float, eps: float) -> float:
    """Return the number of steps in which an error grows from eps to one, at so many nats per step."""
    return float(np.log(1 / eps) / rate)


def applies(run: Run, settings: Settings) -> bool:
    """Return whether the run is longer than the horizon, or nearly as long."""
    if run.chain.trajectory is None or not run.is_finite or run.chain.steps < 2:
        return False
    rate, _ = _growth(run)
    return rate > 0 and run.longer.steps > NEAR * horizon(rate, float(np.finfo(run.chain.dtype).eps))


def measure(run: Run, settings: Settings) -> Predictability | None:
    """Measure how much the gains change with one rounding error; None where they can be reproduced."""
    eps = float(np.finfo(run.chain.dtype).eps)
    rate, is_exponent = _growth(run)
    change = gain_change(run, ROUNDING_ERRORS * eps)
    if not change.size or change.max() < LEAST_DECADES * LN10:
        return None
    return Predictability(rate, is_exponent, horizon(rate, eps), run.longer.steps, ROUNDING_ERRORS * eps, change)


def gain_change(run: Run, perturbation: float) -> Array:
    """Return by how much ln(|dL/ds_0| / |dL/ds_T|) changes if the state after the first step is changed.

    Args:
        run: the run; its warm-up, as far as it is stored, is repeated, too.
        perturbation: relative change of every state variable.

    Returns:
        (S,), absolute changes of the first sequences, nats; those that are not finite in one of the runs are left out.
    """
    assert run.longer.trajectory is not None
    path = run.longer.trajectory.between(0, SEQUENCES)
    # 1. The state that the run starts from may be zero, which no factor changes: the one after it is taken.
    start, first = path.state(1) * (1 + perturbation), max(run.longer.steps - run.chain.steps, 1)
    other = run_again(path, path.inputs[1:], start, keep=first - 1).after(first - 1)
    # 2. gradients of the same loss along both
    direct = run.loss.last_only().direct[:, : path.batch]
    after = gradient_norms(linearise(other), Loss("last", direct)).state
    before = run.followed.state[-len(after) :, : path.batch]
    # 3. the gains of both
    with np.errstate(invalid="ignore"):
        change = np.abs((after[0] - after[-1]) - (before[0] - before[-1]))
    return np.asarray(change[np.isfinite(change)])


def _growth(run: Run) -> tuple[float, bool]:
    """Return the largest exponent, or else the rate of the gradient, and whether it is the exponent."""
    exponents = run.answers.get("lyapunov")
    if exponents is not None and np.isfinite(exponents.exponents[0]):
        return float(exponents.exponents[0]), True
    rate = run.answers["reach"].rate
    return (0.0 if rate is None else rate), False
