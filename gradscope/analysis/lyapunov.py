"""At what rate does each direction grow? The Lyapunov spectrum.

Push a frame of k orthonormal columns along the chain, J[t] Q[t] = Q[t+1] R[t], and add up the logarithms of the
diagonal of R: their means over time are the k largest Lyapunov exponents, in nats per step (Benettin, Galgani,
Giorgilli & Strelcyn 1980; Shimada & Nagashima 1979). That is `benettin`. After enough steps the first column lies along
the direction that grows fastest, the first two span the plane that does, and so on, whatever the frame was in the
beginning; the steps until then (`burn`) are not counted.

The number of steps needed grows as one over the gap between neighbouring exponents and is not known beforehand:
hundreds in a slow network. So the first columns go along the run once; a second pass starts from where they ended. The
difference between both passes estimates what still depends on the start (`start_dependence`).

What makes it fast and exact stands elsewhere: steps between two decompositions, Cholesky QR and its fallback
(`kernels.frame`), products with gathered matrices (`kernels.jvp`), diagonal recurrences unit by unit (`kernels.units`),
error bars from batch means (`numerics.statistics`). For a spectrum that is complete, the sum of the logarithms of a
step is log|det J[t]|, whatever the frame: that is checked along the way.

The exponents of a network that is driven by input are conditional on the input; the direction of time has no
exponent of its own here, since a map has no flow along its orbit. Standard errors are over independent sequences,
or over batches of steps where there is one. They are about inputs and initial states: other weights are another
system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import REPORT_STEPS, Progress, no_progress, of_part
from gradscope.errors import UsageError
from gradscope.kernels.frame import FRAME_SEED, FirstColumn, FrameGrowth, Frames
from gradscope.kernels.jvp import FrameJvps, StepJacobian
from gradscope.kernels.units import unit_growth, unit_growth_by_step
from gradscope.numerics.formats import EPS, Array
from gradscope.numerics.statistics import batch_error, correlation_time, halves_differ, mean_error, student

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "orbits")
TITLE = "Lyapunov exponents"
SPECTRAL = True

WORK_FLOPS = 4.0e11  # operations that are spent by default: ten to twenty seconds on one core
GROUP_FLOPS = 1.0e7  # operations in a step of a group of sequences with common products: below, overhead dominates
GROUP_COLUMNS = 64  # columns of the frames of such a group: fewer make slow products
LONGEST_BURN = 100  # steps of the burn-in by default, at most
FIRST_PASS_STEPS = 1000  # counted steps of the first pass, at most
FIRST_PASS_COLUMNS = 16  # columns of the first pass: as many as are asked for by default, and few beside all of them
UNSURE_NATS_PER_STEP = 1e-3  # an exponent that rounding may have moved by more is not determined
SUM_RELATIVE = 64 * EPS  # rounding of sums of logarithms over steps and directions
NEGLIGIBLE_NATS_PER_STEP = 1e-3  # by which two halves of a run may differ in any case


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Lyapunov exponents, largest first.

    Attributes:
        exponents: (k,), means over steps and sequences, nats per step; -inf: the direction is lost exactly; nan: not
            determined, rounding moves it.
        standard_errors: (k,), nats per step; nan: not known.
        interval: (k, 2), 95 % interval: by Student's t, and `start_dependence` as an independent error; nan: not known.
        by_sequence: (S, k).
        steps: (M,), how many steps were counted at each mark of the next two.
        running: (M, k), means over sequences of what had grown until then: the curve that converges.
        local: (M, k), the same of the steps since the last mark: finite-time exponents along the sequence.
        burn: steps that only turned the frame.
        size: state variables n.
        errors_are_over: "sequences", "batches" or "": what the standard errors are over.
        halves_differ: (k,), whether the second half of the run differs from the first by more than its error.
        rounding_error: (k,), by how much rounding may have moved each exponent, to first order, nats per step.
        start_dependence: (k,), by how much each exponent changes if its column starts in another direction, nats per
            step; nan: not known, for all beyond the first few.
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
    errors_are_over: str
    halves_differ: Array
    rounding_error: Array
    start_dependence: Array
    correlation: float | None
    determinant_error: float | None

    @property
    def depends_on_start(self) -> bool:
        """Whether most of the first interval comes from the direction that the measurement started in."""
        half, start = np.ptp(self.interval[0]) / 2, self.start_dependence[0]
        # half^2 = statistical^2 + start_dependence^2: most of it is the start; nan counts as yes
        return bool(start > NEGLIGIBLE_NATS_PER_STEP and not start <= half * np.sqrt(0.5))

    @property
    def kaplan_yorke(self) -> float | None:
        """Kaplan-Yorke dimension (1979): how many of the exponents add up to zero; None: more than are known."""
        sums = np.cumsum(self.exponents)
        if np.isnan(sums[0]):
            return None
        negative = np.flatnonzero(~(sums >= 0))
        if not negative.size:
            return float(self.size) if len(sums) == self.size else None
        j = int(negative[0])
        if np.isnan(sums[j]):
            return None
        return float(j + (sums[j - 1] / abs(self.exponents[j]) if j else 0.0))

    @property
    def entropy_rate(self) -> float | None:
        """Sum of the positive exponents, nats per step: the entropy rate at most (Ruelle 1978); None: not all known."""
        not_positive = np.flatnonzero(self.exponents <= 0)
        known = self.exponents[: not_positive[0]] if not_positive.size else self.exponents
        if np.isnan(known).any() or (not not_positive.size and len(known) < self.size):
            return None
        return float(self.exponents[self.exponents > 0].sum())

    def determinant_allowed(self, agrees: float) -> float:
        """Return by how much the sum may miss log|det J|: `agrees`, and what rounding of sum and steps explains."""
        total = np.nan_to_num(self.by_sequence, neginf=0).sum(axis=1)
        return float(agrees + SUM_RELATIVE * np.abs(total).max() + 10 * self.rounding_error.sum())


def lyapunov(
    chain: JacobianChain,
    values: int | None = None,
    *,
    burn: int | None = None,
    sequences: int | None = None,
    orbits: Array | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LyapunovSpectrum:
    """Return the Lyapunov spectrum along a chain of Jacobians: the rates at which directions grow or shrink.

    Args:
        chain: the Jacobians; they must be finite.
        values: how many exponents, the largest ones; None for all.
        burn: steps at the start that only turn the frame; a fifth of all, up to 100, unless given.
        sequences: how many sequences; as many as are quick unless given.
        orbits: (B,), sequences with the same number run along one orbit, and count once; all that differ unless
            given.
        seed: seed of the frame.
        progress: takes (name, done, total) now and then.

    Raises:
        UsageError: a number out of range, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    check_chain(chain)
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
    report = progress or no_progress
    if chain.diagonal:
        count = sequences or chain.batch
        parts = [_by_unit(chain.first(count), k, burn, seed, progress=report)]
    else:
        # The sequences of a group share products. The size of groups changes the last digits, so it depends on array
        # sizes only, not on the machine.
        flops = _flops(chain.steps, n, k)
        groups = max(1, count // max(ceil(GROUP_FLOPS * chain.steps / flops), ceil(GROUP_COLUMNS / k)))
        ends = [round(i * count / groups) for i in range(groups + 1)]
        parts = [
            frame_growth(
                chain.between(low, high), k, burn, seed, number=low, progress=partial(of_part, report, i, groups)
            )
            for i, (low, high) in enumerate(pairwise(ends))
        ]
    growth = FrameGrowth.joined(parts)
    # the same numbers to the last digit: the same sequence twice
    same = np.unique(growth.at_marks[-1], axis=0, return_index=True)[1] if orbits is None else orbits[:count]
    return spectrum(growth.of(np.unique(same)))


def usual_burn(steps: int) -> int:
    """Return how many steps only turn the frame by default."""
    return min(steps // 5, LONGEST_BURN)


def affordable(steps: int, size: int, values: int) -> int:
    """Return how many sequences are measured by default."""
    return max(1, int(WORK_FLOPS / _flops(max(steps, 1), size, values)))  # an input may be empty, and is refused later


def _flops(steps: int, size: int, values: int) -> int:
    """Return about how many operations one sequence takes."""
    return steps * size * sum(k * (2 * size + 3 * k) for k in (values, min(values, FIRST_PASS_COLUMNS)))


def benettin(
    frames: Frames,
    jacobians: Iterable[StepJacobian],
    burn: int,
    marks: Sequence[int],
    *,
    observe: Callable[[int, StepJacobian], None] = lambda t, J: None,
    restart: Array | None = None,
) -> Array:
    """Return how much the columns of frames grow along a chain: the sums of log diag R.

    Args:
        frames: orthonormal columns for each of S sequences; pushed along.
        jacobians: J[0], J[1], ... of all sequences.
        burn: steps that are not counted.
        marks: steps after which the growth is noted, in rising order; the last one ends the run.
        observe: called with (t, J[t]) after each step.
        restart: (S,), sequences whose frames begin once more in random directions where counting begins.

    Returns:
        (M, S, k), nats; -inf for a column that is lost exactly.
    """
    growth: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):  # an interval that overflows is repeated step by step
        for t, J in enumerate(jacobians):
            frames.multiply(J)  # Q <- J[t] Q
            mark = burn if t < burn else marks[len(growth)]
            if frames.due(min(mark - t - 1, J.left)) or not J.left:
                frames.orthonormalise()  # Q R <- Q, log_growth <- log_growth + log diag R
            if t + 1 == burn:
                frames.start_counting(restart)  # log_growth <- 0
            observe(t, J)
            if t + 1 == marks[len(growth)]:
                growth.append(frames.total_growth())
                if len(growth) == len(marks):
                    break
    return np.array(growth)


def frame_growth(
    chain: JacobianChain,
    k: int,
    burn: int,
    seed: int,
    progress: Progress = no_progress,
    *,
    number: int = 0,
) -> FrameGrowth:
    """Return how much frames of k columns grow along every sequence; the arguments are those of `lyapunov`.

    Where the chain is a part of a longer list of sequences, `number` is that of its first one there: seeds go by it.
    """
    marks, first_pass_end = _marks(chain.steps, burn)
    jacobians, n = FrameJvps(chain), chain.size
    total = marks[first_pass_end] + chain.steps

    # 1. first pass: the first columns go along the run, or a part of it
    def in_first_pass(t: int, _: StepJacobian) -> None:
        if t % REPORT_STEPS == 0:
            progress(TITLE, t, total)

    first_pass_frames = Frames(n, min(k, FIRST_PASS_COLUMNS), chain.batch, seed, number=number)
    first_pass = benettin(first_pass_frames, jacobians, burn, marks[: first_pass_end + 1], observe=in_first_pass)[-1]

    # 2. second pass: all columns, starting with those as they ended
    frames = Frames(n, k, chain.batch, seed, number=number, lead=first_pass_frames.Q)
    first_column, log_det = FirstColumn(chain.steps - burn, chain.batch, n), np.zeros(chain.batch)

    def observe(t: int, J: StepJacobian) -> None:
        if t >= burn:
            first_column.note(t - burn, frames)
            if k == n:
                log_det[:] += J.log_abs_det()
        if t % REPORT_STEPS == 0:
            progress(TITLE, marks[first_pass_end] + t, total)

    growth = benettin(frames, jacobians, burn, marks, observe=observe)
    rounding_error = frames.rounding_error

    # 3. A column that warmed up may end along a unit that dies; such sequences begin again in random directions.
    lost = np.isneginf(growth[-1]).all(axis=1)
    if lost.any() and burn:
        frames = Frames(n, k, chain.batch, seed, number=number)
        again = benettin(frames, jacobians, burn, marks, restart=lost)
        growth[:, lost], rounding_error[lost] = again[:, lost], frames.rounding_error[lost]
        first_pass[lost] = np.nan
    return FrameGrowth(
        growth,
        np.array(marks) - burn,
        first_column.logs(),
        first_pass,
        first_pass_end,
        burn,
        n,
        rounding_error,
        log_det,
    )


def _by_unit(chain: JacobianChain, k: int, burn: int, seed: int, *, progress: Progress) -> FrameGrowth:
    """Return the growth where no unit sees another: as `frame_growth`, with a frame for each unit."""
    marks, first_pass_end = _marks(chain.steps, burn)
    p, units = len(chain.parts), next(iter(chain.sizes.values()))
    q = np.random.default_rng([seed, FRAME_SEED]).standard_normal((p, units, chain.batch))
    q /= np.sqrt(np.square(q).sum(axis=0))
    first_steps, cuts = marks[first_pass_end], [burn, *marks]

    def report(before: int, t: int) -> None:
        progress(TITLE, before + t, first_steps + chain.steps)

    first_pass, _, q = unit_growth(chain.units(cuts), q, burn, marks[: first_pass_end + 1], partial(report, 0))
    growth, rounding_error, _ = unit_growth(chain.units(cuts), q, burn, marks, partial(report, first_steps))
    largest = np.argsort(-growth[-1].mean(axis=0), kind="stable")[:k]
    first = np.zeros((chain.steps - burn, chain.batch))
    if chain.batch == 1:  # the correlation time is asked for of one sequence only
        unit = int(largest[0]) % units
        first = unit_growth_by_step(chain.units(), q[:, unit], burn, unit)
    total = growth[-1].sum(axis=1) if k == chain.size else np.zeros(chain.batch)
    return FrameGrowth(
        at_marks=growth[:, :, largest],
        steps=np.array(marks) - burn,
        first=first,
        first_pass=first_pass[-1][:, largest],
        first_pass_end=first_pass_end,
        burn=burn,
        size=chain.size,
        rounding_error=rounding_error[:, largest],
        log_det=total,
    )


def _marks(steps: int, burn: int) -> tuple[list[int], int]:
    """Return the steps after which the growth is noted, and the number of the mark where the first pass ends."""
    length = max(1, int(np.sqrt(steps - burn)))  # of a batch: Flegal & Jones 2010
    marks = [*range(burn + length, steps + 1, length)]
    marks += [steps] if marks[-1] < steps else []
    return marks, min(len(marks) - 1, int(np.searchsorted(marks, burn + FIRST_PASS_STEPS)))


def spectrum(growth: FrameGrowth) -> LyapunovSpectrum:
    """Return exponents and their errors from the growth of frames."""
    # 1. in each sequence, columns that are lost come last
    at_marks, steps, rounding_error = growth.at_marks, growth.steps, growth.rounding_error
    last = np.argsort(np.isneginf(at_marks[-1]), axis=1, kind="stable")
    at_marks = np.take_along_axis(at_marks, last[None], axis=2)
    rounding_error = np.take_along_axis(rounding_error, last, axis=1)
    # 2. means over time, and their statistical errors: over sequences, or over batches of the only one
    lengths = np.diff(steps, prepend=0)
    single = at_marks.shape[1] == 1
    with np.errstate(invalid="ignore"):
        by_sequence = at_marks[-1] / steps[-1]
        batches = np.diff(at_marks, axis=0, prepend=0) / lengths[:, None, None]
        exponents = by_sequence.mean(axis=0)
        even = batches[lengths == lengths[0]]  # without the shorter one at the end
        correlation = correlation_time(np.diff(growth.first[:, 0], prepend=0.0)) if single else None
        error, freedom = batch_error(even[:, 0]) if single else mean_error(by_sequence)
    # 3. what still depends on the start counts as an independent error
    start_dependence = _start_dependence(growth)
    half = np.hypot(student(freedom) * error, np.nan_to_num(start_dependence))
    # 4. an exponent that rounding decides is not determined
    order = np.argsort(-exponents, kind="stable")
    unsure = (rounding_error / steps[-1] > UNSURE_NATS_PER_STEP).any(axis=0) & ~np.isneginf(exponents)
    exponents = np.where(unsure, np.nan, exponents)
    complete = len(exponents) == growth.size and not unsure.any()
    return LyapunovSpectrum(
        exponents=exponents[order],
        standard_errors=error[order],
        interval=np.stack([exponents - half, exponents + half], axis=1)[order],
        by_sequence=by_sequence[:, order],
        steps=steps,
        running=(at_marks / steps[:, None, None]).mean(axis=1)[:, order],
        local=batches.mean(axis=1)[:, order],
        burn=growth.burn,
        size=growth.size,
        errors_are_over="" if np.isnan(error).all() else "batches" if single else "sequences",
        halves_differ=halves_differ(even, NEGLIGIBLE_NATS_PER_STEP)[order],
        rounding_error=(rounding_error / steps[-1]).max(axis=0)[order],
        start_dependence=start_dependence,
        correlation=correlation,
        determinant_error=_difference(at_marks[-1].sum(axis=1), growth.log_det) / steps[-1] if complete else None,
    )


def _start_dependence(growth: FrameGrowth) -> Array:
    """Return by how much each exponent depends on where its column started, nats per step, (k,); nan: not known."""
    count = growth.first_pass.shape[1]
    both = (growth.first_pass.mean(axis=0), growth.at_marks[growth.first_pass_end, :, :count].mean(axis=0))
    first_pass, second_pass = (np.sort(x)[::-1] for x in both)  # columns may change places
    with np.errstate(invalid="ignore"):
        change = np.where(first_pass == second_pass, 0.0, np.abs(first_pass - second_pass)) / growth.steps[-1]
    return np.append(np.nan_to_num(change, posinf=0.0), np.full(growth.at_marks.shape[2] - count, np.nan))


def _difference(a: Array, b: Array) -> float:
    """Return the largest |a - b|, with -inf equal to -inf."""
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b)).max())


def measure(run: Run, settings: Settings) -> LyapunovSpectrum:
    """Measure the exponents along the run, its warm-up included."""
    values, along = run.values(settings.spectrum), run.answers.get("orbits")
    return lyapunov(run.longer, values, burn=run.burn, orbits=along, seed=settings.seed, progress=run.progress)
