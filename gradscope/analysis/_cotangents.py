"""One sweep of a loss gradient back along a chain: the norm of dL/ds_t at every step, and the cotangents themselves.

u <- J_t^T u from the last step to the first, never a Jacobian product: O(H^2) a step. The cotangent is rescaled by
powers of two, so its norm is right at any depth.

`state` is |dL/ds_t| with the parts of s_t as independent inputs of the rest of the network. For an LSTM,
frameworks report the total derivative with respect to c_t, which also goes through h_t of the same step;
that number is here too, as `c_total`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import Loss
from gradscope.dynamics.sweep import Piece, log_norms, sweep, sweep_from
from gradscope.maps.jacobian import Array
from gradscope.numerics.scaled import log_norm


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """Natural logs of gradient norms.

    Attributes:
        logs: {"state" | part | part_total: (T + 1, B)}; entry t belongs to s_t. -inf: exactly zero.
            nan: not finite. A part that is the whole state is left out where it would repeat it.
        cotangents: dL/ds_t scaled to length one, (T + 1, n, B), if they were asked for; where the run keeps some of
            its states only, likewise computed again as they are asked for.
    """

    logs: dict[str, Array]
    cotangents: Array | Cotangents | None = None

    @property
    def state(self) -> Array:
        """Natural log of |dL/ds_t|, (T + 1, B)."""
        return self.logs["state"]

    def of(self, sequences: Array) -> GradientNorms:
        """Return the norms of some of the sequences, without the cotangents."""
        return GradientNorms({name: logs[:, sequences] for name, logs in self.logs.items()})


class Cotangents:
    """dL/ds_t scaled to length one, of a loss that reads the last state: those of some steps, and others from these.

    `cotangents[t]` is (n, B), as of an array; who goes along the steps, either way, has each computed once.
    """

    def __init__(self, chain: JacobianChain, loss: Loss, at: Array) -> None:
        self._chain, self._loss, self._at = chain, loss, at
        self._given: dict[int, Array] = {}
        self._first, self._rows = 0, np.zeros((0, chain.size, chain.batch), chain.dtype)

    def note(self, first: int, u: Array) -> None:
        """Take those that are kept from u[k], which belongs to step first + k."""
        low, high = np.searchsorted(self._at, (first, first + len(u)))
        self._given |= {int(t): unit(u[t - first]) for t in self._at[low:high]}

    def __getitem__(self, t: int) -> Array:
        t = t + self._chain.steps + 1 if t < 0 else t
        if not self._first <= t < self._first + len(self._rows):
            row = int(np.searchsorted(self._at, t))
            first, end = int(self._at[max(row - 1, 0)]), int(self._at[row])
            rows = np.empty((end - first + 1, self._chain.size, self._chain.batch), self._chain.dtype)
            rows[-1] = self._given[end]
            with np.errstate(over="ignore", invalid="ignore"):
                for piece in sweep_from(self._chain, self._loss, rows[-1].copy(), first, end):
                    rows[piece.first - first : piece.last - first] = unit(piece.u[:-1])
            self._first, self._rows = first, rows
        return np.asarray(self._rows[t - self._first])


def gradient_norms(chain: JacobianChain, loss: Loss, *, keep: bool = False) -> GradientNorms:
    """Sweep a loss gradient back along the chain and measure it at every step.

    Args:
        chain: the Jacobians.
        loss: its direct gradients.
        keep: keep the cotangents themselves, n * B * (T + 1) numbers.
    """
    norms = _Norms(chain, loss, keep=keep)
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in sweep(chain, loss):
            norms.note(piece)
    return norms.result()


class _Norms:
    """Sums of squares of every part, at every state, with their exponents, and later their logarithms."""

    def __init__(self, chain: JacobianChain, loss: Loss, *, keep: bool) -> None:
        self._parts, self._steps = chain.parts, chain.steps
        shape = (chain.steps + 1, chain.batch)
        self._squares = np.zeros((len(self._parts), *shape), chain.dtype)
        self._exponent = np.zeros(shape, np.int64)
        self._totals: dict[str, Array] = {}  # logs
        self._begins: dict[str, int] = {}  # steps from which on a total is the part's own
        self._careful: list[tuple[int, dict[str, Array]]] = []  # of pieces in which sums of squares do not do
        self._cotangents: Array | Cotangents | None = None
        at = chain.trajectory.at if chain.trajectory and not loss.at_every_step else None
        if keep:
            whole = (chain.steps + 1, chain.size, chain.batch)
            self._cotangents = np.zeros(whole, chain.dtype) if at is None else Cotangents(chain, loss, at)

    def note(self, piece: Piece) -> None:
        """Take down the norms of a piece. Its last state was the first of the piece before."""
        count = len(piece.u) - (piece.last < self._steps)
        to = slice(piece.first, piece.first + count)
        self._squares[:, to] = piece.squares[:, :count]
        self._exponent[to] = piece.exponent[:count] if piece.exponent.ndim > 1 else piece.exponent
        if not piece.safe:
            exponent = self._exponent[to]
            parts = {name: log_norm(piece.u[:count, s], exponent) for name, s in self._parts.items()}
            self._careful.append((piece.first, {"state": log_norm(piece.u[:count], exponent), **parts}))
        if isinstance(self._cotangents, Cotangents):
            self._cotangents.note(piece.first, piece.u[:count])
        elif self._cotangents is not None:
            self._cotangents[to] = unit(piece.u[:count])
        for rows, within in piece.within():
            self._note_totals(piece, rows, within)

    def _note_totals(self, piece: Piece, rows: slice, within: Array) -> None:
        """Add what parts of s_(first + 1), ..., s_last get through the other parts of the same step."""
        exponent = piece.exponent[1:] if piece.exponent.ndim > 1 else piece.exponent
        for name, s in self._parts.items():
            if rows.start <= s.start and s.stop <= rows.stop:
                more = within[:, s.start - rows.start : s.stop - rows.start]
                if name not in self._totals:
                    if not more.any():
                        continue
                    self._totals[name] = np.full(self._exponent.shape, np.nan)
                    self._begins[name] = piece.last + 1
                whole = piece.u[1:, s] + more
                squares = np.einsum("khb,khb->kb", whole, whole)
                logs = log_norms(squares, exponent) if piece.safe and squares.all() else log_norm(whole, exponent)
                self._totals[name][piece.first + 1 : piece.last + 1] = logs

    def result(self) -> GradientNorms:
        """Return the logarithms."""
        logs = {"state": log_norms(self._squares.sum(axis=0), self._exponent)}
        logs |= {name: log_norms(x, self._exponent) for name, x in zip(self._parts, self._squares, strict=True)}
        for first, careful in self._careful:
            for name, part in careful.items():
                logs[name][first : first + len(part)] = part
        for name, total in sorted(self._totals.items()):
            total[self._begins[name] :] = logs[name][self._begins[name] :]
            total[0] = logs[name][0]  # the state that the run starts from has no earlier half of a step
            logs[f"{name}_total"] = total
        if len(self._parts) == 1 and next(iter(self._parts)) != "h":
            del logs[next(iter(self._parts))]
        return GradientNorms(logs, self._cotangents)


def unit(u: Array) -> Array:
    """Scale columns to length one; what is zero stays zero."""
    size = np.abs(u).max(axis=-2, keepdims=True, initial=0.0)
    u = np.divide(u, size, out=np.zeros_like(u), where=size > 0)
    return np.asarray(u / np.maximum(np.sqrt(np.square(u).sum(axis=-2, keepdims=True)), np.finfo(u.dtype).tiny))
