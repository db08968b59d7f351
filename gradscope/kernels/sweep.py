"""A cotangent goes back along a chain, a few steps at a time, with an exponent of its own.

Within a piece nothing is rescaled: it ends where a column has grown or shrunk too much, and what it ends with begins
the next one, near one again. So the numbers are right at any depth, and the loop does nothing but go back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gradscope.analysis._loss import Loss
from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.tape import Call
from gradscope.maps.jacobian import Array
from gradscope.maps.linear import Linear, VjpPlayer
from gradscope.numerics.scaled import LN2, add, rescale

__all__ = ["Piece", "again", "log_norms", "sweep"]

ROOM = {4: 20, 8: 200}  # {bytes of a number: powers of two by which a column may grow or shrink within a piece}


class Piece(NamedTuple):
    """What reached the states s_first, ..., s_last.

    Attributes:
        first, last: numbers of the states.
        u: (last - first + 1, n, B), dL/ds_t 2^-exponent; valid until the next piece.
        exponent: (last - first + 1, B), or (B,) for all of them.
        squares: (parts, last - first + 1, B), sums of squares of each part of u.
        safe: whether none of these has left the range of numbers, or come near to its end.
        block: the Jacobians of the steps in between, others before them and at the end.
        offset: number of the first of these in the block.
    """

    first: int
    last: int
    u: Array
    exponent: Array
    squares: Array
    safe: bool
    block: Linear
    offset: int

    def within(self) -> list[tuple[slice, Array]]:
        """Return what parts of s_(first + 1), ..., s_last get through other parts of their step: (rows, array)."""
        return self.block.vjp_within_steps(self.u[1:], slice(self.offset, self.offset + self.last - self.first))


class _Rows:
    """The cotangents of a few states, and the calls that make each of them from the one after it."""

    def __init__(self, chain: JacobianChain, size: int, *, direct: bool) -> None:
        self.size, self._chain = size, chain
        self._read = chain.reader(size)
        self.u = np.zeros((size + 1, chain.size, chain.batch), chain.dtype)
        self.direct = np.zeros((size, chain.output_size, chain.batch), chain.dtype) if direct else None
        self._player: VjpPlayer | None = None
        self._calls: list[list[Call]] = []
        self._parts = list(chain.parts.values())

    def read(self, start: int, stop: int) -> Linear:
        """Take in the Jacobians of these steps."""
        block = self._read(start, stop)
        if self._player is None or not self._player.load(block):
            self._player = block.vjp_player(self.size, self._chain.batch)
            self._player.load(block)
            self._calls = [self._of_step(self._player, k) for k in range(self.size)]
        return block

    def _of_step(self, player: VjpPlayer, k: int) -> list[Call]:
        calls = player.calls(k, self.u[k + 1], self.u[k])
        if self.direct is None:
            return calls
        seen = [self.u[k][rows] for rows in self._chain.outputs]
        return [*calls, *((np.add, (own, self.direct[k], own)) for own in seen)]

    def back(self, last: int, first: int) -> None:
        """Fill u[first], ..., u[last - 1] from u[last]."""
        for calls in self._calls[first:last][::-1]:
            for call, arguments in calls:
                call(*arguments)

    def squares(self, u: Array) -> Array:
        """Return sums of squares of each part, (parts, K, B)."""
        return np.array([np.einsum("khb,khb->kb", u[:, s], u[:, s]) for s in self._parts])


def sweep(chain: JacobianChain, loss: Loss) -> Iterator[Piece]:
    """Yield pieces from the last state to the first; each begins with the state that the one before ended with."""
    begin = np.zeros((chain.size, chain.batch), chain.dtype), np.zeros(chain.batch, np.int64)
    return _swept(chain, loss, *_received(*begin, loss, chain.steps, chain), 0, chain.steps)


def again(chain: JacobianChain, loss: Loss, u: Array, first: int, last: int) -> Iterator[Piece]:
    """Yield the pieces from s_last, with dL/ds_last in `u`, to s_first, of a loss that has no other terms."""
    return _swept(chain, loss, u, np.zeros(chain.batch, np.int64), first, last)


def _swept(chain: JacobianChain, loss: Loss, u: Array, exponent: Array, begin: int, end: int) -> Iterator[Piece]:
    rows = _Rows(chain, max(1, min(end - begin, chain.at_once)), direct=loss.at_every_step)
    for stop in range(end, begin, -rows.size):
        start = max(begin, stop - rows.size)
        block = rows.read(start, stop)
        last = stop
        while last > start:
            first, near = start, True
            if rows.direct is not None:
                exponent, near = _beside(loss, u, exponent, start, last, rows.direct)
                first = start if near else last - 1
            rows.u[last - start] = u
            rows.back(last - start, first - start)
            went = rows.u[first - start : last - start + 1]
            scale = exponent
            if not near:
                u, exponent = _received(went[0], exponent, loss, first, chain)
                went[0], scale = u, np.stack([exponent, scale])
            squares = rows.squares(went)
            low, high, room = squares.min(), squares.max(), 4.0 ** ROOM[squares.itemsize]
            safe = bool(low > 1 / room and high < room)
            kept = 0 if safe or not near else _in_range(squares.sum(axis=0), room)
            went, squares, first = went[kept:], squares[:, kept:], first + kept
            u = went[0]
            if not (low * low * room > 1 and high * high < room):  # far from one
                u, exponent = rescale(u, exponent)
            yield Piece(first, last, went, scale, squares, safe, block, first - start)
            last = first


def log_norms(squares: Array, exponent: Array) -> Array:
    """Return natural logs of norms from sums of squares, where these are safe."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(squares, dtype=float) / 2 + exponent * LN2)


def _received(u: Array, exponent: Array, loss: Loss, t: int, chain: JacobianChain) -> tuple[Array, Array]:
    """Add the direct gradient of step t, whatever the scales are."""
    direct = loss.at(t, chain.steps)
    if direct is None:
        return u, exponent
    full = np.zeros_like(u)
    for rows in chain.outputs:
        full[rows] = direct
    return add(u, exponent, full)


def _beside(loss: Loss, u: Array, exponent: Array, start: int, last: int, to: Array) -> tuple[Array, bool]:
    """Write the direct gradients of s_start, ..., s_(last - 1) in the scale of u.

    Returns:
        the scale, which is theirs where u is zero, and whether the two are near enough; if not, zeros are written.
    """
    to[: last - start] = 0
    direct = loss.direct[max(start, 1) - 1 : last - 1]
    own = np.frexp(np.abs(direct).max(axis=(0, 1), initial=0.0))[1]
    exponent = np.where(u.any(axis=0) | (own == 0), exponent, own)
    if (np.abs(own - exponent)[direct.any(axis=(0, 1))] > ROOM[u.itemsize] // 2).any():
        return exponent, False
    to[max(start, 1) - start : last - start] = np.ldexp(direct, -exponent.astype(np.int32))
    return exponent, True


def _in_range(squares: Array, room: float) -> int:
    """Return the first row, (K + 1, B), from which on all are near enough to the last; at most the last but one."""
    top = squares[-1]
    alive = np.isfinite(top) & (top > 0)
    odd = (~((squares > 1 / room) & (squares < room)) & alive).any(axis=1)
    odd[-1] = False
    return min(int(np.flatnonzero(odd)[-1]) + 1, len(squares) - 2) if odd.any() else 0
