"""After how many steps is the gradient below x, and what is lost once, what at every step?

Read from the median, over sequences, of |dL/ds_t| relative to its value at the last step: what truncated
backpropagation may cut, what a task with that delay can learn, and where a number format has nothing left.

A readout may lose decades in the first steps and nothing after them: h = o tanh(c) of a saturated LSTM passes little to
c, and c keeps it. A rate from end to end takes that for a decay. So the curve of log |dL/ds| over the lag is cut where
it bends (`knee`): before that lag lies what is lost once, and the slope of the rest is the rate of the tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.maps.jacobian import Array
from gradscope.numerics.formats import ROUNDS_TO_ZERO
from gradscope.numerics.student import quantile
from gradscope.settings import THRESHOLD

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ("gradients", "orbits")

TRANSIENT_DECADES = 1.0  # decades by which the largest gain must exceed both ends
BEND_DECADES = 0.5  # a factor of three, between the curve and the line from end to end, from which the curve bends
NOISE_STEPS = 3.0  # times the noise of a step, by which lags on one side of the bend may differ
NEAR_BEND = 0.1  # of the bend, at most likewise
KNEE_SHARE = 0.25  # of the run in which the knee must lie: what bends later is no loss near the readout
EXTRA_SHARE = 0.2  # of what the tail loses over the run: less is no answer of its own
BEND_ERRORS = 3.0  # standard errors over sequences by which the loss before the knee must differ from the tail's
LN10 = float(np.log(10.0))


@dataclass(frozen=True, eq=False)
class Reach:
    """How far gradients get.

    Attributes:
        steps: T.
        threshold: the fraction that `reach` asks for.
        reach: largest lag up to T at which the median norm is still at least `threshold` of its value at lag 0;
            None where the norm at lag 0 is zero, or where a norm is not finite.
        log_gain: (B,), natural log of |dL/ds_0| / |dL/ds_T|; -inf: nothing arrives; nan: not finite.
        rate: mean of log_gain over T, nats per step; None where it is not finite.
        interval: 95 % interval of `rate` (Student's t): over orbits (sequences that run together count as one), or
            over batches of steps where there is one; None where there is too little of both.
        knee: lag at which the tail begins; 0 where all of the curve is as steep as its tail.
        attenuation: natural log of the median norm at the knee relative to lag 0: what is lost (or gained) once.
        tail_rate: mean slope from the knee to the first step, nats per step; `rate` where there is no knee.
        tail_interval: its 95 % interval, as `interval`.
        half_life: steps in which the gradient halves at `tail_rate`; None where it does not shrink.
        underflow: {format: first lag at which the median norm itself, with the loss gradient as it is, rounds to
            zero in that format}; None where that does not happen within T.
        orbits: how many orbits the sequences run along.
        zero_from: smallest lag at which the norm is exactly zero in most sequences, or None; 0 also where it is zero
            at lag 0 in one of them.
        peak: (lag, natural log of the norm relative to lag 0) where the median norm is largest; None where that is
            at lag 0, or a norm is not finite.
    """

    steps: int
    threshold: float
    reach: int | None
    log_gain: Array
    rate: float | None
    interval: tuple[float, float] | None
    knee: int
    attenuation: float
    tail_rate: float | None
    tail_interval: tuple[float, float] | None
    half_life: float | None
    underflow: dict[str, int | None]
    orbits: int
    zero_from: int | None
    peak: tuple[int, float] | None

    @property
    def log10_gain(self) -> float | None:
        """Median over sequences of log10(|dL/ds_0| / |dL/ds_T|); -inf: zero; None: not finite."""
        with np.errstate(invalid="ignore"):
            gain = float(np.median(self.log_gain / LN10))
        return None if np.isnan(gain) else gain

    @property
    def transient(self) -> tuple[int, float] | None:
        """`peak` where it is well above both ends, so that the rate over the whole run hides it; else None."""
        gain = self.log10_gain
        if self.peak is None or gain is None or not self.peak[1] / LN10 > max(0.0, gain) + TRANSIENT_DECADES:
            return None
        return self.peak


def reach(log_norms: Array, threshold: float = THRESHOLD, orbits: Array | None = None) -> Reach:
    """Say how far a gradient reaches.

    Args:
        log_norms: (T + 1, B), natural logs of |dL/ds_t|.
        threshold: fraction of the norm at lag 0.
        orbits: (B,), equal numbers for sequences that run along the same orbit; None where each has its own.
    """
    steps = len(log_norms) - 1
    with np.errstate(invalid="ignore"):
        median = np.median(log_norms, axis=1)[::-1]  # by lag
        by_lag = median - median[0]
        gain = log_norms[0] - log_norms[-1]
    known = bool(np.isfinite(median[0])) and not np.isnan(median).any()
    far = np.flatnonzero(by_lag >= np.log(threshold)) if known else np.array([], int)
    labels = np.arange(gain.size) if orbits is None else orbits
    rate, interval = _rate(log_norms, labels)
    bend = knee(log_norms, labels) if rate is not None else 0
    tail_rate, tail_interval = _rate(log_norms[: steps + 1 - bend], labels) if bend else (rate, interval)
    # 1e-9: rounding of the logarithms themselves
    below = {n: np.flatnonzero(median <= bits * np.log(2.0) + 1e-9) for n, bits in ROUNDS_TO_ZERO.items()}
    zero = np.isneginf(log_norms[::-1])
    mostly = np.flatnonzero(zero.mean(axis=1) > 0.5)
    top = int(np.argmax(median)) if np.isfinite(median).all() else 0
    return Reach(
        steps=steps,
        threshold=threshold,
        reach=int(far[-1]) if far.size else None,
        log_gain=gain,
        rate=rate,
        interval=interval,
        knee=bend,
        attenuation=float(by_lag[bend]),
        tail_rate=tail_rate,
        tail_interval=tail_interval,
        half_life=float(np.log(2.0) / -tail_rate) if tail_rate is not None and tail_rate < 0 else None,
        underflow={name: int(lags[0]) if known and lags.size else None for name, lags in below.items()},
        orbits=len(np.unique(labels)),
        zero_from=0 if zero[0].any() else int(mostly[0]) if mostly.size else None,
        peak=(top, float(median[top] - median[0])) if top else None,
    )


def knee(log_norms: Array, orbits: Array | None = None) -> int:
    """Return the lag at which the tail of the decay begins; 0 where the curve does not bend near the loss.

    The curve of the median is cut where it is farthest from the line between its ends, and the rest again, as long as
    that is more than `BEND_DECADES`. The cut counts where what is lost before it beyond the rate of the tail matters
    beside the tail, and where the sequences agree on it.

    Args:
        log_norms: (T + 1, B), natural logs of |dL/ds_t|.
        orbits: (B,), equal numbers for sequences that run along the same orbit; None where each has its own.
    """
    if not np.isfinite(log_norms).all():
        return 0
    by_lag = log_norms[::-1]
    curve, steps = np.median(by_lag, axis=1), len(log_norms) - 1
    begin = 0
    while steps - begin > 1:
        rest = curve[begin:]
        gap = np.abs(rest - np.linspace(rest[0], rest[-1], len(rest)))
        noise = float(np.diff(rest[int(gap.argmax()) :]).std())  # of a step: the first lag that is as far, but for it
        bend = int((gap >= gap.max() - min(NOISE_STEPS * noise, NEAR_BEND * gap.max())).argmax())
        if gap.max() < BEND_DECADES * LN10 or begin + bend > KNEE_SHARE * steps:
            break
        begin += bend
    if not begin:
        return 0
    tail = (by_lag[-1] - by_lag[begin]) / (steps - begin)
    extra = by_lag[begin] - by_lag[0] - begin * tail
    labels = np.arange(extra.size) if orbits is None else orbits
    each = np.array([extra[labels == o].mean() for o in np.unique(labels)])
    error = float(each.std(ddof=1) / np.sqrt(each.size)) if each.size > 1 else 0.0
    lost_in_tail = abs(float(tail.mean())) * steps
    bends = abs(float(each.mean())) > max(BEND_ERRORS * error, BEND_DECADES * LN10, EXTRA_SHARE * lost_in_tail)
    return begin if bends else 0


def rate_change(before: Array, after: Array, orbits: Array | None = None) -> tuple[float, float] | None:
    """Return the 95 % interval of how much the rate differs between two runs on the same inputs.

    Sequences are paired: what an input does to both runs is not noise. None where a gain is not finite, or where
    there is too little to tell.

    Args:
        before: (T + 1, B), natural logs of |dL/ds_t| in the first run.
        after: the same of the second.
        orbits: (B,), equal numbers for sequences that run along the same orbit in one of the runs, or None.
    """
    with np.errstate(invalid="ignore"):
        difference = after - before
    return _rate(difference, np.arange(difference.shape[1]) if orbits is None else orbits)[1]


def _rate(log_norms: Array, orbits: Array) -> tuple[float | None, tuple[float, float] | None]:
    """Return the mean rate and its interval; batch means for one orbit (Geyer 1992, section 3.2)."""
    steps = len(log_norms) - 1
    with np.errstate(invalid="ignore"):
        gain = log_norms[0] - log_norms[-1]
    if not np.isfinite(gain).all():
        return None, None
    samples = gain / steps
    mean = float(samples.mean())
    if np.ptp(samples) == 0 or np.ptp(orbits) == 0:  # one sequence, or several that are the same
        length = int(np.sqrt(steps))
        logs = log_norms.mean(axis=1) if np.isfinite(log_norms).all() else log_norms[:, 0]
        ends = logs[::-length] if length else logs[:0]
        samples = np.diff(ends) / max(length, 1)
    else:
        samples = np.array([samples[orbits == o].mean() for o in np.unique(orbits)])
    if len(samples) < 2 or not np.isfinite(samples).all():
        return mean, None
    half = float(quantile(len(samples) - 1, 0.975) * samples.std(ddof=1) / np.sqrt(len(samples)))
    return mean, (mean - half, mean + half)


def measure(run: Run, settings: Settings) -> Reach:
    """Measure how far the gradient of the last step's loss reaches."""
    gradients, along = run.answers["gradients"], run.answers.get("orbits")
    followed = gradients.followed.state
    return reach(followed, settings.threshold, None if along is None else along[gradients.sequences])
