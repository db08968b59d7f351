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

from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.push import Chunk, Chunks, Pusher, Step
from gradscope.maps.jacobian import Array
from gradscope.numerics.frames import complete_frame, random_frame
from gradscope.numerics.interval import next_interval
from gradscope.numerics.qr import log_lengths, orthonormalise
from gradscope.numerics.scaled import in_range, log_norm

__all__ = ["Followed", "Frame", "follow", "marked"]

EASY = 7.0  # nats of spread in an interval: what is small loses e^7 eps = 2e-13 of itself
LATE = 1.15  # times an interval, that it may become longer by where the frame has to be settled then anyhow
TOGETHER = 64  # steps of which the first column's length is taken at once
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
    marks, met = marked(chain.steps, burn)

    def turning(t: int, _: Chunk, __: int) -> None:
        if t % 16 == 0:
            tell(f"Lyapunov exponents: directions, {t} of {marks[met]} steps")

    chunks = Chunks(chain)
    lead = Frame(chain.size, min(k, LEADING), chain.batch, seed, number)
    before = _grow(lead, chunks, burn, marks[: met + 1], turning)
    frame = Frame(chain.size, k, chain.batch, seed, number, lead.Q)
    first, logdet = _First(chain, burn), np.zeros(chain.batch)

    def note(t: int, chunk: Chunk, i: int) -> None:
        if t >= burn:
            first.note(t, *frame.first())
            if k == chain.size:
                logdet[:] += chunk.log_abs_det(i)
        if t % 16 == 0:
            tell(f"Lyapunov exponents: {t} of {chain.steps} steps")

    grown, doubt = _grow(frame, chunks, burn, marks, note), frame.doubt
    gone = np.isneginf(grown[-1]).all(axis=1)
    if gone.any() and burn:  # what was turned lay along units that died; others may be there where counting begins
        frame = Frame(chain.size, k, chain.batch, seed, number)
        frame.anew = gone
        again = _grow(frame, chunks, burn, marks, lambda *_: None)
        grown[:, gone], doubt[gone], before[-1][gone] = again[:, gone], frame.doubt[gone], np.nan
    return Followed(grown, np.array(marks) - burn, first.logs(), before[-1], met, burn, chain.size, doubt, logdet)


def marked(steps: int, burn: int) -> tuple[list[int], int]:
    """Return after how many steps growth is noted, and the number of the mark up to which directions are turned."""
    length = max(1, int(np.sqrt(steps - burn)))  # of a batch: Flegal & Jones 2010
    marks = [*range(burn + length, steps + 1, length)]
    marks += [steps] if marks[-1] < steps else []
    return marks, min(len(marks) - 1, int(np.searchsorted(marks, burn + TURNING)))


class _First:
    """How much the first column has grown, step by step: lengths are taken of many at once."""

    def __init__(self, chain: JacobianChain, burn: int) -> None:
        self._burn = burn
        self._logs = np.zeros((chain.steps - burn, chain.batch))
        self._columns = np.empty((TOGETHER, chain.batch, chain.size))
        self._done = 0

    def note(self, t: int, grown: Array, column: Array) -> None:
        """Take in what had grown until the frame was settled, (S,), and the column since, (S, n)."""
        at = t - self._burn
        self._logs[at] = grown
        self._columns[at - self._done] = column
        if at + 1 - self._done == TOGETHER:
            self._finish(at + 1)

    def _finish(self, stop: int) -> None:
        columns = self._columns[: stop - self._done]
        logs = log_norm(columns.reshape(-1, columns.shape[2]).T, np.zeros(columns.shape[0] * columns.shape[1]))
        self._logs[self._done : stop] += logs.reshape(columns.shape[:2])
        self._done = stop

    def logs(self) -> Array:
        """Return nats until each step, (T, S)."""
        self._finish(len(self._logs))
        return self._logs


def _grow(frame: Frame, chunks: Chunks, burn: int, marks: list[int], note: Callable[[int, Chunk, int], None]) -> Array:
    """Push a frame to the last mark; return how much its columns have grown at each, (M, S, k), since the burn-in."""
    at_mark: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is gone through again
        for t, (chunk, i) in enumerate(chunks):
            mark = marks[len(at_mark)]
            frame.push(chunk.pusher, i, left=min((burn if t < burn else mark) - t, chunk.steps - i) - 1)
            if i + 1 == chunk.steps:
                frame.settle()  # its Jacobians do not last
            if t + 1 == burn:
                frame.forget()
            note(t, chunk, i)
            if t + 1 == mark:
                at_mark.append(frame.settled())
                if len(at_mark) == len(marks):
                    break
    return np.array(at_mark)


