"""What does the network remember? Runs that differ in their past alone, without a gradient.

The state of a sequence, k steps before the end of the run, is replaced by that of another sequence (its past is
swapped), and the last k inputs of the first are run from there:

    ratio(k) = |s_T(past of a, inputs of b) - s_T(b)| / |s_{T-k}(a) - s_{T-k}(b)|

both root mean squares over pairs of sequences, so that the ratio is 1 at lag 0. A median of ratios would not do: of a
network that has latched one bit, half of the pairs have the same bit and nothing to tell them from one another. Divided
by the distance of the final states, ratios of long lags would be small in a network that forgets nothing, since
a state near the start of the run holds few inputs.

In a linear network the ratio falls as the gradient does, so the memory length is read at the fraction that `reach` is
read at. Differences of the size that states have stay where the Jacobian is about zero, though: a unit that holds one
of two values against noise needs a map that contracts around both, so its gradient vanishes (Bengio, Simard & Frasconi
1994).

Runs may also be different at the end because small differences grow, whatever the past was. So one state of each
sequence is perturbed by the square root of the rounding unit; where that grows to the size of the distance of
independent runs, the network is chaotic, and what is left after a swap is no memory.

Where all sequences run along one orbit (`orbits`), states of one sequence at other times stand in for other pasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from gradscope.dynamics.progress import Progress, no_progress
from gradscope.dynamics.trajectory import Trajectory
from gradscope.maps.jacobian import Array
from gradscope.numerics.statistics import mean_error, student
from gradscope.settings import THRESHOLD

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("finite", "orbits")
TITLE = "memory"

LAGS = 16  # spaced by a factor of 1.4 in a run of 200 steps; all their runs together take 3.4 times as many steps
MOST_SEQUENCES = 32  # that are swapped: the interval of 32 is narrow enough, and the cost does not grow with the data
OTHER_TIMES = 4  # states of one orbit that stand in for other pasts
SEED_STREAM = 7  # of the seed: apart from those of weights, inputs, losses, directions and readouts
PIECE_BYTES = 1 << 20  # of states that are held at once while a swapped sequence runs: a second-level cache
PIECE_STEPS = 256  # at most: an interrupt is noticed between two pieces
ROUNDINGS = 16.0  # roundings of a state: what is left of a perturbation is larger, another past 1 / threshold times
SHORTEST_STEPS = 10  # lag below which a difference that is left says nothing: as for the rate of the gradient
INDEPENDENT = 0.1  # fraction of the distance of independent runs from which a perturbation is one of them
GROWN_DECADES = 1.0  # least growth of a perturbation that counts
STEADY_SHARE = (
    0.3  # of that growth, in the last half of the run: of e^k one half is there, of a power of k 0.3 / log10(k)
)


@dataclass(frozen=True, eq=False)
class Memory:
    """How different runs stay that differ in their past alone.

    Attributes:
        lags: (K,), steps before the end at which the past is swapped, rising, up to T - 1.
        ratio: (K, S), distance at the end over the distance at the swap (root mean square over sequences), for each
            sequence; nan where states at that lag are the same up to rounding.
        distance: (K,), root mean square of `ratio` over sequences, 1 at lag 0.
        growth: (K, S), log10 of the growth of a tiny perturbation of the first state in so many steps; -inf where
            nothing but rounding is left of it, nan where there is no state to perturb.
        steps: memory length, the lag at which `distance` falls below `threshold`, interpolated as an exponential
            between lags; None where it does not within the run, or where there is no memory to measure.
        interval: 95 % interval of `steps`, jackknife over orbits; None where it is not determined.
        state: "remembers": a difference in the past is there at the end of the run; "forgets": it is gone; "chaotic":
            tiny perturbations grow to the distance of independent runs, or steadily; "unknown".
        independent: distance of final states of independent runs, root mean square over pairs.
        run_steps: T.
        threshold: fraction of a difference that counts as remembered.
        past: where other pasts come from: "sequences", or "times" of one orbit.
    """

    lags: Array
    ratio: Array
    distance: Array
    growth: Array
    steps: float | None
    interval: tuple[float, float] | None
    state: str
    independent: float
    run_steps: int
    threshold: float
    past: str


@dataclass
class _Work:
    """Steps that are run again, reported as they are done."""

    progress: Progress
    total: int
    done: int = 0

    def add(self, steps: int) -> None:
        self.done += steps
        self.progress(TITLE, self.done, self.total)


@dataclass(frozen=True, eq=False)
class _Swaps:
    """States that other states take the place of.

    Attributes:
        trajectory: the run of S sequences.
        targets: (P,), number of the sequence whose state is replaced, and whose inputs are run.
        pasts: a function of t > 0: what takes the place of the states before step t, (n, P).
        kind: where the pasts come from, "sequences" or "times".
    """

    trajectory: Trajectory
    targets: Array
    pasts: Callable[[int], Array]
    kind: str

    def distances(self, t: int, threshold: float) -> Array:
        """Return how far the states before step t are from those that take their place, (P,); nan: not at all."""
        s = self.trajectory.state(t)
        distances = lengths(self.pasts(t) - s[:, self.targets])
        resolution = ROUNDINGS * float(np.finfo(s.dtype).eps) / threshold * float(rms(lengths(s)))
        return distances if rms(distances) > resolution else np.full_like(distances, np.nan)


def memory(
    trajectory: Trajectory,
    orbits: Array | None = None,
    threshold: float = THRESHOLD,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Memory | None:
    """Measure how different runs stay that differ in their past alone; None for a run of one step.

    Args:
        trajectory: a run, with finite states.
        orbits: (B,), equal numbers for sequences that run along the same orbit; None: each has an orbit to itself.
        threshold: fraction of a difference that counts as remembered.
        seed: of the perturbations.
        progress: takes (name, done, total), of steps that are run again.
    """
    steps = trajectory.steps
    if steps < 2:
        return None
    trajectory = trajectory.between(0, min(trajectory.batch, MOST_SEQUENCES))
    labels = np.arange(trajectory.batch) if orbits is None else orbits[: trajectory.batch]
    swaps = _of_sequences(trajectory) if np.ptp(labels) else _of_times(trajectory.between(0, 1))

    # 1. How much of each difference is left, over sequences and in each of them.
    lags = lags_of(steps)
    work = _Work(progress, int(lags.sum()) + steps - 1)
    before, after = _swapped(swaps, lags, threshold, work)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = after / rms(before)[:, None]
    ratio = left if swaps.kind == "sequences" else rms(left)[:, None]
    distance = rms(left)

    # 2. A tiny perturbation instead of a swap: what grows alike is no memory.
    growth, size = _perturbed(swaps, lags, threshold, seed, work)
    independent = float(rms(lengths(swaps.pasts(steps) - trajectory.state(steps)[:, swaps.targets])))
    first = np.unique(labels[: growth.shape[1]], return_index=True)[1]  # one sequence of every orbit
    chaotic = _grows(lags, growth[:, first], size[:, first])

    # 3. Length, interval, state.
    length = None if chaotic else memory_length(lags, distance, threshold)
    others = _without_each(labels, lags, before, after, threshold) if length is not None else []
    return Memory(
        lags=lags,
        ratio=ratio,
        distance=distance,
        growth=growth,
        steps=length,
        interval=None if length is None else _interval(length, others),
        state="chaotic" if chaotic else _state(lags, distance, length, others, threshold),
        independent=independent,
        run_steps=steps,
        threshold=threshold,
        past=swaps.kind,
    )


def _swapped(swaps: _Swaps, lags: Array, threshold: float, work: _Work) -> tuple[Array, Array]:
    """Swap the past at every lag, and run to the end.

    Returns:
        (K, P) each: distances at the swap, nan where there is nothing to swap; distances at the end, nan where they
        are not finite.
    """
    trajectory, steps = swaps.trajectory, swaps.trajectory.steps
    before, after = np.empty((2, len(lags), len(swaps.targets)))
    final, run = trajectory.state(steps)[:, swaps.targets], _runner(trajectory, swaps.targets, work)
    for i in reversed(range(len(lags))):  # states that are computed again are then read in the order of time
        t = steps - int(lags[i])
        before[i] = swaps.distances(t, threshold)
        after[i] = lengths(run(t, steps, swaps.pasts(t)) - final)
    after[~np.isfinite(after)] = np.nan
    return before, after


def lags_of(steps: int) -> Array:
    """Return the lags of a run of T > 1 steps: 1 to T - 1, evenly spaced in log; the first state has no past."""
    return np.unique(np.rint(np.geomspace(1, steps - 1, LAGS)).astype(int))


def replayed_steps(batch: int, steps: int) -> int:
    """Return how many steps of single sequences are run again, for sequences with orbits of their own."""
    sequences = min(batch, MOST_SEQUENCES)
    pasts = sequences if batch > 1 else OTHER_TIMES
    return int(lags_of(steps).sum()) * pasts + (steps - 1) * sequences if steps > 1 else 0


def memory_length(lags: Array, distance: Array, threshold: float) -> float | None:
    """Return the lag from which less than a fraction of a difference is left; None where that is not in the run.

    Between two lags the distance is taken to fall exponentially; one that is zero at the second has its length at
    the first, the largest lag at which there was something.

    Args:
        lags: (K,), rising.
        distance: (K,), what is left, 1 at lag 0; nan where it is not known.
        threshold: the fraction.
    """
    known = np.isfinite(distance)
    at, left = np.append(0, lags[known]), np.append(1.0, distance[known])
    last = int(np.flatnonzero(left >= threshold)[-1])
    if last == len(at) - 1:
        return None
    with np.errstate(divide="ignore"):
        share = np.log(left[last] / threshold) / np.log(left[last] / left[last + 1])
    return float(at[last] + share * (at[last + 1] - at[last]))


def lengths(x: Array) -> Array:
    """Return the Euclidean lengths of columns, (n, P) to (P,), in float64 and without overflow."""
    largest = np.abs(x).max(axis=0, initial=0.0).astype(float)
    scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
    return np.asarray(scale * np.sqrt(((x / scale) ** 2).sum(axis=0)))


def rms(values: Array) -> Array:
    """Return the root mean square over the last axis, without overflow."""
    return np.asarray(lengths(np.moveaxis(values, -1, 0)) / np.sqrt(values.shape[-1]))


def _of_sequences(trajectory: Trajectory) -> _Swaps:
    """Give each sequence the past of the one before it."""
    others = np.roll(np.arange(trajectory.batch), 1)
    return _Swaps(trajectory, np.arange(trajectory.batch), lambda t: trajectory.state(t)[:, others], "sequences")


def _of_times(trajectory: Trajectory) -> _Swaps:
    """Give one sequence states that it has at other times, evenly spread over the run."""
    steps = trajectory.steps
    later = [round(i * steps / (OTHER_TIMES + 1)) for i in range(1, OTHER_TIMES + 1)]

    def pasts(t: int) -> Array:
        return np.concatenate([trajectory.state(1 + (t - 1 + shift) % steps) for shift in later], axis=1)

    return _Swaps(trajectory, np.zeros(OTHER_TIMES, int), pasts, "times")


def _runner(trajectory: Trajectory, sequences: Array, work: _Work) -> Callable[[int, int, Array], Array]:
    """Return a function of (start, stop, states): run the inputs of these sequences, from a state each."""
    state_bytes = trajectory.states.shape[1] * len(sequences) * trajectory.states.itemsize
    piece = min(trajectory.steps, PIECE_STEPS, max(1, PIECE_BYTES // max(1, state_bytes)))
    runner = trajectory.kernel.runner(piece, len(sequences))

    def run(start: int, stop: int, s: Array) -> Array:
        for a in range(start, stop, piece):
            x = np.ascontiguousarray(np.take(trajectory.inputs[a : min(a + piece, stop)], sequences, axis=2))
            states = np.empty((len(x) + 1, *s.shape), trajectory.states.dtype)
            states[0] = s
            with np.errstate(over="ignore", invalid="ignore"):
                runner(x, states)
            s = states[-1]
            work.add(len(x))
        return s

    return run


def _perturbed(swaps: _Swaps, lags: Array, threshold: float, seed: int, work: _Work) -> tuple[Array, Array]:
    """Perturb the first state that has a past, and follow the perturbation to the end of the run.

    Returns:
        (K, S) each: log10 of its growth in so many steps, and log10 of what it is then of the distance of independent
        runs; nan where there is nothing to perturb, or no other run.
    """
    path = swaps.trajectory
    s = path.state(1)
    # Larger than rounding by as much as it is smaller than the state: both have the same room.
    eps = float(np.finfo(s.dtype).eps)
    direction = np.random.default_rng([seed, SEED_STREAM]).standard_normal(s.shape)
    perturbed = (s + np.sqrt(eps) * lengths(s) / lengths(direction) * direction).astype(s.dtype)
    start, run = lengths(perturbed - s), _runner(path, np.arange(path.batch), work)
    growth, size = np.empty((2, len(lags), path.batch))
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, (a, b) in enumerate(pairwise([0, *lags.tolist()])):
            perturbed, unperturbed = run(1 + a, 1 + b, perturbed), path.state(1 + b)
            gap = lengths(perturbed - unperturbed)
            gap[gap <= ROUNDINGS * eps * lengths(unperturbed)] = 0.0
            growth[i] = np.log10(gap / start)
            size[i] = np.log10(gap / rms(swaps.distances(1 + b, threshold)))
    return growth, size


def _grows(lags: Array, growth: Array, size: Array) -> bool:
    """Return whether a tiny perturbation becomes as large as the distance of independent runs, or is on its way.

    Relative to that distance, since in a linear network that explodes both grow, and the past is not lost. In most
    sequences, since one may start where two basins meet.

    Args:
        lags: (K,).
        growth: (K, O), log10 of the growth, one sequence of each orbit.
        size: (K, O), log10 of the perturbation over the distance of independent runs.
    """
    with np.errstate(invalid="ignore"):
        if not np.median(growth[-1]) >= GROWN_DECADES:  # nan, too
            return False
        if np.median(size[-1]) >= np.log10(INDEPENDENT):
            return True
        half = max(0, int(np.searchsorted(2 * lags, lags[-1], side="right")) - 1)
        total, added = size[-1] - size[0], size[-1] - size[half]
        if not total.mean() >= GROWN_DECADES:
            return False
    if len(total) < 2:  # no error bar
        return bool(added[0] > GROWN_DECADES)
    beyond = added - STEADY_SHARE * total
    error, freedom = mean_error(beyond)
    return bool(beyond.mean() > float(student(freedom) * error))


def _without_each(labels: Array, lags: Array, before: Array, after: Array, threshold: float) -> list[float | None]:
    """Return the memory length without each orbit; [] where fewer than three leave nothing to compare."""
    groups = np.unique(labels)
    if len(groups) < 3:
        return []
    others = []
    for group in groups:
        rest = (labels != group) & (np.roll(labels, 1) != group)
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = rms(after[:, rest]) / rms(before[:, rest])
        others.append(memory_length(lags, distance, threshold))
    return others


def _interval(length: float, others: list[float | None]) -> tuple[float, float] | None:
    """Return the 95 % interval of the memory length, by the jackknife on log(1 + length) (Efron & Stein 1981).

    Every orbit is in two pairs, as target and as source; without it, both are left out. That overstates the variance
    of a mean over pairs, by a factor of up to two. The 1 is the input at lag 0, which no swap replaces.
    """
    known = np.log1p([x for x in others if x is not None])
    if not others or len(known) < len(others):
        return None
    count = len(known)
    error = np.sqrt((count - 1) / count * ((known - known.mean()) ** 2).sum())
    half = float(student(count - 1)) * float(error)
    centre = float(np.log1p(length))
    return max(0.0, float(np.expm1(centre - half))), float(np.expm1(centre + half))


def _state(lags: Array, distance: Array, length: float | None, others: list[float | None], threshold: float) -> str:
    """Return whether a difference in the past is left at the end of the run."""
    if length is not None:
        return "unknown" if None in others else "forgets"
    last = int(lags[np.isfinite(distance)].max(initial=0))
    remembers = last >= SHORTEST_STEPS and distance[lags == last][0] >= threshold
    return "remembers" if remembers else "unknown"


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are states that can be swapped."""
    return run.chain.trajectory is not None and run.chain.steps > 1 and run.is_finite


def measure(run: Run, settings: Settings) -> Memory | None:
    """Measure how different runs stay that differ in their past alone."""
    assert run.chain.trajectory is not None
    return memory(
        run.chain.trajectory, run.answers["orbits"], settings.threshold, seed=settings.seed, progress=run.progress
    )
