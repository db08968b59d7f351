"""What of the input k steps back can be told from noise in the last state, and does its gradient keep its sign?

An input of one standard deviation, k steps before the last one, moves the last state by G_k = E ds_T/dx_(T-k), the mean
over sequences. That is seen against what else moves the state, its covariance C over sequences. The eigenvalues of

    J_k = G_k^T (C + C_g)^-1 G_k

are the Fisher memory of Ganguli, Huh & Sompolinsky (2008): the squares of how many standard deviations of the noise the
input directions move the state. C_g is the covariance over sequences of ds_T/dx_(T-k), summed over its columns: the
part of the derivative that differs from sequence to sequence moves the state, too, but no readout that is the same for
all sequences can use it, and the mean of gradients over a batch loses it. Without C_g, and for independent Gaussian
inputs, the eigenvalues are the squared canonical correlations of x_(T-k) and s_T, since E ds/dx var x = cov(s, x)
(Stein 1981): the share of each input direction that a linear readout recovers. Over all lags these shares add up to the
number of state variables at most (Dambre et al. 2012).

The eigenvalues do not depend on units: an input is measured in its standard deviations, and so is a state variable.
Sequences are few beside state variables: both covariances are shrunk (Ledoit & Wolf 2004), and of synthetic input
further sequences are run. The mean of B derivatives of random sign is not zero, and would count as signal; so in the
square of the mean, products of a sequence with itself are left out (a U-statistic), which makes it unbiased.

Coherence asks the same of the gradient alone: |E dL/dx_(T-k)| / sqrt(E |dL/dx_(T-k)|^2), for a readout that all
sequences share, over all readouts of the output and all input directions alike: with isotropic ones that is a ratio of
Frobenius norms of dh_T/dx_(T-k). It is 1 where all sequences have the same gradient, and 0 where its sign is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._input_jacobians import InputJacobians, input_jacobians, joined
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import of_part
from gradscope.maps.jacobian import Array
from gradscope.networks.function import FunctionCell
from gradscope.numerics.formats import LN2, LN10
from gradscope.numerics.scaled import rescale
from gradscope.numerics.shrinkage import Covariance, ledoit_wolf
from gradscope.numerics.statistics import student

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "gradients", "orbits")
TITLE = "Fisher memory"
SPECTRAL = True

DIRECTION_THRESHOLD = 0.05  # of an eigenvalue; derivatives of random sign, of eight sequences, leave up to about 0.04
FEWEST_SEQUENCES = 4  # a covariance, or a jackknife, over fewer says nothing
SEQUENCES_WITH_DERIVATIVES = 8, 32  # at least, where there are so many, and at most
FEWEST_DIRECTIONS = 4  # of the input, where it has so many: the others are sampled at random where they are too costly
FURTHER_SEQUENCES = 24, 120  # of synthetic input, at least and at most; most of them for their last state only
FURTHER_BYTES = 64 << 20  # of their inputs, at most
WORK = 1.5e8  # n^2 times steps and columns, from which on the least is done: some 30 ms on one core
UNIT_WORK = 256  # of one state variable where no unit sees another, in the same measure
DEEPEST_DECADES = 6.0  # by which the gradient may have fallen at the largest lag; eigenvalues fall twice as fast
SETTLED_STEPS = 8  # lag from which that is counted: a saturated output attenuates once, near the loss
DIRECTIONS_STREAM = 8  # of the seed: apart from those of weights, inputs, losses, loops and memory
LARGEST_EXPONENT = 1000  # 2^-1000 times a covariance is nothing beside another one


@dataclass(frozen=True, eq=False)
class Fisher:
    """Fisher memory and coherence at K lags.

    Attributes:
        lags: (K,), steps back from the last input.
        log_eigenvalues: (K, r), natural logs, largest first; nan: not above zero, as far as can be seen.
        log_lower: (K, r), of the lower ends of their 95 % intervals, likewise.
        coherence: (K,), 0 to 1; nan where the derivative is zero.
        interval: (K, 2), 95 % interval of the coherence.
        directions: r, at how many input directions was looked; random ones, where there are more inputs.
        sequences: for how many sequences derivatives were taken.
        states: for how many sequences last states were.
        shrinkage: weight of the identity in the covariance of the states, 0 to 1.
    """

    lags: Array
    log_eigenvalues: Array
    log_lower: Array
    coherence: Array
    interval: Array
    directions: int
    sequences: int
    states: int
    shrinkage: float

    @property
    def above(self) -> Array:
        """At each lag, how many directions have an eigenvalue above `DIRECTION_THRESHOLD` for certain, (K,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.log_lower >= np.log(DIRECTION_THRESHOLD)).sum(axis=1))


