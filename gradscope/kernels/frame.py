"""Frames that are pushed along a chain: several steps between two decompositions, and no more than are safe.

A frame is made orthonormal again when its columns have spread by `FRAME_SPREAD_NATS`, by Cholesky QR; an interval in
which they spread too far is gone through again step by step, with Householder's reflections where Cholesky fails (see
`numerics.qr` and `numerics.interval`). Rows of very different size, as saturated gates make them, are decomposed before
the next factor of the same step mixes them. All arrays stay in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradscope.kernels.jvp import FrameJvp, StepJacobian
from gradscope.numerics.formats import Array
from gradscope.numerics.frames import complete_frame, random_frame
from gradscope.numerics.interval import next_interval
from gradscope.numerics.qr import log_lengths, orthonormalise
from gradscope.numerics.scaled import in_range, log_norm

FRAME_SPREAD_NATS = 7.0  # of columns in an interval: the smallest loses e^7 eps = 2e-13 of itself
STRETCH = 1.15  # times an interval, that it may become longer by where frames have to be decomposed then anyhow
LENGTHS_AT_ONCE = 64  # steps of which the length of the first column is taken in one call of numpy
FRAME_SEED, LOST_SEED = 3, 6  # second numbers of seeds: directions that a frame begins with, and that replace lost ones


class Frames:
    """A frame of k orthonormal columns for each of S sequences.

    Attributes:
        Q: (S, k, n), row j of a sequence is column j of its frame, as of the last decomposition.
        log_growth: (S, k), sums of log diag R since counting began, nats; -inf for columns that are lost exactly.
        rounding_error: (S, k), by how much rounding may have moved `log_growth`, to first order, nats.
    """

    def __init__(self, n: int, k: int, count: int, seed: int, *, number: int = 0, lead: Array | None = None) -> None:
        """Start from random directions.

        Args:
            n: state variables.
            k: columns.
            count: sequences S.
            seed: seed of the frames.
            number: of the first sequence, where they are a part of more: seeds go by it.
            lead: (S, j, n), columns that frames begin with; those that are zero are left out.
        """
        self._seed, self._number = seed, number
        first = [None] * count if lead is None else [q[q.any(axis=1)].T for q in lead]
        frames = [random_frame(n, k, [seed, FRAME_SEED, number + b], columns) for b, columns in enumerate(first)]
        self.Q: Array = np.array([q.T for q in frames])
        self.log_growth: Array = np.zeros((count, k))
        self.rounding_error: Array = np.zeros((count, k))
        self._spare = [np.empty_like(self.Q), np.empty_like(self.Q)]
        self._block = self.Q  # Q times the pending maps
        self._pending: list[tuple[FrameJvp, int]] = []
        self._interval = 1
        self._steep = False  # whether the last step was taken in factors

    @property
    def first_column(self) -> tuple[Array, Array]:
        """Growth of the first column until the last decomposition, nats, (S,), and the column since, (S, n)."""
        return self.log_growth[:, 0], self._block[:, 0]

    def multiply(self, J: StepJacobian) -> None:
        """Multiply frames by the Jacobians of one step: Q <- J Q."""
        _, k, n = self.Q.shape
        jvps = J.chunk.jvps
        factors = jvps.factors(J.i) if k > n // 2 else []  # few columns grow fast: small rows matter to small columns
        for factor, i, steep in factors or [(jvps, J.i, False)]:
            self._apply(factor, i)
            if steep:
                # the next factor would mix small rows with large ones, and round the small ones off
                self.orthonormalise(rows_separate=True)
        self._steep = any(steep for _, _, steep in factors)

    def _apply(self, jvps: FrameJvp, i: int) -> None:
        out = self._spare[1 if self._block is self._spare[0] else 0]
        jvps.jvp(i, self._block, out)
        self._block = out
        self._pending.append((jvps, i))

    def due(self, left: int) -> bool:
        """Return whether columns have spread so far that frames have to be made orthonormal.

        Args:
            left: steps until they will be made so in any case: to decompose shortly before costs a decomposition.
        """
        steps = len(self._pending)
        return not self._steep and steps >= self._interval and steps + left > STRETCH * self._interval

    def orthonormalise(self, *, rows_separate: bool = False) -> None:
        """Decompose frames, Q R <- Q, and add log diag R to the growth.

        Args:
            rows_separate: whether the last map was steep: its rows are exact, so that one decomposition will do.
        """
        pending, self._pending = self._pending, []
        if pending and not self._decompose(len(pending), last_resort=rows_separate):
            # columns spread too far within the interval: once more, one step at a time
            self._interval = 1
            for jvps, i in pending:
                self._block = self.Q
                self._apply(jvps, i)
                self._decompose(1, last_resort=True)
            self._pending = []

    def total_growth(self) -> Array:
        """Return the growth of columns that are orthonormal to the last digit, nats, (S, k)."""
        self.orthonormalise()
        # Q by Cholesky is orthonormal up to rounding times the condition: what it lacks belongs to the growth
        return np.asarray(self.log_growth + log_lengths(self.Q))

    def start_counting(self, restart: Array | None = None) -> None:
        """Set the growth to zero, with new directions for columns that are lost.

        Args:
            restart: (S,), sequences whose frames begin in random directions.
        """
        self.orthonormalise()
        # once more by itself, which leaves Q orthonormal to rounding and the interval as it was
        interval, self._block = self._interval, self._spare[0]
        self._block[:] = self.Q
        self._decompose(1, last_resort=True)
        self._interval = interval
        for b, q in enumerate(self.Q):
            columns = q if restart is None or not restart[b] else np.zeros_like(q)
            q[:] = complete_frame(columns.T, [self._seed, LOST_SEED, self._number + b]).T
        self.log_growth, self.rounding_error = -log_lengths(self.Q), np.zeros(self.rounding_error.shape)

    def _decompose(self, steps: int, *, last_resort: bool) -> bool:
        """Make the block the new Q; return False, and change nothing, where the interval was too long."""
        block = self._block
        if steps > 1 and not in_range(block):
            return False
        logs, rounding_error = np.empty(self.log_growth.shape), np.empty(self.log_growth.shape)
        for b, columns in enumerate(block):
            qr = orthonormalise(columns.T, last_resort=last_resort or steps == 1)
            if qr is None:
                return False
            Q, logs[b], rounding_error[b] = qr
            if not np.may_share_memory(Q, columns):  # Cholesky QR overwrites its argument
                columns[:] = Q.T
        self.log_growth = self.log_growth + logs
        self.rounding_error = np.where(
            np.isneginf(self.log_growth), 0, self.rounding_error + rounding_error
        )  # what is lost stays lost
        # the old Q becomes a spare array, the block the new Q
        self._spare = [self.Q, *(x for x in self._spare if x is not block)]
        self.Q = block
        # one interval for all sequences: they are pushed together
        self._interval = min(next_interval(steps, row, FRAME_SPREAD_NATS) for row in logs)
        return True


class FrameGrowth(NamedTuple):
    """How much the frames of S sequences have grown since the burn-in.

    Attributes:
        at_marks: (M, S, k), nats until each mark.
        steps: (M,), steps until each mark.
        first: (T, S), nats by which the first column has grown until each step.
        first_pass: (S, j), nats of the first j columns, until the mark where the first pass ended: it began in random
            directions.
        first_pass_end: number of that mark.
        burn: steps before those that are counted.
        size: state variables n.
        rounding_error: (S, k), nats that rounding may have moved.
        log_det: (S,), sums of log|det J[t]|; zeros where the frame is not complete.
    """

    at_marks: Array
    steps: Array
    first: Array
    first_pass: Array
    first_pass_end: int
    burn: int
    size: int
    rounding_error: Array
    log_det: Array

    def of(self, sequences: Array | slice) -> FrameGrowth:
        """Return the growth in some of the sequences."""
        return self._replace(
            at_marks=self.at_marks[:, sequences],
            first=self.first[:, sequences],
            first_pass=self.first_pass[sequences],
            rounding_error=self.rounding_error[sequences],
            log_det=self.log_det[sequences],
        )

    @classmethod
    def joined(cls, parts: Sequence[FrameGrowth]) -> FrameGrowth:
        """Return the growth with the sequences of several side by side."""
        return parts[0]._replace(
            at_marks=np.concatenate([p.at_marks for p in parts], axis=1),
            first=np.concatenate([p.first for p in parts], axis=1),
            first_pass=np.concatenate([p.first_pass for p in parts]),
            rounding_error=np.concatenate([p.rounding_error for p in parts]),
            log_det=np.concatenate([p.log_det for p in parts]),
        )


class FirstColumn:
    """How much the first column of each frame has grown until every step."""

    def __init__(self, steps: int, count: int, n: int) -> None:
        self._logs = np.zeros((steps, count))
        self._columns = np.empty((LENGTHS_AT_ONCE, count, n))
        self._done = 0

    def note(self, t: int, frames: Frames) -> None:
        """Take in the first column after step t."""
        self._logs[t], self._columns[t - self._done] = frames.first_column
        if t + 1 - self._done == LENGTHS_AT_ONCE:
            self._take_lengths(t + 1)

    def _take_lengths(self, stop: int) -> None:
        columns = self._columns[: stop - self._done]
        logs = log_norm(columns.reshape(-1, columns.shape[2]).T, np.zeros(columns.shape[0] * columns.shape[1]))
        self._logs[self._done : stop] += logs.reshape(columns.shape[:2])
        self._done = stop

    def logs(self) -> Array:
        """Return the growth until each step, nats, (T, S)."""
        self._take_lengths(len(self._logs))
        return self._logs
