"""At what rate does each direction grow? The Lyapunov spectrum.

Push a frame of k orthonormal columns along the chain, J_t Q = Q' R, and add up the logarithms of the diagonal of
R: their means over time are the k largest Lyapunov exponents, in nats per step (Benettin, Galgani, Giorgilli &
Strelcyn 1980; Shimada & Nagashima 1979). After enough steps the first column lies along the direction that
grows fastest, the first two span the plane that does, and so on, whatever the frame was in the beginning; the
steps until then (`burn`) are not counted. How many that takes is not known beforehand: see `_follow`.

Several steps may pass before the frame is made orthonormal again, as long as its columns stay apart: the interval
adapts to the spread that the last one had. For a spectrum that is complete, the sum of the logarithms of a step is
log|det J_t|, whatever the frame: that is checked along the way.

The exponents of a network that is driven by input are conditional on the input; the direction of time has no
exponent of its own here, since a map has no flow along its orbit. Standard errors are over independent sequences,
or over batches of steps where there is one. They are about inputs and initial states: other weights are another
system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from gradscope._workers import Task, finished
from gradscope.analysis._arguments import check_chain, check_count
from gradscope.dynamics.chain import JacobianChain
from gradscope.errors import UsageError
from gradscope.kernels.follow import LEADING, Followed, follow
from gradscope.kernels.units import follow_units
from gradscope.maps.jacobian import Array
from gradscope.numerics.statistics import batch_error, correlation_time, mean_error, student

__all__ = ["LONGEST_BURN", "LyapunovSpectrum", "affordable", "lyapunov_tasks", "lyapunov", "summary", "usual_burn"]

WORK = 4.0e11  # floating-point operations that are spent unasked: ten to twenty seconds on one core
TOGETHER = 1.0e7  # operations in a step of the sequences that are followed together: below, overhead is what counts
COLUMNS = 64  # of their frames: fewer make slow products
SPEED = 5.0e10  # operations a second, for how long it takes, roughly
LONGEST_BURN = 100  # steps that are set aside for the frame unasked
UNSURE = 1e-3  # nats per step: an exponent that rounding may have moved by more is not determined
UNLIKELY = 0.999  # one-sided level at which two halves of a run are said to differ
SUMMED = 64 * float(np.finfo(float).eps)  # relative: sums of logarithms over steps and directions
NEGLIGIBLE = 1e-3  # nats per step by which they may differ in any case


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Lyapunov exponents, largest first.

    Attributes:
        exponents: (k,), means over steps and sequences, nats per step; -inf: the direction is lost exactly; nan: not
            determined, rounding moves it.
        standard_errors: (k,), nats per step; nan: not known.
        interval: (k, 2), 95 % interval: by Student's t, and `beginning` as an independent error; nan: not known.
        by_sequence: (S, k).
        steps: (M,), how many steps were counted at each mark of the next two.
        running: (M, k), means over sequences of what had grown until then: the curve that converges.
        local: (M, k), the same of the steps since the last mark: finite-time exponents along the sequence.
        burn: steps that only turned the frame.
        size: state variables n.
        over: "sequences", "batches" or "": what the standard errors are over.
        drift: (k,), whether the second half of the run differs from the first by more than its error.
        doubt: (k,), by how much rounding may have moved each exponent, to first order, nats per step.
        beginning: (k,), by how much each exponent changes if its column begins in another direction, nats per step;
            nan: not known, for all beyond the first few.
        correlation: integrated autocorrelation time of the growth of the first column, in steps: so many steps count
            as one independent one; None where there are several sequences, or nothing varies.
        determinant_error: largest difference, over sequences, of the sum of the exponents from the mean of
            log|det J_t|, nats per step; None where some exponents are not asked for, or not determined.
    """

    exponents: Array
    standard_errors: Array
    interval: Array
    by_sequence: Array
    steps: Array
    running: Array
    local: Array
    burn: int
    size: int
    over: str
    drift: Array
    doubt: Array
    beginning: Array
    correlation: float | None
    determinant_error: float | None

    @property
    def depends_on_start(self) -> bool:
        """Whether most of the first interval is owed to the direction that its measurement began in."""
        half = np.ptp(self.interval[0]) / 2
        return bool(self.beginning[0] > NEGLIGIBLE and not self.beginning[0] <= half * np.sqrt(0.5))

    @property
    def kaplan_yorke(self) -> float | None:
        """Kaplan-Yorke dimension (1979): how many of the exponents add up to zero; None: more than are known."""
        sums = np.cumsum(self.exponents)
        if np.isnan(sums[0]):
            return None
        grows = np.flatnonzero(~(sums >= 0))
        if not grows.size:
            return float(self.size) if len(sums) == self.size else None
        j = int(grows[0])
        if np.isnan(sums[j]):
            return None
        return float(j + (sums[j - 1] / abs(self.exponents[j]) if j else 0.0))

    @property
    def entropy_rate(self) -> float | None:
        """Sum of the positive exponents, nats per step: the entropy rate at most (Ruelle 1978); None: not all known."""
        falls = np.flatnonzero(self.exponents <= 0)
        known = self.exponents[: falls[0]] if falls.size else self.exponents
        if np.isnan(known).any() or (not falls.size and len(known) < self.size):
            return None
        return float(self.exponents[self.exponents > 0].sum())

    def determinant_allowed(self, agrees: float) -> float:
        """Return by how much the sum may miss log|det J|: `agrees`, and what rounding of sum and steps explains."""
        total = np.nan_to_num(self.by_sequence, neginf=0).sum(axis=1)
        return float(agrees + SUMMED * np.abs(total).max() + 10 * self.doubt.sum())


