"""At what rate does each direction grow? The Lyapunov spectrum.

Push a frame of k orthonormal columns along the chain, J_t Q = Q' R, and add up the logarithms of the diagonal of
R: their means over time are the k largest Lyapunov exponents, in nats per step (Benettin, Galgani, Giorgilli &
Strelcyn 1980; Shimada & Nagashima 1979). After enough steps the first column lies along the direction that
grows fastest, the first two span the plane that does, and so on, whatever the frame was in the beginning; the
steps until then (`burn`) are not counted.

Several steps may pass before the frame is made orthonormal again, as long as its columns stay apart: the interval
adapts to the spread that the last one had. For a spectrum that is complete, the sum of the logarithms of a step is
log|det J_t|, whatever the frame: that is checked along the way.

The exponents of a network that is driven by input are conditional on the input; the direction of time has no
exponent of its own here, since a map has no flow along its orbit. Standard errors are over independent sequences,
or over batches of steps where there is one. They are about inputs and initial states: other weights are another
system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.analysis._frames import completed, orthonormal, random_frame
from gradscope.analysis._graded import next_interval
from gradscope.analysis._statistics import batch_error, mean_error, student
from gradscope.analysis.finite import check_finite
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array, Factor, Linear

__all__ = ["LONGEST_BURN", "Growth", "affordable", "lyapunov", "usual_burn"]

EASY = 5.5  # nats of spread in an interval: what is small loses e^5.5 eps = 5e-14 of itself
WORK = 4.0e11  # floating-point operations that are spent unasked: ten to twenty seconds on one core
LONGEST_BURN = 100  # steps that are set aside for the frame unasked
UNSURE = 1e-3  # nats per step: an exponent that rounding may have moved by more is not determined
UNLIKELY = 0.999  # one-sided level at which two halves of a run are said to differ
NEGLIGIBLE = 1e-3  # nats per step by which they may differ in any case


@dataclass(frozen=True, eq=False)
class Growth:
    """Lyapunov exponents, largest first.

    Attributes:
        exponents: (k,), means over steps and sequences, nats per step; -inf: the direction is lost exactly; nan: not
            determined, rounding moves it.
        standard_errors: (k,), nats per step; nan: not known.
        interval: (k, 2), 95 % interval by Student's t; nan: not known.
        by_sequence: (S, k).
        steps: (M,), how many steps were counted at each mark of the next two.
        running: (M, k), means over sequences of what had grown until then: the curve that converges.
        local: (M, k), the same of the steps since the last mark: finite-time exponents along the sequence.
        burn: steps that only turned the frame.
        size: state variables n.
        over: "sequences", "batches" or "": what the standard errors are over.
        drift: (k,), whether the second half of the run differs from the first by more than its error.
        doubt: (k,), by how much rounding may have moved each exponent, to first order, nats per step.
        determinant_error: largest difference, over sequences, of the sum of the exponents from the mean of
            log|det J_t|, nats per step; None where the spectrum is not complete.
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
    determinant_error: float | None

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
        if not (self.exponents <= 0).any() and len(self.exponents) < self.size:
            return None
        return float(self.exponents[self.exponents > 0].sum())

    def determinant_allowed(self, relative: float) -> float:
        """Return by how much the sum may miss log|det J|: relative to the sum, and what rounding explains."""
        total = np.nan_to_num(self.by_sequence, neginf=0).sum(axis=1)
        return float(relative * max(1.0, np.abs(total).max()) + 10 * self.doubt.sum())