def fisher(
    derivatives: InputJacobians, states: Array, outputs: tuple[slice, ...], weight: float = 1.0
) -> Fisher | None:
    """Return Fisher memory and coherence.

    Args:
        derivatives: of the last states of B sequences, in inputs of one standard deviation.
        states: (n, S), last states, of these sequences and others.
        outputs: rows of the state whose sum a readout sees.
        weight: how many inputs each direction stands for: all of them make noise.

    Returns:
        None where no state variable differs between sequences.
    """
    eps = float(np.finfo(states.dtype).eps)
    states = states.astype(float)
    spread = deviations(states)
    varies = spread > eps * np.abs(states).max(axis=1)  # what does not vary beyond rounding would be free of noise
    if not varies.any():
        return None
    spread, states = spread[varies], states[varies]
    centred = (states - states.mean(axis=1, keepdims=True)) / spread[:, None]
    noise, shrinkage = ledoit_wolf(centred, freedom=states.shape[1] - 1)
    _, batch, r, _ = derivatives.columns.shape
    logs, coherences = np.full((2, len(derivatives.lags), r), np.nan), np.full((3, len(derivatives.lags)), np.nan)
    for row in range(len(derivatives.lags)):
        columns, exponent = derivatives.common(row)
        if np.isfinite(columns).all() and columns.any():
            logs[:, row] = log_eigenvalues(columns[..., varies] / spread, exponent, noise, weight, eps)
            coherences[:, row] = coherence(np.sum([columns[..., rows] for rows in outputs], axis=0))
    value, low, high = coherences
    interval = np.stack([low, high], axis=1)
    return Fisher(derivatives.lags, logs[0], logs[1], value, interval, r, batch, states.shape[1], shrinkage)