def lyapunov(
    chain: JacobianChain,
    values: int | None = None,
    *,
    burn: int | None = None,
    sequences: int | None = None,
    orbits: Array | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> LyapunovSpectrum:
    """Measure the rates at which directions grow or shrink along a chain of Jacobians.

    Args:
        chain: the Jacobians; they must be finite.
        values: how many exponents, the largest ones; None for all.
        burn: steps at the start that only turn the frame; a fifth of all, up to 100, unless given.
        sequences: how many sequences; as many as are quick unless given.
        orbits: (B,), sequences with the same number run along one orbit, and count once; all that differ unless
            given.
        seed: seed of the frame.
        threads: how many processor cores may be used. Sequences are followed in processes of their own, each with one
            BLAS thread, where there are several and it takes long. The numbers are the same however many there are.
        progress: called with a word now and then.

    Raises:
        UsageError: a number out of range, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    check_chain(chain)
    check_count("threads", threads, 1)
    tasks, put_together = lyapunov_tasks(chain, values, burn=burn, sequences=sequences, orbits=orbits, seed=seed)
    done = dict(finished(tasks, threads, progress or (lambda _: None)))
    return put_together([done[i] for i in range(len(tasks))])


def lyapunov_tasks(
    chain: JacobianChain,
    values: int | None = None,
    *,
    burn: int | None = None,
    sequences: int | None = None,
    orbits: Array | None = None,
    seed: int = 0,
) -> tuple[list[Task], Callable[[Sequence[Followed]], LyapunovSpectrum]]:
    """Return what has to be done for `lyapunov`, which has the same arguments, and what puts the results together."""
    n = chain.size
    check_count("values", values, 1)
    check_count("burn", burn, 0, chain.steps - 1)
    check_count("sequences", sequences, 1, chain.batch)
    check_count("seed", seed, 0)
    if orbits is not None and np.shape(orbits) != (chain.batch,):
        raise UsageError(f"orbits must have one number for each of {chain.batch} sequences")
    k = min(values or n, n)
    burn = usual_burn(chain.steps) if burn is None else burn
    count = min(chain.batch, sequences or affordable(chain.steps, n, k))
    tasks = []
    if chain.diagonal:
        count = sequences or chain.batch
        tasks.append(Task("Lyapunov exponents", follow_units, (chain.first(count), k, burn, seed)))
    else:
        each = _work(chain.steps, n, k)
        # whatever the number of threads: how sequences are put together decides on the last digits
        groups = max(1, count // max(ceil(TOGETHER * chain.steps / each), ceil(COLUMNS / k)))
        for low, high in pairwise(round(i * count / groups) for i in range(groups + 1)):
            arguments = (chain.between(low, high), k, burn, seed)
            tasks.append(Task("Lyapunov exponents", follow, arguments, {"number": low}, (high - low) * each / SPEED))

    def put_together(parts: Sequence[Followed]) -> LyapunovSpectrum:
        run = Followed.joined(parts)
        # the same numbers to the last digit: the same sequence twice
        same = np.unique(run.grown[-1], axis=0, return_index=True)[1] if orbits is None else orbits[:count]
        return summary(run.of(np.unique(same)))

    return tasks, put_together


def usual_burn(steps: int) -> int:
    """Return how many steps only turn the frame unasked."""
    return min(steps // 5, LONGEST_BURN)


def affordable(steps: int, size: int, values: int) -> int:
    """Return how many sequences are followed unasked."""
    return max(1, int(WORK / _work(steps, size, values)))


def _work(steps: int, size: int, values: int) -> int:
    """Return about how many operations it takes to follow one sequence."""
    return steps * size * sum(k * (2 * size + 3 * k) for k in (values, min(values, LEADING)))


def summary(run: Followed) -> LyapunovSpectrum:
    """Turn nats at the marks into exponents and their errors."""
    grown, steps, doubt = run.grown, run.steps, run.doubt
    last = np.argsort(np.isneginf(grown[-1]), axis=1, kind="stable")  # what is lost comes last, in each sequence
    grown, doubt = np.take_along_axis(grown, last[None], axis=2), np.take_along_axis(doubt, last, axis=1)
    lengths = np.diff(steps, prepend=0)
    alone = grown.shape[1] == 1
    with np.errstate(invalid="ignore"):
        by_sequence = grown[-1] / steps[-1]
        pieces = np.diff(grown, axis=0, prepend=0) / lengths[:, None, None]
        exponents = by_sequence.mean(axis=0)
        even = pieces[lengths == lengths[0]]  # without the rest at the end
        correlation = correlation_time(np.diff(run.first[:, 0], prepend=0.0)) if alone else None
        error, freedom = batch_error(even[:, 0]) if alone else mean_error(by_sequence)
    beginning = _beginning(run)
    half = np.hypot(student(freedom) * error, np.nan_to_num(beginning))
    order = np.argsort(-exponents, kind="stable")
    unsure = (doubt / steps[-1] > UNSURE).any(axis=0) & ~np.isneginf(exponents)
    exponents = np.where(unsure, np.nan, exponents)
    whole = len(exponents) == run.size and not unsure.any()
    return LyapunovSpectrum(
        exponents=exponents[order],
        standard_errors=error[order],
        interval=np.stack([exponents - half, exponents + half], axis=1)[order],
        by_sequence=by_sequence[:, order],
        steps=steps,
        running=(grown / steps[:, None, None]).mean(axis=1)[:, order],
        local=pieces.mean(axis=1)[:, order],
        burn=run.burn,
        size=run.size,
        over="" if np.isnan(error).all() else "batches" if alone else "sequences",
        drift=_drift(even)[order],
        doubt=(doubt / steps[-1]).max(axis=0)[order],
        beginning=beginning,
        correlation=correlation,
        determinant_error=_difference(grown[-1].sum(axis=1), run.logdet) / steps[-1] if whole else None,
    )


def _beginning(run: Followed) -> Array:
    """Return by how much each exponent depends on where its column began, nats per step; nan: not known."""
    count = run.before.shape[1]
    both = (run.before.mean(axis=0), run.grown[run.met, :, :count].mean(axis=0))
    before, after = (np.sort(x)[::-1] for x in both)  # columns may change places
    with np.errstate(invalid="ignore"):
        change = np.where(before == after, 0.0, np.abs(before - after)) / run.steps[-1]
    return np.append(np.nan_to_num(change, posinf=0.0), np.full(run.grown.shape[2] - count, np.nan))


def _difference(a: Array, b: Array) -> float:
    """Return the largest |a - b|, with -inf equal to -inf."""
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b)).max())


def _drift(pieces: Array) -> Array:
    """Tell of each exponent whether the two halves of the run, (M, S, k), differ by more than chance."""
    half = len(pieces) // 2
    if half < 2:
        return np.zeros(pieces.shape[2], bool)
    first, second = pieces[:half], pieces[half:]
    with np.errstate(invalid="ignore"):
        changes = second.mean(axis=0) - first.mean(axis=0)  # (S, k)
        if len(changes) > 1:
            error, freedom = mean_error(changes)
        else:
            error = np.hypot(batch_error(first[:, 0])[0], batch_error(second[:, 0])[0])
            freedom = np.full(error.shape, half - 1)
        # rounding makes differences of 1e-15 "significant" in systems that do not vary
        return np.asarray(np.abs(changes.mean(axis=0)) > student(freedom, UNLIKELY) * error + NEGLIGIBLE)
