"""The derivative of the last state in the input k steps before it, ds_T/dx_(T-k), at several lags in one pass.

Each input direction enters at its step, ds_(T-k)/dx_(T-k) v, and goes forward to the last one: for r directions at
log-spaced lags, about 2 T products with r columns a sequence. Going back would take a column for every state variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.progress import REPORT_STEPS, Progress, no_progress
from gradscope.kernels.jvp import FrameJvps
from gradscope.maps.linear import Array
from gradscope.numerics.scaled import rescale

CALM_SQUARE = 1e10  # sums of squares up to it, or down to its inverse: a step with entries of 1e300 does not overflow


@dataclass(frozen=True, eq=False)
class InputJacobians:
    """ds_T/dx_(T-k) V at K lags, for B sequences and r input directions V.

    Attributes:
        lags: (K,), in ascending order; 0 is the last input.
        columns: (K, B, r, n), divided by 2^exponent: the derivatives of the last state.
        exponent: (K, B), integers.
    """

    lags: Array
    columns: Array
    exponent: Array

    def of(self, sequences: Array) -> InputJacobians:
        """Return the derivatives of some of the sequences."""
        return InputJacobians(self.lags, self.columns[:, sequences], self.exponent[:, sequences])

    def common(self, row: int) -> tuple[Array, int]:
        """Return the derivatives at one lag in a scale that all sequences share: (columns (B, r, n), its exponent)."""
        columns, exponent = self.columns[row], self.exponent[row]
        alive = columns.any(axis=(1, 2))
        if not alive.any():
            return columns, 0
        top = int(exponent[alive].max())  # zeros have no scale
        shift = np.clip(exponent - top, -4000, 0).astype(np.int32)
        return np.ldexp(columns, shift[:, None, None]), top


def input_jacobians(
    chain: JacobianChain, lags: Array, directions: Array, *, progress: Progress = no_progress, title: str = ""
) -> InputJacobians:
    """Return the derivatives of the last state in the inputs of some steps.

    Args:
        chain: the Jacobians of a run with input.
        lags: (K,), how many steps before the last input, in ascending order, less than T.
        directions: (m, r), input directions.
        progress: takes (name, done, total) now and then.
        title: name for it.
    """
    n, batch, r = chain.size, chain.batch, directions.shape[1]
    entries = {chain.steps - 1 - int(lag): _entering(chain, chain.steps - 1 - int(lag), directions) for lag in lags}
    first = min(entries)
    # the largest lag comes first along the run: each later one is appended
    frame, exponent = np.zeros((batch, 0, r, n)), np.zeros((batch, 0), np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        for t, J in enumerate(FrameJvps(chain, first), first):
            if frame.size:
                out = np.empty_like(frame)
                J.chunk.jvps.jvp(J.i, frame.reshape(batch, -1, n), out.reshape(batch, -1, n))
                frame, exponent = _calm(out, exponent)
            if t in entries:
                frame, exponent = _calm(
                    np.concatenate([frame, entries[t][:, None]], axis=1), np.pad(exponent, ((0, 0), (0, 1)))
                )
            if t % REPORT_STEPS == 0:
                progress(title, t, chain.steps)
    return InputJacobians(lags, frame.swapaxes(0, 1)[::-1], exponent.T[::-1])


def _entering(chain: JacobianChain, t: int, directions: Array) -> Array:
    """Return ds_(t+1)/dx_t V, (B, r, n)."""
    J = chain.at(t)
    columns = [J.jvp_input(np.repeat(v[:, None], chain.batch, axis=1)) for v in directions.astype(chain.dtype).T]
    return np.stack(columns, axis=1).transpose(2, 1, 0).astype(float)


def _calm(frame: Array, exponent: Array) -> tuple[Array, Array]:
    """Rescale the columns of those sequences and lags that are far from one, in place."""
    squares = np.einsum("bkrn,bkrn->bk", frame, frame)
    far = ~((squares > 1 / CALM_SQUARE) & (squares < CALM_SQUARE))
    if far.any():
        columns = frame[far]
        flat, exponent[far] = rescale(columns.reshape(len(columns), -1).T, exponent[far])
        frame[far] = flat.T.reshape(columns.shape)
    return frame, exponent


def joined(parts: Sequence[InputJacobians]) -> InputJacobians:
    """Return the derivatives of several groups of sequences side by side."""
    columns, exponent = [p.columns for p in parts], [p.exponent for p in parts]
    return InputJacobians(parts[0].lags, np.concatenate(columns, axis=1), np.concatenate(exponent, axis=1))
