"""What does one step do: the spectral radius and the norm of each Jacobian.

Both are taken with scipy.linalg from the dense Jacobian. They are hints, not the answer: a radius below one
at every step does not keep the product from growing, nor one above from shrinking (Pascanu, Mikolov & Bengio
2013 give the conditions). A dense spectrum costs n^3, so on large states evenly spaced steps are taken, and
the result says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import Progress, no_progress
from gradscope.kernels.units import UnitProduct
from gradscope.numerics.dense import singular_values
from gradscope.numerics.formats import Array

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite",)
TITLE = "single-step spectra"
SPECTRAL = True

SPECTRA_WORK = 2.0e7  # n^3 times the number of spectra that are taken by default: a tenth of a second on one core
UNIT_WORK = 64  # of one state variable where no unit sees another, in the same measure
FEWEST_SPECTRA = 6  # however large the state is
MOST_SEQUENCES = 4  # by default, of 8 spectra each or more


@dataclass(frozen=True, eq=False)
class StepSpectra:
    """Spectra of single Jacobians.

    Attributes:
        timestep: (K,), the t of each J_t = d s_t / d s_{t-1}, from 1 to T.
        eigenvalues: (K, S, n), complex.
        log_norm: (K, S), natural log of the spectral norm.
    """

    timestep: Array
    eigenvalues: Array
    log_norm: Array

    @property
    def radius(self) -> Array:
        """Spectral radius, (K, S)."""
        return np.asarray(np.abs(self.eigenvalues).max(axis=-1))


def step_spectra(
    chain: JacobianChain,
    *,
    steps: int | None = None,
    sequences: int | None = None,
    progress: Progress = no_progress,
) -> StepSpectra:
    """Return eigenvalues and norms of the Jacobians of evenly spaced steps; nan where one is not finite.

    Args:
        chain: the Jacobians.
        steps: of how many steps; None for as many as are quick, up to all.
        sequences: of how many sequences; None for as many as are quick.
        progress: takes (name, done, total) before each step.
    """
    work = UNIT_WORK * chain.size if chain.diagonal else chain.size**3
    affordable = max(FEWEST_SPECTRA, int(SPECTRA_WORK / work))
    s = min(chain.batch, sequences or max(1, min(MOST_SEQUENCES, affordable // 8)))
    k = min(chain.steps, steps or max(2, affordable // s))
    at = np.unique(np.linspace(0, chain.steps - 1, k).round().astype(int))
    eigenvalues = np.full((len(at), s, chain.size), np.nan, complex)
    norms = np.full((len(at), s), np.nan)
    for row, t in enumerate(at):
        progress(TITLE, row, len(at))
        J = chain.at(int(t))
        if chain.diagonal:
            eigenvalues[row], norms[row] = _by_unit(J.unit_blocks(), s)
            continue
        for b in range(s):
            with np.errstate(over="ignore", invalid="ignore"):
                dense = J.column(b).dense(float)
            if np.isfinite(dense).all():  # eigvals does not check it
                eigenvalues[row, b] = scipy.linalg.eigvals(dense, check_finite=False)
                with np.errstate(divide="ignore"):
                    norms[row, b] = np.log(singular_values(dense)[0])
    return StepSpectra(at + 1, eigenvalues, norms)


def _by_unit(matrices: Array | None, sequences: int) -> tuple[Array, Array]:
    """Return eigenvalues (S, n) and natural logs of the norms (S,) of a step in which no unit sees another."""
    assert matrices is not None
    step = UnitProduct(len(matrices), *matrices.shape[2:])
    step.multiply(matrices[:, :, None])
    logs, phases, _ = step.eigenvalues()
    values = np.exp(logs + 1j * phases).reshape(-1, logs.shape[2])
    return values.T[:sequences], step.log_singular().max(axis=(0, 1))[:sequences]


def measure(run: Run, settings: Settings) -> StepSpectra:
    """Return the spectra of as many steps as are asked for."""
    return step_spectra(run.chain, steps=settings.step_spectra, progress=run.progress)
