"""From how many steps back can an input be told from noise, and does the gradient keep its sign between sequences?

A perturbation of the input k steps before the end changes the last state by G_b = ds_T/dx_(T-k), another matrix in each
sequence b. What all sequences agree on is the mean G. What hides it is the spread of the last states, with
covariance C, and the part of G_b that changes from sequence to sequence, with covariance C_g (the mean over input
directions of the covariance of the columns of G_b): averaging over a batch loses it. The eigenvalues of

    F_k = G^T (C + C_g)^-1 G

are the Fisher information that the last state has of each direction of that input (Ganguli, Huh & Sompolinsky 2008). An
input is measured in units of the standard deviation of each feature, so F is dimensionless. In a linear network under
white noise C_g is zero, G is the covariance of state and input, and an eigenvalue is the fraction of the variance of
an input that a linear readout of s_T gives back, between 0 and 1; their sum over directions and lags is the memory
capacity of Jaeger (2001), which is at most n. By Stein's lemma, G is that covariance in any network under white
Gaussian noise.

Two things are done about a small number of sequences. C + C_g is shrunk towards a multiple of the identity
(`numerics.shrinkage`). And products of the G_b of a sequence with itself are left out of F: the mean of B matrices that
cancel completely has 1/B of their size, and would pass for a signal. What is left of chance is measured: with random
signs for each sequence, the largest eigenvalue of F says what B sequences without anything in common can give.

`coherence` is the length of the mean gradient over its root mean square over sequences, 1 where all gradients are
equal, 0 where they cancel. The gradient is dL/dx_(T-k) of a readout w of the output at the last step, the same w in all
sequences; its mean over all w is a ratio of Frobenius norms, so that no readout has to be drawn.

m columns for each of B sequences are pushed forward from each lag (Linear.jvp_input, then k Jacobians), with a power of
two for each lag and sequence. The cost grows with m B and the sum of the lags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import REPORT_STEPS, Progress, no_progress
from gradscope.errors import UsageError
from gradscope.kernels.jvp import FrameJvps
from gradscope.numerics.formats import LN2, Array
from gradscope.numerics.scaled import BELOW_ALL_EXPONENTS, NOTHING_LEFT_EXPONENT, max_abs
from gradscope.numerics.shrinkage import shrunk_covariance

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "orbits")
TITLE = "Fisher memory"
SPECTRAL = True

RESOLVED_FROM = 0.01  # eigenvalue: 1 / 0.01 = 100 sequences show a change of one standard deviation at one sigma
SIGN_PATTERNS = 19  # random signs of sequences: nothing in common exceeds the largest of them in 1 of 20 cases
FEWEST_SEQUENCES = 6  # 2^5 patterns of signs: with fewer sequences, less than 19 differ
MOST_SHIFT = 200  # powers of two between gradient and noise: beyond, the smaller of the two is nothing beside the other
RESCALE_SQUARE = 2.0**52  # squared length of a column, or its inverse, from which it is scaled by a power of two
WORK_FLOPS = 1.2e9  # some 60 milliseconds on one core
FLOPS_PER_UNIT = 100  # beside the product with the weights, for each state variable: the gates' coefficients
# (input directions, lags) at most, the first that the work allows
SHAPES = ((8, 16), (8, 8), (4, 8), (3, 6), (2, 6), (2, 4))
ENOUGH_SEQUENCES = 64  # for which directions and lags are given up; beyond, sequences are
FEWEST_LAG_STEPS = 200  # of the longest lag, whatever the work
LAGS_SUM = 1.3  # sum of four log-spaced lags, relative to the longest


@dataclass(frozen=True, eq=False)
class FisherMemory:
    """What the last state knows of inputs k steps back, for K lags.

    Attributes:
        lags: (K,), steps back; 0 is the input of the last step.
        log_eigenvalues: (K, m), natural logs of the eigenvalues of F over the measured input directions, largest first;
            -inf: zero, or not positive without the products of a sequence with itself; nan: not determined.
        log_chance: (K,), natural log of the largest eigenvalue under random signs of the sequences; -inf: not positive.
        shrinkage: (K,), intensity between 0 (the sample covariance) and 1; nan where no covariance exists.
        coherence: (K,), length of the mean gradient over its root mean square; nan: there is no gradient.
        coherence_error: (K,), standard error of coherence squared (jackknife over sequences).
        cosine: (K,), mean cosine between the gradients of two sequences; nan: there is no gradient.
        sequences: how many sequences were measured.
        directions: how many input directions were measured.
        inputs: how many there are: features that vary.
    """

    lags: Array
    log_eigenvalues: Array
    log_chance: Array
    shrinkage: Array
    coherence: Array
    coherence_error: Array
    cosine: Array
    sequences: int
    directions: int
    inputs: int

    @property
    def resolved(self) -> Array:
        """How many of the measured directions exceed both RESOLVED_FROM and chance, (K,)."""
        least = np.maximum(np.log(RESOLVED_FROM), self.log_chance)
        return np.asarray((self.log_eigenvalues > least[:, None]).sum(axis=1))


def fisher_memory(
    chain: JacobianChain,
    *,
    lags: int = 16,
    sequences: Array | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FisherMemory | None:
    """Return the Fisher memory of the last state, and the coherence of the gradient, at log-spaced lags.

    Args:
        chain: the Jacobians along a run of a network with input; they must be finite.
        lags: at how many lags, at most.
        sequences: numbers of the sequences that are used; all unless given.
        seed: seed of the input directions, where there are too many to measure all, and of the signs.
        progress: takes (name, done, total) now and then.

    Returns:
        None where no feature of the input varies, or there are too few sequences for a covariance.
    """
    assert chain.trajectory is not None
    deviation = input_deviation(chain.trajectory.inputs)
    inputs = int(np.count_nonzero(deviation))
    chosen = np.arange(chain.batch) if sequences is None else np.asarray(sequences)
    if not inputs or len(chosen) < FEWEST_SEQUENCES:
        return None
    plan = _planned(chain.size, chain.steps, len(chosen), inputs, lags)
    rng = np.random.default_rng([seed, 5])  # another stream than those of weights, inputs and readouts
    directions = _directions(deviation, plan.directions, rng)
    chosen = chosen[: plan.sequences]
    chain = chain.first(int(chosen[-1]) + 1)
    signs = rng.choice([-1.0, 1.0], size=(SIGN_PATTERNS, len(chosen)))
    responses = _responses(chain, plan.lags, directions, chosen, progress or no_progress)
    assert chain.trajectory is not None
    states = _scaled(chain.trajectory.state(chain.steps)[:, chosen].T.astype(float))
    fisher = [_fisher(response, states, signs) for response in responses]
    agreement = [_agreement(response, chain.outputs) for response in responses]
    logs, chance, intensity = (np.array(x) for x in zip(*fisher, strict=True))
    coherence, error, cosine = np.array(agreement).T
    return FisherMemory(
        plan.lags, logs, chance, intensity, coherence, error, cosine, len(chosen), plan.directions, inputs
    )


# What is measured


class _Plan(NamedTuple):
    lags: Array
    directions: int
    sequences: int


def _planned(n: int, steps: int, batch: int, inputs: int, lags: int) -> _Plan:
    """Return lags, and numbers of input directions and sequences, that the work allows."""
    each = n * (2.0 * n + FLOPS_PER_UNIT)  # operations of a column and a step
    # 1. The longest lag, for what is measured in any case
    least = LAGS_SUM * each * min(SHAPES[-1][0], inputs) * FEWEST_SEQUENCES
    longest = min(steps - 1, max(FEWEST_LAG_STEPS, int(WORK_FLOPS / least)))
    # 2. As many directions and lags as there is room for
    for most_directions, most_lags in SHAPES:
        directions = min(most_directions, inputs)
        at = _log_lags(longest, min(most_lags, lags))
        per_sequence = float(at.sum() + len(at)) * directions * each
        if per_sequence * min(batch, ENOUGH_SEQUENCES) <= WORK_FLOPS:
            break
    # 3. Sequences
    return _Plan(at, directions, min(batch, max(FEWEST_SEQUENCES, int(WORK_FLOPS / per_sequence))))


def _log_lags(longest: int, count: int) -> Array:
    """Return 0 and up to `count` whole lags from 1 to `longest`, evenly spaced in log."""
    if longest < 1:
        return np.array([0])
    spaced = np.round(np.geomspace(1, longest, max(count, 2))).astype(int)
    return np.unique(np.append(0, spaced))


def input_deviation(inputs: Array) -> Array:
    """Return the standard deviation of each feature over steps and sequences, (T, m, B) -> (m,), whatever its size."""
    deviation = np.zeros(inputs.shape[1])
    for feature in range(len(deviation)):  # one at a time: a copy of all would be as large as the data
        x = inputs[:, feature].astype(float)
        scale = max_abs(x)
        if np.ptp(x):  # the mean of a constant is rounded: what is left of it is no deviation
            deviation[feature] = (x / scale).std() * scale
    return deviation


def _directions(deviation: Array, count: int, rng: np.random.Generator) -> Array:
    """Return orthonormal input directions in units of the standard deviations, (count, m)."""
    varies = np.flatnonzero(deviation)
    basis = np.eye(len(varies))
    if count < len(varies):
        basis = np.linalg.qr(rng.standard_normal((len(varies), count)))[0].T
    rows = np.zeros((len(basis), len(deviation)))
    rows[:, varies] = basis * deviation[varies]
    return rows


# Responses of the last state


class _Response(NamedTuple):
    """G_b^T of all sequences at one lag: `columns` 2^`exponents`.

    Attributes:
        columns: (B, m, n).
        exponents: (B,), integers.
    """

    columns: Array
    exponents: Array


def _responses(
    chain: JacobianChain, lags: Array, directions: Array, chosen: Array, progress: Progress
) -> list[_Response]:
    """Return ds_T/dx_(T-k) along the directions, at each of the lags, which rise."""
    trajectory, count = chain.trajectory, len(directions)
    assert trajectory is not None
    if trajectory.at is None and trajectory.steps > lags[-1] + 1:  # nothing before the first input is needed
        chain = chain.after(trajectory.steps - int(lags[-1]) - 1)
    steps, batch = chain.steps, chain.batch
    # The columns of the longest lag come first; those of other lags join them when their step comes.
    frame = np.empty((batch, 0, chain.size))
    exponents = np.zeros((batch, 0), np.int64)
    starts = {steps - 1 - int(lag) for lag in lags}
    unit, scale = _direction_scale(directions)
    with np.errstate(over="ignore", invalid="ignore"):
        for t, J in enumerate(FrameJvps(chain)):
            if frame.shape[1]:
                pushed = np.empty_like(frame)
                J.chunk.jvps.jvp(J.i, frame, pushed)
                frame, exponents = _in_range(pushed, exponents)
            if t in starts:
                step = chain.at(t)
                columns = [step.jvp_input(np.repeat(d[:, None], batch, axis=1).astype(chain.dtype)) for d in unit]
                begin = np.stack(columns).astype(float).transpose(2, 0, 1)
                frame = np.concatenate([frame, begin], axis=1)
                exponents = np.concatenate([exponents, np.full((batch, 1), scale, np.int64)], axis=1)
                frame, exponents = _in_range(frame, exponents)
            if t % REPORT_STEPS == 0:
                progress(TITLE, t, steps)
    groups = frame[chosen].reshape(len(chosen), len(lags), count, chain.size)
    return [_Response(groups[:, k], exponents[chosen, k]) for k in reversed(range(len(lags)))]


def _direction_scale(directions: Array) -> tuple[Array, int]:
    """Return the directions near one, and the power of two that they were divided by."""
    exponent = int(np.frexp(np.abs(directions).max())[1])
    return np.ldexp(directions, -exponent), exponent


def _in_range(frame: Array, exponents: Array) -> tuple[Array, Array]:
    """Return the columns of each lag and sequence near one again, if any left the range, and their exponents.

    Args:
        frame: (B, L m, n), the columns of L lags side by side.
        exponents: (B, L).
    """
    squares = np.einsum("skn,skn->sk", frame, frame)
    if 1 / RESCALE_SQUARE < squares.min() and squares.max() < RESCALE_SQUARE:
        return frame, exponents
    batch, lags = exponents.shape
    groups = frame.reshape(batch, lags, -1)
    shift = np.frexp(np.abs(groups).max(axis=2))[1]
    return np.ldexp(groups, -shift[..., None]).reshape(frame.shape), exponents + shift


# Fisher information and coherence


def _scaled(x: Array) -> tuple[Array, int]:
    """Return the deviations of rows from their mean near one, (B, n), and their power of two."""
    exponent = int(np.frexp(np.abs(x).max(initial=0.0))[1])
    unit = np.ldexp(x, -exponent)
    unit = unit - unit.mean(axis=0)
    shift = int(np.frexp(np.abs(unit).max(initial=0.0))[1])
    return np.ldexp(unit, -shift), exponent + shift


def _common(response: _Response) -> tuple[Array, int]:
    """Return the columns of all sequences in one scale, and its power of two."""
    alive = response.columns.any(axis=(1, 2))
    top = int(np.where(alive, response.exponents, BELOW_ALL_EXPONENTS).max())
    shift = np.clip(response.exponents - top, NOTHING_LEFT_EXPONENT, 0).astype(np.int32)
    return np.ldexp(response.columns, shift[:, None, None]), top if alive.any() else 0


def _fisher(response: _Response, states: tuple[Array, int], signs: Array) -> tuple[Array, float, float]:
    """Return natural logs of the eigenvalues of F and of what chance gives, and the shrinkage; nan: no noise."""
    G, exponent = _common(response)
    batch, count, n = G.shape
    # 1. C + C_g in the scale of the larger of the two
    spread, state_exponent = states
    noise = G - G.mean(axis=0)
    top = max(exponent if noise.any() else BELOW_ALL_EXPONENTS, state_exponent if spread.any() else BELOW_ALL_EXPONENTS)
    shifts = (max(e - top, NOTHING_LEFT_EXPONENT) for e in (state_exponent, exponent))
    of_states, of_gradients = (np.ldexp(x, min(s, 0)) for x, s in zip((spread, noise), shifts, strict=True))
    covariance = shrunk_covariance(np.concatenate([of_states[:, None], of_gradients / np.sqrt(count)], axis=1))
    if covariance is None:
        none = np.nan if G.any() else -np.inf
        return np.full(count, none), none, np.nan
    # 2. F from products of different sequences
    solved = covariance.solve(G.reshape(-1, n)).reshape(G.shape)  # G_b^T M^-1
    itself = np.einsum("bin,bjn->ij", solved, G, optimize=True)
    mean = G.mean(axis=0)
    values = np.linalg.eigvalsh(_different(solved.mean(axis=0) @ mean.T, itself, batch))[::-1]
    weight = (1 - covariance.intensity) * batch / (batch - 1) / count
    weight *= 4.0 ** np.clip(exponent - top, -MOST_SHIFT, MOST_SHIFT)  # G is not in the scale of M
    chance = _largest_by_chance(G, solved, itself, signs, weight)
    # 3. what is rounding of the products is zero
    rounding = np.finfo(float).eps * batch * count * float(np.trace(itself)) / batch
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(values > rounding, values, 0.0))
        log_chance = float(np.log(chance if chance > rounding else 0.0))
    scale = 2 * LN2 * (exponent - top)
    return logs + scale, log_chance + scale, covariance.intensity


def _different(mean: Array, itself: Array, batch: int) -> Array:
    """Return the mean product of two different sequences, from the mean over all pairs and the sum over equal ones."""
    square = (batch**2 * mean - itself) / (batch * (batch - 1))
    return (square + square.swapaxes(-1, -2)) / 2


def _largest_by_chance(G: Array, solved: Array, itself: Array, signs: Array, weight: float) -> float:
    """Return the largest eigenvalue of F if each sequence had a random sign, of all patterns of signs.

    M has the mean of the G_b taken out: it is a sum of squares that signs do not change, minus weight G G^T. With signs
    another mean, Y, is taken out, so that M changes by weight (G G^T - Y Y^T), of rank 2 m, and Woodbury gives its
    inverse from the products that are there already. Without this change, chance would pass for a signal: the mean
    without signs would stand in a direction from which M leaves its noise out, and those with signs would not.

    Args:
        G: (B, m, n), the columns of G_b as rows.
        solved: (B, m, n), G_b^T M^-1.
        itself: (m, m), the sum over b of G_b^T M^-1 G_b.
        signs: (P, B).
        weight: of the mean in M.
    """
    (batch, count, n), patterns = G.shape, len(signs)
    # 1. W = (G, Y), and its products with M^-1
    means = np.stack([np.ones_like(signs), signs], axis=1) / batch  # (P, 2, B)
    W = (means.reshape(-1, batch) @ G.reshape(batch, -1)).reshape(patterns, 2 * count, n)
    of_each = (W.reshape(-1, n) @ solved.reshape(-1, n).T).reshape(patterns, 2 * count, batch, count)  # W^T M^-1 G_b
    square = np.einsum("pwb,pvbj->pvwj", means, of_each, optimize=True).reshape(patterns, 2 * count, 2 * count)
    total = square[:, count:, count:]
    if weight > 4.0**-MOST_SHIFT:
        # 2. M^-1 with signs = M^-1 - M^-1 W (S^-1 + W^T M^-1 W)^-1 W^T M^-1, S = diag(weight, -weight)
        change = np.diag(np.repeat([1 / weight, -1 / weight], count)) + square
        flat = of_each.reshape(patterns, 2 * count, -1)
        correction = np.linalg.solve(change, flat).reshape(of_each.shape)
        itself = itself - np.einsum("pwbi,pwbj->pij", of_each, correction, optimize=True)
        of_signs = square[:, :, count:]
        total = total - of_signs.swapaxes(1, 2) @ np.linalg.solve(change, of_signs)
    return float(np.linalg.eigvalsh(_different(total, itself, batch)).max())


def _agreement(response: _Response, outputs: Sequence[slice]) -> tuple[float, float, float]:
    """Return coherence, the standard error of its square, and the mean cosine between two sequences.

    Args:
        response: of the whole state.
        outputs: the parts of the state whose sum a loss sees.
    """
    columns = np.sum([response.columns[..., rows] for rows in outputs], axis=0)
    gradients, _ = _common(_Response(columns, response.exponents))
    rows = gradients.reshape(len(gradients), -1)
    gram = rows @ rows.T
    squares = np.diagonal(gram)
    if not squares.any():
        return np.nan, np.nan, np.nan
    batch, total, trace = len(gram), float(gram.sum()), float(squares.sum())
    square = float(_coherence_square(total, trace, batch))
    # jackknife: without each of the sequences in turn
    rest = np.where(trace - squares > np.finfo(float).eps * trace, trace - squares, np.inf)  # 0 where one is all
    without = _coherence_square(total - 2 * gram.sum(axis=1) + squares, rest, batch - 1)
    error = float(np.sqrt((batch - 1) / batch * np.square(without - without.mean()).sum()))
    return float(np.sqrt(max(square, 0.0))), error, _mean_cosine(columns.reshape(batch, -1))


def _mean_cosine(rows: Array) -> float:
    """Return the mean cosine between two rows, without rows of zeros; nan where less than two are left."""
    size = np.abs(rows).max(axis=1)
    unit = rows[size > 0] / size[size > 0, None]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    count = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - count) / (count * (count - 1))) if count > 1 else np.nan


def _coherence_square(total: Any, squares: Any, batch: int) -> Any:
    """Return the mean product of two different gradients over the mean square of one; 1 / B of chance is left out.

    Args:
        total: sum of the products of all pairs, those of a gradient with itself included.
        squares: sum of the latter.
        batch: how many gradients.
    """
    return (total - squares) / (batch - 1) / squares


# The analysis


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there is an input, and a derivative in it."""
    chain = run.chain
    if chain.trajectory is None or not chain.trajectory.inputs.shape[1] or chain.batch < FEWEST_SEQUENCES:
        return False
    J = chain.at(chain.steps - 1)
    try:
        J.jvp_input(np.zeros((chain.trajectory.inputs.shape[1], chain.batch), chain.dtype))
    except UsageError:
        return False
    return True


def measure(run: Run, settings: Settings) -> FisherMemory | None:
    """Measure the sequences that run along orbits of their own."""
    different = np.unique(run.answers["orbits"])
    return fisher_memory(run.chain, lags=settings.lags, sequences=different, seed=settings.seed, progress=run.progress)