def log_eigenvalues(columns: Array, exponent: int, noise: Covariance, weight: float, eps: float) -> tuple[Array, Array]:
    """Return the Fisher memory at one lag: natural logs of eigenvalues, (r,), and of the lower ends of their intervals.

    Args:
        columns: (B, r, n), ds_T/dx_(T-k) 2^-exponent of each sequence.
        exponent: their scale.
        noise: covariance of the states.
        weight: how many inputs each direction stands for.
        eps: relative rounding error of the derivatives.
    """
    batch, r, _ = columns.shape
    flat, exponents = rescale(columns.reshape(-1, 1), np.array([exponent]))
    columns, exponent = flat.reshape(columns.shape), int(exponents[0])
    # 1. What differs from sequence to sequence. It is shrunk, too: a few sequences leave most directions without
    #    noise, and a mean derivative that is larger than the states would seem certain there.
    differences = np.concatenate(columns - columns.mean(axis=0)).T
    of_derivatives, _ = ledoit_wolf(differences * np.sqrt(weight * r), freedom=(batch - 1) * r)
    # 2. (C + C_g 4^e)^-1 4^e; written as (C 4^-e + C_g)^-1 where e is positive.
    shift = int(np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    total = noise.scaled(-max(shift, 0)) + of_derivatives.scaled(min(shift, 0))
    white = total.whiten(np.concatenate(columns).T, eps).reshape(-1, batch, r)
    # 3. The square of the mean, from products of different sequences: of all, and without each one in turn.
    entire = white.sum(axis=1)
    squares, cross = np.einsum("pbi,pbj->bij", white, white), np.einsum("pi,pbj->bij", entire, white)
    square = entire.T @ entire
    matrix = (square - squares.sum(axis=0)) / (batch * (batch - 1))
    without = square - cross - cross.swapaxes(1, 2) - squares.sum(axis=0) + 2 * squares
    without /= (batch - 1) * (batch - 2)
    # 4. Eigenvalues, and the lower ends of their intervals; those that rounding could have made are left out.
    values = np.linalg.eigvalsh(matrix)[::-1]
    lower = values - interval_half(np.linalg.eigvalsh(without)[:, ::-1])
    least = eps * r * np.abs(square).max() / batch**2
    logs = [np.log(np.where(x > least, x, np.nan)) + 2 * LN2 * min(exponent, 0) for x in (values, lower)]
    return logs[0], logs[1]


def deviations(rows: Array) -> Array:
    """Return the standard deviation of each row, also of values whose squares over- or underflow."""
    size = np.abs(rows).max(axis=1, keepdims=True)
    scale = np.where(size > 0, size, 1.0)
    return np.asarray((rows / scale).std(axis=1, ddof=min(1, rows.shape[1] - 1), dtype=float) * scale[:, 0])


def coherence(columns: Array) -> tuple[float, float, float]:
    """Return the coherence of derivatives (B, r, H) over sequences, and the ends of its 95 % interval.

    Its square is the mean of <J_a, J_b> over pairs of sequences, relative to that of |J_a|^2: what sequences have in
    common by chance is zero on average.
    """
    batch = len(columns)
    scale = np.abs(columns).max(initial=0.0)
    if not scale > 0:
        return np.nan, np.nan, np.nan
    flat = columns.reshape(batch, -1) / scale
    products = flat @ flat.T
    squares, rows = np.diagonal(products), products.sum(axis=1)
    size, pairs = squares.sum(), products.sum() - squares.sum()
    square = pairs / (batch - 1) / size
    left, left_pairs = size - squares, pairs - 2 * (rows - squares)
    one_alone = left <= 0  # without this sequence there is no derivative
    without = np.divide(left_pairs / (batch - 2), left, out=np.zeros(batch), where=~one_alone)
    half = float(interval_half(without))
    low, value, high = np.sqrt(np.clip([square - half, square, square + half], 0.0, 1.0)).tolist()
    return value, low, high


def interval_half(without: Array) -> Array:
    """Return half of a 95 % interval from estimates without each of B sequences in turn, (B, ...).

    The jackknife (Efron & Stein 1981), with the quantile of Student's t.
    """
    batch = len(without)
    variance = (batch - 1) / batch * np.square(without - without.mean(axis=0)).sum(axis=0)
    return np.asarray(student(batch - 1) * np.sqrt(variance))


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there is an input, and its derivative is known."""
    path = run.chain.trajectory
    return path is not None and path.inputs.shape[1] > 0 and not isinstance(path.cell, FunctionCell)


def measure(run: Run, settings: Settings) -> Fisher | None:
    """Return Fisher memory and coherence at log-spaced lags; None with too few sequences, or input that is constant."""
    chain, path = run.chain, run.chain.trajectory
    assert path is not None
    distinct = np.unique(run.answers["orbits"])  # sequences that run together are one
    inputs = path.inputs if len(distinct) == chain.batch else path.inputs[..., distinct]
    deviation = deviations(inputs.swapaxes(0, 1).reshape(inputs.shape[1], -1))
    if not deviation.any():
        return None
    # 1. Further sequences of synthetic input, as many as are cheap; their last states are needed.
    per_step = UNIT_WORK * chain.size if chain.diagonal else chain.size**2
    affordable = int(WORK / (per_step * chain.steps))
    further = [] if len(distinct) < chain.batch else _further(run, int(np.clip(affordable, *FURTHER_SEQUENCES)))
    more = [c.trajectory.state(c.steps) for c in further if c.trajectory is not None]
    states = np.concatenate([path.state(path.steps)[:, distinct], *more], axis=1)
    # 2. Derivatives, of some sequences in some directions: about 2 T products for each column.
    columns = affordable // 2
    count = int(np.clip(columns // FEWEST_DIRECTIONS, *SEQUENCES_WITH_DERIVATIVES))
    joining = [c.first(count - chain.batch) for c in further if count >= 2 * chain.batch]  # a pass for fewer is no use
    chains, distinct = [chain.first(count), *joining], distinct[distinct < count]
    batch, m = len(distinct) + sum(c.batch for c in joining), len(deviation)
    if batch < FEWEST_SEQUENCES:
        return None
    r = min(m, max(columns // batch, FEWEST_DIRECTIONS))
    directions = deviation[:, None] * _orthonormal(m, r, settings.seed)
    lags = _lags(_deepest(run), settings.lags)
    first, *others = (
        input_jacobians(c, lags, directions, progress=partial(of_part, run.progress, i, len(chains)), title=TITLE)
        for i, c in enumerate(chains)
    )
    # 3. What follows from both.
    return fisher(joined([first.of(distinct), *others]), states, chain.outputs, m / r)


def _further(run: Run, count: int) -> list[JacobianChain]:
    """Return the chain of up to so many further sequences of synthetic input; [] where the input is given."""
    assert run.chain.trajectory is not None
    count = min(count, FURTHER_BYTES // run.chain.trajectory.inputs[..., 0].nbytes)
    chain = run.further(count) if run.further is not None and count else None
    if chain is None or chain.trajectory is None:
        return []
    finite = np.isfinite(chain.trajectory.states).all() and not chain.trajectory.nonfinite
    return [chain] if finite else []


def _deepest(run: Run) -> int:
    """Return the largest lag that is worth its steps: there the gradient has fallen by `DEEPEST_DECADES` at most.

    A loss that is given may read what others do not, and one that reads nothing says nothing: then all lags are.
    """
    last = run.chain.steps - 1
    with np.errstate(invalid="ignore"):
        norms = np.median(run.answers["gradients"].followed.state, axis=1)[::-1]
    start = norms[min(SETTLED_STEPS, last)]
    if run.loss.name == "given" or not np.isfinite(start):
        return last
    return int(np.flatnonzero(norms[: last + 1] >= start - DEEPEST_DECADES * LN10)[-1])


def _lags(deepest: int, count: int) -> Array:
    """Return 0 and up to `count` lags from 1 to the deepest, a factor of two apart or more: a lag costs its steps."""
    if not deepest:
        return np.zeros(1, int)
    octaves = deepest.bit_length()
    return np.unique([0, *np.round(np.geomspace(1, deepest, min(count, octaves))).astype(int), deepest])


def _orthonormal(m: int, r: int, seed: int) -> Array:
    """Return r random orthonormal directions of m inputs, (m, r); the inputs themselves where r is m."""
    if r == m:
        return np.eye(m)
    return np.asarray(np.linalg.qr(np.random.default_rng([seed, DIRECTIONS_STREAM]).standard_normal((m, r)))[0])