class Frame:
    """A frame for each of S sequences; it begins with the columns of `lead`, (S, j, n), but for those that are lost."""

    def __init__(self, n: int, k: int, count: int, seed: int, number: int = 0, lead: Array | None = None) -> None:
        self.seed, self.number = seed, number
        first = [None] * count if lead is None else [q[q.any(axis=1)].T for q in lead]
        frames = [random_frame(n, k, [seed, 3, number + b], own) for b, own in enumerate(first)]
        self.Q = np.array([q.T for q in frames])  # row j: column j
        self.grown = np.zeros((count, k))  # nats since the burn-in, until Q
        self.doubt = np.zeros((count, k))
        self.anew = np.zeros(count, bool)  # sequences whose frames begin in random directions where counting begins
        self._spare = [np.empty_like(self.Q), np.empty_like(self.Q)]
        self._block = self.Q
        self._pending: list[Step] = []
        self._interval = 1

    def first(self) -> tuple[Array, Array]:
        """Return what the first column had grown by until the frame was last settled, (S,), and itself, (S, n)."""
        return self.grown[:, 0], self._block[:, 0]

    def push(self, pusher: Pusher, i: int, left: int) -> None:
        """Take one more step; `left` more are to come until the frame has to be settled anyhow."""
        _, k, n = self.Q.shape
        maps = pusher.apart(i) if k > n // 2 else []
        for step, steep in maps or [((pusher, i), False)]:
            self._push(step)
            if steep:
                self.settle(careful=True)
        count = len(self._pending)
        if count >= self._interval and count + left > LATE * self._interval and not any(steep for _, steep in maps):
            self.settle()

    def _push(self, step: Step) -> None:
        pusher, i = step
        out = self._spare[1 if self._block is self._spare[0] else 0]
        pusher.push(i, self._block, out)
        self._block = out
        self._pending.append(step)

    def settle(self, *, careful: bool = False) -> None:
        """Make the frame orthonormal, and count what has grown; `careful`: rows were kept apart, one QR will do."""
        pending, self._pending = self._pending, []
        if pending and not self._divide(len(pending), careful=careful):
            self._interval = 1
            for step in pending:  # too much for one interval: once more, a step at a time
                self._block = self.Q
                self._push(step)
                self._divide(1, careful=True)
            self._pending = []

    def settled(self) -> Array:
        """Settle, and return what the columns have grown by if they are made orthonormal to the last digit, (S, k)."""
        self.settle()
        return np.asarray(self.grown + log_lengths(self.Q))

    def _polish(self) -> None:
        interval, self._block = self._interval, self._spare[0]
        self._block[:] = self.Q
        self._divide(1, careful=True)
        self._interval = interval

    def forget(self) -> None:
        """Start counting here, with new directions for those that are lost."""
        self.settle()
        self._polish()
        for b, q in enumerate(self.Q):
            kept = np.zeros_like(q) if self.anew[b] else q
            q[:] = complete_frame(kept.T, [self.seed, 6, self.number + b]).T
        self.grown, self.doubt = -log_lengths(self.Q), np.zeros(self.grown.shape)

    def _divide(self, steps: int, *, careful: bool) -> bool:
        block = self._block
        if steps > 1 and not in_range(block):
            return False
        logs, doubt = np.empty(self.grown.shape), np.empty(self.grown.shape)
        for b, columns in enumerate(block):
            found = orthonormalise(columns.T, last_resort=careful or steps == 1)
            if found is None:
                return False
            Q, logs[b], doubt[b] = found
            if not np.may_share_memory(Q, columns):
                columns[:] = Q.T
        self.grown = self.grown + logs
        self.doubt = np.where(np.isneginf(self.grown), 0, self.doubt + doubt)  # what is lost stays lost
        self._spare = [self.Q, *(x for x in self._spare if x is not block)]
        self.Q = block
        self._interval = min(next_interval(steps, row, EASY) for row in logs)
        return True
