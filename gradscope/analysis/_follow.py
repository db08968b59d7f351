"""Frames of columns that are pushed along a chain, and how much they grow.

Where a frame began matters until it is forgotten, and that takes as many steps as the gap between two exponents has
in it: hundreds in a slow network. So the first columns go along the run once to be turned, and begin it again where
they ended. What that changes says how much of their beginning is left. Where directions are forgotten quickly it
changes nothing; where they vary little in time, they begin where they belong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gradscope._blocks import log_abs
from gradscope.analysis._frames import completed, orthonormal, random_frame
from gradscope.analysis._graded import in_range, next_interval
from gradscope.analysis._scaled import log_norm
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array, Factor, Linear

__all__ = ["Followed", "Frame", "follow"]

EASY = 5.5  # nats of spread in an interval: what is small loses e^5.5 eps = 5e-14 of itself
TURNING = 1000  # counted steps, at most, along which the first columns go beforehand
LEADING = 16  # columns that do: more than are asked for by default, and few beside all of them


class Followed(NamedTuple):
    """How much the frames of S sequences have grown since the burn-in.

    Attributes:
        grown: (M, S, k), nats until each mark.
        steps: (M,), steps until each mark.
        first: (T, S), nats by which the first column has grown until each step.
        before: (S, j), nats until mark number `met` of the first j columns when they began in random directions.
        met: number of that mark.
        burn: steps before those that are counted.
        size: state variables n.
        doubt: (S, k), nats that rounding may have moved.
        logdet: (S,), sums of log|det J_t|; zeros where the frame is not complete.
    """

    grown: Array
    steps: Array
    first: Array
    before: Array
    met: int
    burn: int
    size: int
    doubt: Array
    logdet: Array

    def of(self, sequences: Array | slice) -> Followed:
        """Return what happened in some of the sequences."""
        return self._replace(
            grown=self.grown[:, sequences],
            first=self.first[:, sequences],
            before=self.before[sequences],
            doubt=self.doubt[sequences],
            logdet=self.logdet[sequences],
        )

    @classmethod
    def joined(cls, parts: Sequence[Followed]) -> Followed:
        """Put the sequences of several side by side."""
        rest = [np.concatenate(x, axis=1) for x in zip(*((p.grown, p.first) for p in parts), strict=True)]
        rows = [np.concatenate(x) for x in zip(*((p.before, p.doubt, p.logdet) for p in parts), strict=True)]
        grown, first, before, doubt, logdet = *rest, *rows
        return parts[0]._replace(grown=grown, first=first, before=before, doubt=doubt, logdet=logdet)


def follow(
    chain: JacobianChain,
    k: int,
    burn: int,
    seed: int,
    progress: Callable[[str], None] | None = None,
    *,
    number: int = 0,
) -> Followed:
    """Push a frame of k columns along every sequence; the arguments are those of `lyapunov`.

    Where the chain is a part of a longer list of sequences, `number` is that of its first one there: seeds go by it.
    """
    tell = progress or (lambda _: None)
    length = max(1, int(np.sqrt(chain.steps - burn)))  # of a batch: Flegal & Jones 2010
    marks = [*range(burn + length, chain.steps + 1, length)]
    marks += [chain.steps] if marks[-1] < chain.steps else []
    met = min(len(marks) - 1, int(np.searchsorted(marks, burn + TURNING)))

    def turning(t: int, _: Linear) -> None:
        if t % 16 == 0:
            tell(f"Lyapunov exponents: directions, {t} of {marks[met]} steps")

    lead = Frame(chain.size, min(k, LEADING), chain.batch, seed, number)
    before = _grow(lead, chain, burn, marks[: met + 1], turning)
    frame = Frame(chain.size, k, chain.batch, seed, number)
    frame.begin(lead.Q)
    first, logdet = np.zeros((chain.steps - burn, chain.batch)), np.zeros(chain.batch)

    def note(t: int, J: Linear) -> None:
        if t >= burn:
            first[t - burn] = frame.first()
            if k == chain.size:
                logdet[:] += _log_abs_det(J)
        if t % 16 == 0:
            tell(f"Lyapunov exponents: {t} of {chain.steps} steps")

    grown, doubt = _grow(frame, chain, burn, marks, note), frame.doubt
    gone = np.isneginf(grown[-1]).all(axis=1)
    if gone.any() and burn:  # what was turned lay along units that died; others may be there where counting begins
        frame = Frame(chain.size, k, chain.batch, seed, number)
        frame.anew = gone
        again = _grow(frame, chain, burn, marks, lambda *_: None)
        grown[:, gone], doubt[gone], before[-1][gone] = again[:, gone], frame.doubt[gone], np.nan
    return Followed(grown, np.array(marks) - burn, first, before[-1], met, burn, chain.size, doubt, logdet)


def _grow(
    frame: Frame, chain: JacobianChain, burn: int, marks: list[int], note: Callable[[int, Linear], None]
) -> Array:
    """Push a frame to the last mark; return how much its columns have grown at each, (M, S, k), since the burn-in."""
    at_mark = []
    for t, J in chain.forward():
        frame.push(J)
        if t + 1 == burn:
            frame.settle()
            frame.forget()
        note(t, J)
        if t + 1 in marks:
            frame.settle()
            at_mark.append(frame.grown.copy())
            if t + 1 == marks[-1]:
                break
    return np.array(at_mark)


class Frame:
    """A frame for each of S sequences, side by side: columns b k to (b + 1) k belong to sequence b."""

    def __init__(self, n: int, k: int, count: int, seed: int, number: int = 0) -> None:
        self.k, self.count, self.seed, self.number = k, count, seed, number
        self.Q = np.hstack([random_frame(n, k, [seed, 3, number + b]) for b in range(count)])
        self.grown = np.zeros((count, k))  # nats since the burn-in
        self.doubt = np.zeros((count, k))
        self.anew = np.zeros(count, bool)  # sequences whose frames begin in random directions where counting begins
        self._block = self.Q
        self._pending: list[Linear] = []
        self._interval = 1

    def begin(self, lead: Array) -> None:
        """Begin with the columns of another frame, (n, S * j), and fill up with random ones; lost columns are zero."""
        pairs = zip(np.split(lead, self.count, axis=1), np.split(self.Q, self.count, axis=1), strict=True)
        blocks = [np.linalg.qr(np.hstack([a[:, a.any(axis=0)], b])[:, : self.k])[0] for a, b in pairs]
        self.Q = self._block = np.hstack(blocks)

    def first(self) -> Array:
        """Return what the first column has grown by until now, (S,), nats."""
        pending = log_norm(self._block[:, :: self.k], np.zeros(self.count)) if self._pending else 0.0
        return np.asarray(self.grown[:, 0] + pending)

    def push(self, J: Linear) -> None:
        """Take one more step."""
        factors = J.factors() if self.k > self.Q.shape[0] // 2 else (Factor(J),)
        for factor in factors:
            with np.errstate(over="ignore", invalid="ignore"):  # it is gone through again
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
        pairs = [(np.zeros_like(q) if self.anew[b] else q, self.number + b) for b, q in enumerate(blocks)]
        self.Q = self._block = np.hstack([completed(q, [self.seed, 6, b]) for q, b in pairs])
        self.grown[:], self.doubt[:] = 0, 0

    def _divide(self, steps: int, *, careful: bool) -> bool:
        if steps > 1 and not in_range(self._block):
            return False
        blocks = np.split(self._block, self.count, axis=1)
        found = [orthonormal(b, careful=careful or steps == 1) for b in blocks]
        if any(f is None for f in found):
            return False
        Q, logs, doubt = (np.array(x) for x in zip(*(f for f in found if f is not None), strict=True))
        self.grown = self.grown + logs
        self.doubt = np.where(np.isneginf(self.grown), 0, self.doubt + doubt)  # what is lost stays lost
        self.Q = self._block = np.hstack(list(Q))
        self._interval = min(next_interval(steps, row, EASY) for row in logs)
        return True


def _log_abs_det(J: Linear) -> Array:
    """Return log|det J| of every sequence: in closed form where the cell has one, else by elimination."""
    stated = J.log_abs_det() if J.dtype == np.float64 else None  # in float32 the form is only as good as that
    if stated is not None:
        return np.asarray(stated)
    unit = np.eye(J.shape[1])
    total = np.zeros(J.states)
    for factor in J.factors():
        each = np.split(factor.map.push_blocks(np.tile(unit, J.states)), J.states, axis=1)
        total = total + log_abs(np.stack(each))
    return total