def lyapunov(
    chain: JacobianChain,
    values: int | None = None,
    *,
    burn: int | None = None,
    sequences: int | None = None,
    orbits: Array | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Growth:
    """Measure the rates at which directions grow or shrink along a chain of Jacobians.

    Args:
        chain: the Jacobians; they must be finite.
        values: how many exponents, the largest ones; None for all.
        burn: steps at the start that only turn the frame; a fifth of all, up to 100, unless given.
        sequences: how many sequences; as many as are quick unless given.
        orbits: (B,), sequences with the same number run along one orbit, and count once; all apart unless given.
        seed: seed of the frame.
        progress: called with a word now and then.

    Raises:
        InputError: a Jacobian is not finite.
    """
    check_finite(chain)
    n = chain.size
    k = min(values or n, n)
    burn = usual_burn(chain.steps) if burn is None else min(burn, chain.steps - 1)
    chain = chain.first(min(chain.batch, sequences or affordable(chain.steps, n, k)))
    counted = chain.steps - burn
    length = max(1, int(np.sqrt(counted)))  # of a batch: Flegal & Jones 2010
    marks = [*range(burn + length, chain.steps + 1, length)]
    marks += [chain.steps] if marks[-1] < chain.steps else []
    frame = _Frame(n, k, chain.batch, seed)
    at_mark, logdet = [], np.zeros(chain.batch)
    for t, J in chain.forward():
        frame.push(J)
        if t + 1 == burn:
            frame.settle()
            frame.forget()
        if k == n and t >= burn:
            logdet += _log_abs_det(J)
        if t + 1 in marks:
            frame.settle()
            at_mark.append(frame.grown.copy())
        if progress and t % 16 == 0:
            progress(f"Lyapunov exponents: {t} of {chain.steps} steps")
    grown = np.array(at_mark)
    apart = np.unique(grown[-1], axis=0, return_index=True)[1] if orbits is None else np.unique(orbits[: chain.batch])
    return _summary(grown[:, apart], np.array(marks) - burn, burn, n, frame.doubt[apart], logdet[apart])


def usual_burn(steps: int) -> int:
    """Return how many steps only turn the frame unasked."""
    return min(steps // 5, LONGEST_BURN)


def affordable(steps: int, size: int, values: int) -> int:
    """Return how many sequences are followed unasked."""
    return max(1, int(WORK / (steps * size * values * (2 * size + 3 * values))))


class _Frame:
    """A frame for each of S sequences, side by side: columns b k to (b + 1) k belong to sequence b."""

    def __init__(self, n: int, k: int, count: int, seed: int) -> None:
        self.k, self.count, self.seed = k, count, seed
        self.Q = np.hstack([random_frame(n, k, [seed, 3, b]) for b in range(count)])
        self.grown = np.zeros((count, k))  # nats since the burn-in
        self.doubt = np.zeros((count, k))
        self._block = self.Q
        self._pending: list[Linear] = []
        self._interval = 1

    def push(self, J: Linear) -> None:
        """Take one more step."""
        factors = J.factors() if self.k > self.Q.shape[0] // 2 else (Factor(J),)
        for factor in factors:
            self._block = factor.map.push_blocks(self._block)
            self._pending.append(factor.map)
            if factor.steep:
                self.settle(careful=True)
        if len(self._pending) >= self._interval and not any(f.steep for f in factors):
            self.settle()

    def settle(self, *, careful: bool = False) -> None:
        """Make the frame orthonormal, and count what has grown; `careful`: rows were kept apart, one QR will do."""
        pending, self._pending = self._pending, []
        if pending and not self._divide(len(pending), careful=careful):
            self._block, self._interval = self.Q, 1
            for map in pending:  # too much for one interval: once more, a step at a time
                self._block = map.push_blocks(self._block)
                self._divide(1, careful=True)

    def forget(self) -> None:
        """Start counting here, with new directions for those that are lost."""
        blocks = np.split(self.Q, self.count, axis=1)
        self.Q = self._block = np.hstack([completed(q, [self.seed, 6, b]) for b, q in enumerate(blocks)])
        self.grown[:], self.doubt[:] = 0, 0

    def _divide(self, steps: int, *, careful: bool) -> bool:
        blocks = np.split(self._block, self.count, axis=1)
        found = [orthonormal(b, careful=careful or steps == 1) for b in blocks]
        if any(f is None for f in found):
            return False
        Q, logs, doubt = (np.array(x) for x in zip(*(f for f in found if f is not None), strict=True))
        self.grown, self.doubt = self.grown + logs, self.doubt + doubt
        self.Q = self._block = np.hstack(list(Q))
        self._interval = min(next_interval(steps, row, EASY) for row in logs)
        return True


def _log_abs_det(J: Linear) -> Array:
    """Return log|det J| of every sequence: in closed form where the cell has one, else by elimination."""
    stated = J.log_abs_det()
    if stated is not None:
        return np.asarray(stated)
    dense = J.dense()
    return np.asarray(np.linalg.slogdet(dense if dense.ndim == 3 else dense[None])[1])


def _summary(grown: Array, steps: Array, burn: int, n: int, doubt: Array, logdet: Array) -> Growth:
    """Turn nats at the marks, (M, S, k), into exponents and their errors."""
    last = np.argsort(np.isneginf(grown[-1]), axis=1, kind="stable")  # what is lost comes last, in each sequence
    grown, doubt = np.take_along_axis(grown, last[None], axis=2), np.take_along_axis(doubt, last, axis=1)
    lengths = np.diff(steps, prepend=0)
    alone = grown.shape[1] == 1
    with np.errstate(invalid="ignore"):
        by_sequence = grown[-1] / steps[-1]
        pieces = np.diff(grown, axis=0, prepend=0) / lengths[:, None, None]
        exponents = by_sequence.mean(axis=0)
        even = pieces[lengths == lengths[0]]  # without the rest at the end
        error, freedom = batch_error(even[:, 0]) if alone else mean_error(by_sequence)
    half = student(freedom) * error
    order = np.argsort(-exponents, kind="stable")
    exponents = np.where((doubt / steps[-1] > UNSURE).any(axis=0), np.nan, exponents)
    return Growth(
        exponents=exponents[order],
        standard_errors=error[order],
        interval=np.stack([exponents - half, exponents + half], axis=1)[order],
        by_sequence=by_sequence[:, order],
        steps=steps,
        running=(grown / steps[:, None, None]).mean(axis=1)[:, order],
        local=pieces.mean(axis=1)[:, order],
        burn=burn,
        size=n,
        over="" if np.isnan(error).all() else "batches" if alone else "sequences",
        drift=_drift(even)[order],
        doubt=(doubt / steps[-1]).max(axis=0)[order],
        determinant_error=_difference(grown[-1].sum(axis=1), logdet) / steps[-1] if grown.shape[2] == n else None,
    )


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
