"""Every question that is asked of one chain, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.analysis import finite
from gradscope.analysis.crossings import crossings
from gradscope.analysis.depth import LayerGradient, depth
from gradscope.analysis.eigen import Eigenvalues, eigenvalues
from gradscope.analysis.gates import gate_statistics
from gradscope.analysis.gradients import GradientNorms, Gradients, gradient_norms
from gradscope.analysis.lyapunov import lyapunov
from gradscope.analysis.orbits import orbits
from gradscope.analysis.paths import paths
from gradscope.analysis.products import products
from gradscope.analysis.reach import reach
from gradscope.analysis.steps import step_spectra
from gradscope.analysis.timescales import time_scales
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import Loss
from gradscope.errors import Interrupted
from gradscope.maps.jacobian import Array
from gradscope.networks.interface import Fact

__all__ = ["EXPONENTS", "EIGENVALUES", "GATES", "PRODUCTS", "ROADS", "STEPS", "Wanted", "measure"]

GATES, ROADS, PRODUCTS, EXPONENTS = "gates", "roads", "products", "Lyapunov exponents"
TIMES = "time constants"
EIGENVALUES, STEPS = "eigenvalues of the product", "spectra of single steps"
SPECTRA = [PRODUCTS, EXPONENTS, EIGENVALUES, STEPS]

EIGEN_WORK = 1.0e11  # operations of one round of all eigenvalues that are spent unasked: a few seconds
DRAWN = 1e-6  # nats to which they are taken
LAST = 256  # steps from which a cell tells what is special to it
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
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Run the analyses; return {analysis: its answer}, and the names of those that an interrupt left out.

    Who asks to stop (`Interrupted`) once gradients are known is given what has been measured until then.

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
    keep = has_roads and not chain.diagonal
    norms = gradient_norms(chain, loss, keep=keep and not loss.at_every_step)
    last = gradient_norms(chain, loss.last_only(), keep=keep) if loss.at_every_step else None
    followed = last or norms
    met = finite.nonfinite(chain.trajectory) if chain.trajectory else []
    records = [*found, *(r for r in met if r.path != "inputs" or not found)]
    odd = longer.first_nonfinite
    if odd is not None and not records:
        records.append(finite.nonfinite_jacobian(longer, odd))
    together = orbits(chain.trajectory) if chain.trajectory else None
    sound = not records
    asked = [GATES] if chain.trajectory else []
    asked += [ROADS] if has_roads and sound else []
    asked += [TIMES] if chain.diagonal and sound else []
    asked += SPECTRA if wanted.lags and sound else []
    parts: dict[str, Any] = {}
    try:
        _answer(parts, asked, chain, longer, followed, together, wanted, tell)
    except Interrupted:
        tell("interrupted: putting together what is measured")
    road, crossed = parts.get(ROADS, (None, None))
    with_loss = ~np.isneginf(followed.state[-1])
    kept = with_loss if with_loss.any() else np.ones_like(with_loss)
    answers = {
        "finite": tuple(records),
        "gradients": Gradients(norms.of(kept), last and last.of(kept), kept, loss.ends),
        "reach": reach(followed.state[:, kept], wanted.threshold, None if together is None else together[kept]),
        "depth": _layers(chain, followed.of(kept), wanted.threshold) or None,
        "facts": (_facts(chain) if sound else {}) or None,
        "gates": parts.get(GATES, {}),
        "paths": road,
        "crossings": crossed,
        "products": parts.get(PRODUCTS),
        "lyapunov": parts.get(EXPONENTS),
        "eigen": parts.get(EIGENVALUES),
        "steps": parts.get(STEPS),
        "timescales": parts.get(TIMES),
    }
    missing = tuple(name for name in asked if name not in parts)
    return {name: answer for name, answer in answers.items() if answer is not None}, missing


def _answer(
    answers: dict[str, Any],
    asked: list[str],
    chain: JacobianChain,
    longer: JacobianChain,
    followed: GradientNorms,
    together: Array | None,
    wanted: Wanted,
    tell: Callable[[str], None],
) -> None:
    """Fill in `answers` by name, one after the other."""
    if GATES in asked:
        tell(GATES)
        assert chain.trajectory is not None
        answers[GATES] = gate_statistics(chain.trajectory)
    if ROADS in asked:
        tell(ROADS)
        road = paths(chain, followed)
        answers[ROADS] = road, crossings(chain, followed) if road.has_around else None
    if PRODUCTS in asked:
        _answer_spectra(answers, chain, longer, together, wanted, tell)
    if TIMES in asked:  # what the products have multiplied is there
        tell(TIMES)
        answers[TIMES] = time_scales(chain)


def _answer_spectra(
    answers: dict[str, Any],
    chain: JacobianChain,
    longer: JacobianChain,
    together: Array | None,
    wanted: Wanted,
    tell: Callable[[str], None],
) -> None:
    values = None if wanted.spectrum >= chain.size else wanted.spectrum
    tell(PRODUCTS)
    answers[PRODUCTS] = products(chain, lags=wanted.lags, values=values, progress=tell)
    tell(EXPONENTS)
    answers[EXPONENTS] = lyapunov(longer, values, burn=wanted.burn, orbits=together, seed=wanted.seed, progress=tell)
    tell(EIGENVALUES)
    answers[EIGENVALUES] = _eigenvalues(chain.first(1), values)
    tell(STEPS)
    answers[STEPS] = step_spectra(chain, steps=wanted.step_spectra)


def _facts(chain: JacobianChain) -> dict[str, Fact]:
    """Return what the cell has to tell of itself, from the last steps of the run."""
    if chain.trajectory is None:
        return {}
    last = chain.trajectory.window(max(0, chain.steps - LAST), chain.steps)
    return dict(chain.trajectory.cell.facts(last.inputs, last.states[:-1]))


def _layers(chain: JacobianChain, followed: GradientNorms, threshold: float) -> tuple[LayerGradient, ...]:
    """Return what arrives in each layer of a network of several."""
    outputs = {} if chain.trajectory is None else chain.trajectory.cell.network.layer_outputs
    return depth(followed.logs, outputs, threshold)


def _has_roads(chain: JacobianChain) -> bool:
    """Tell whether the gradient has a choice: around the recurrent weights, or through those of several gates."""
    probe = np.ones((chain.size, chain.batch), chain.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        roads = chain.at(chain.steps - 1).path_shares(probe, probe)
    return bool(roads.around.any()) or len(roads.through) > 1


def _eigenvalues(chain: JacobianChain, values: int | None) -> Eigenvalues:
    """Take eigenvalues of the first sequence: all that are asked for, or a few where that takes long."""
    whole = 12 * chain.steps * chain.size**3
    few = min(FEW, chain.size) if values is None and whole > EIGEN_WORK else values
    return eigenvalues(chain, few, settled=DRAWN)
