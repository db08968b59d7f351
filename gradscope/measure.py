"""Every question that is asked of one chain, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.analysis import finite
from gradscope.analysis import steps as single_steps
from gradscope.analysis._loss import Loss
from gradscope.analysis.crossings import crossings
from gradscope.analysis.eigen import Eigenvalues, eigenvalues
from gradscope.analysis.gates import gate_statistics
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.growth import lyapunov
from gradscope.analysis.orbits import orbits
from gradscope.analysis.paths import paths
from gradscope.analysis.products import products
from gradscope.analysis.reach import reach
from gradscope.dynamics.chain import JacobianChain
from gradscope.report.numbers import Measured

__all__ = ["Wanted", "measure"]

EIGEN_WORK = 1.0e11  # operations of one round of all eigenvalues that are spent unasked: a few seconds
DRAWN = 1e-6  # nats to which they are taken
FEW = 16  # eigenvalues that are taken where all of them would take longer


@dataclass(frozen=True)
class Wanted:
    """How much is asked for.

    Attributes:
        lags: at how many lags the product is measured; 0 leaves products and spectra out.
        spectrum: how many exponents, singular values and eigenvalues.
        step_spectra: of how many steps spectra are taken; None for as many as are quick.
        threshold: the fraction of the gradient that `reach` asks for.
        burn: steps of the longer chain that only turn the frame of the exponents; None: it decides.
        seed: seed of frames.
    """

    lags: int
    spectrum: int
    step_spectra: int | None
    threshold: float
    burn: int | None
    seed: int


def measure(
    chain: JacobianChain,
    longer: JacobianChain,
    loss: Loss,
    found: Sequence[finite.NonFinite],
    wanted: Wanted,
    tell: Callable[[str], None],
) -> tuple[Measured, int]:
    """Run the analyses; also return how many sequences were left out, for want of a loss at the last step.

    Args:
        chain: the Jacobians of the measured steps.
        longer: the same, with steps before them.
        loss: direct gradients of the loss.
        found: values of the input that are not finite.
        wanted: how much is asked for.
        tell: called with a word when a part begins.
    """
    tell("gradients")
    has_roads = chain.trajectory is not None and _has_roads(chain)
    norms = gradient_norms(chain, loss, keep=has_roads and not loss.at_every_step)
    last = gradient_norms(chain, loss.last_only(), keep=has_roads) if loss.at_every_step else None
    followed = last or norms
    met = finite.nonfinite(chain.trajectory) if chain.trajectory else []
    records = [*found, *(r for r in met if r.path != "inputs" or not found)]
    odd = longer.first_odd
    if odd is not None and not records:
        records.append(finite.nonfinite_jacobian(longer, odd))
    sound = not records
    road = crossed = product = spectra = growth = values = None
    together = orbits(chain.trajectory) if chain.trajectory else None
    if has_roads and sound:
        tell("roads")
        road = paths(chain, followed)
        crossed = crossings(chain, followed) if road.has_around else None
    if wanted.lags and sound:
        tell("products")
        whole = None if wanted.spectrum >= chain.size else wanted.spectrum
        product = products(chain, lags=wanted.lags, values=whole, progress=tell)
        tell("Lyapunov exponents")
        growth = lyapunov(longer, whole, burn=wanted.burn, orbits=together, seed=wanted.seed, progress=tell)
        tell("eigenvalues of the product")
        values = _eigenvalues(chain, whole)
        tell("spectra of single steps")
        spectra = single_steps.step_spectra(chain, steps=wanted.step_spectra)
    with_loss = ~np.isneginf(followed.state[-1])
    kept = with_loss if with_loss.any() else np.ones_like(with_loss)
    return Measured(
        norms=norms.of(kept),
        last=last and last.of(kept),
        reach=reach(followed.state[:, kept], wanted.threshold, None if together is None else together[kept]),
        products=product,
        growth=growth,
        eigenvalues=values,
        steps=spectra,
        paths=road,
        crossings=crossed,
        gates=gate_statistics(chain.trajectory) if chain.trajectory else {},
        nonfinite=tuple(records),
        loss_ends=loss.ends,
    ), int((~kept).sum())


def _has_roads(chain: JacobianChain) -> bool:
    """Tell whether the gradient has a choice: around the recurrent weights, or through those of several gates."""
    probe = np.ones((chain.size, chain.batch), chain.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        roads = chain.at(chain.steps - 1).roads(probe, probe)
    return bool(roads.around.any()) or len(roads.through) > 1


def _eigenvalues(chain: JacobianChain, values: int | None) -> Eigenvalues:
    """Take eigenvalues of the first sequence: all that are asked for, or a few where that takes long."""
    whole = 12 * chain.steps * chain.size**3
    few = min(FEW, chain.size) if values is None and whole > EIGEN_WORK else values
    return eigenvalues(chain.first(1), few, settled=DRAWN)
