"""Backpropagation through time: a cotangent goes back along a chain, u <- J[t]^T u, a block of steps at a time.

A cotangent that explodes or vanishes leaves the range of floating-point numbers. Here it has an exponent of its own,
u 2^exponent. Within a piece of a few steps nothing is rescaled. A piece ends where a column has grown or shrunk too
much, and the next one begins with the same cotangent, rescaled to about one. So the numbers are right at any depth,
and the inner loop does nothing but products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import Loss
from gradscope.kernels.tape import Call
from gradscope.kernels.vjp import VjpPlayer, vjp_player, vjp_within
from gradscope.maps.jacobian import Array, Linear
from gradscope.numerics.formats import LN2
from gradscope.numerics.scaled import add, rescale

RANGE_BITS = {4: 20, 8: 200}  # {bytes of a number: powers of two by which a column may grow or shrink within a piece}


class Piece(NamedTuple):
    """The cotangents of the states s_first, ..., s_last.

    Attributes:
        first, last: numbers of the states.
        u: (last - first + 1, n, B), dL/ds_t 2^-exponent; valid until the next piece.
        exponent: (last - first + 1, B), or (B,) for all of them.
        squares: (parts, last - first + 1, B), sums of squares of each part of u.
        safe: whether all sums of squares are far from overflow and underflow.
        block: the Jacobians of the steps in between, among others.
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
        """Return the same-step vjps of s_(first + 1), ..., s_last: (rows of the state, array) for parts with any."""
        return vjp_within(self.block, self.u[1:], slice(self.offset, self.offset + self.last - self.first))


class _Block:
    """The cotangents of the states of a block of steps, and the calls that make each from the one after it."""

    def __init__(self, chain: JacobianChain, size: int, *, with_loss: bool) -> None:
        self.size, self._chain = size, chain
        self._read = chain.reader(size)
        self.u = np.zeros((size + 1, chain.size, chain.batch), chain.dtype)
        self.direct = np.zeros((size, chain.output_size, chain.batch), chain.dtype) if with_loss else None
        self._player: VjpPlayer | None = None
        self._calls: list[list[Call]] = []
        self._parts = list(chain.parts.values())

    def read(self, start: int, stop: int) -> Linear:
        """Take in the Jacobians of these steps."""
        block = self._read(start, stop)
        if self._player is None or not self._player.load(block):
            self._player = vjp_player(block, self.size, self._chain.batch)
            self._player.load(block)
            self._calls = [self._of_step(self._player, k) for k in range(self.size)]
        return block

    def _of_step(self, player: VjpPlayer, k: int) -> list[Call]:
        calls = player.calls(k, self.u[k + 1], self.u[k])
        if self.direct is None:
            return calls
        outputs = [self.u[k][rows] for rows in self._chain.outputs]
        return [*calls, *((np.add, (u, self.direct[k], u)) for u in outputs)]

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
    zero = np.zeros((chain.size, chain.batch), chain.dtype), np.zeros(chain.batch, np.int64)
    return _pieces(chain, loss, *_add_direct(*zero, loss, chain.steps, chain), 0, chain.steps)


def sweep_from(chain: JacobianChain, loss: Loss, u: Array, first: int, last: int) -> Iterator[Piece]:
    """Yield the pieces from s_last, whose cotangent is u, (n, B), to s_first, of a loss that reads no state between."""
    return _pieces(chain, loss, u, np.zeros(chain.batch, np.int64), first, last)


def _pieces(chain: JacobianChain, loss: Loss, u: Array, exponent: Array, begin: int, end: int) -> Iterator[Piece]:
    rows = _Block(chain, max(1, min(end - begin, chain.block_steps)), with_loss=loss.at_every_step)
    for stop in range(end, begin, -rows.size):
        start = max(begin, stop - rows.size)
        block = rows.read(start, stop)
        last = stop
        while last > start:
            # 1. The direct gradients of a loss at every step, in the scale of u. If the two are too far from one
            #    another, the piece is a single step, and the direct gradient is added to its result below.
            first, same_scale = start, True
            if rows.direct is not None:
                exponent, same_scale = _scale_direct(loss, u, exponent, start, last, rows.direct)
                first = start if same_scale else last - 1
            # 2. Back through the steps, without looking at the numbers.
            rows.u[last - start] = u
            rows.back(last - start, first - start)
            cotangents = rows.u[first - start : last - start + 1]
            scale = exponent
            if not same_scale:
                u, exponent = _add_direct(cotangents[0], exponent, loss, first, chain)
                cotangents[0], scale = u, np.stack([exponent, scale])
            # 3. How far the norms went. What left the range is dropped, and is the next piece's to compute.
            squares = rows.squares(cotangents)
            low, high, room = squares.min(), squares.max(), 4.0 ** RANGE_BITS[squares.itemsize]
            safe = bool(low > 1 / room and high < room)
            dropped = 0 if safe or not same_scale else _first_in_range(squares.sum(axis=0), room)
            cotangents, squares, first = cotangents[dropped:], squares[:, dropped:], first + dropped
            # 4. The last cotangent begins the next piece, near one again.
            u = cotangents[0]
            if not (low * low * room > 1 and high * high < room):  # far from one
                u, exponent = rescale(u, exponent)
            yield Piece(first, last, cotangents, scale, squares, safe, block, first - start)
            last = first


def log_norms(squares: Array, exponent: Array) -> Array:
    """Return natural logs of norms from sums of squares, where these are safe."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(squares, dtype=float) / 2 + exponent * LN2)


def _add_direct(u: Array, exponent: Array, loss: Loss, t: int, chain: JacobianChain) -> tuple[Array, Array]:
    """Return u + dL/dh_t with its exponent, whatever the scales of the two are."""
    direct = loss.at(t, chain.steps)
    if direct is None:
        return u, exponent
    full = np.zeros_like(u)
    for rows in chain.outputs:
        full[rows] = direct
    return add(u, exponent, full)


def _scale_direct(loss: Loss, u: Array, exponent: Array, start: int, last: int, out: Array) -> tuple[Array, bool]:
    """Write the direct gradients of s_start, ..., s_(last - 1) in the scale of u.

    Returns:
        the scale, which is that of the direct gradients where u is zero, and whether the two are near enough; if not,
        zeros are written.
    """
    out[: last - start] = 0
    direct = loss.direct[max(start, 1) - 1 : last - 1]
    scale = np.frexp(np.abs(direct).max(axis=(0, 1), initial=0.0))[1]
    exponent = np.where(u.any(axis=0) | (scale == 0), exponent, scale)
    if (np.abs(scale - exponent)[direct.any(axis=(0, 1))] > RANGE_BITS[u.itemsize] // 2).any():
        return exponent, False
    out[max(start, 1) - start : last - start] = np.ldexp(direct, -exponent.astype(np.int32))
    return exponent, True


def _first_in_range(squares: Array, room: float) -> int:
    """Return the first row of (K + 1, B) from which on all are near enough to the last; at most the last but one."""
    top = squares[-1]
    alive = np.isfinite(top) & (top > 0)
    outside = (~((squares > 1 / room) & (squares < room)) & alive).any(axis=1)
    outside[-1] = False
    return min(int(np.flatnonzero(outside)[-1]) + 1, len(squares) - 2) if outside.any() else 0
