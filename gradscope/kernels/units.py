"""Chains whose units do not see one another: every answer comes unit by unit, and no matrix is decomposed.

J is a grid of diagonals, so that a product of any number of steps is one of p x p matrices for each unit, p = 1 or 2
state variables. Singular values, eigenvalues and exponents of the whole are those of all units together. The larger
singular value of a 2 x 2 matrix M has all of its digits in closed form; the smaller one is |det M| over it, and
log|det M| is a sum over steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.kernels.follow import Followed, marked
from gradscope.maps.jacobian import Array
from gradscope.numerics.scaled import LN2

__all__ = ["UNSURE", "UnitProduct", "follow_units", "in_order", "log_norms", "near_one", "whole"]

EPS = float(np.finfo(float).eps)
TOLD = 256  # steps between two words about progress
EASY, MANY = 2.0**30, 32  # so many matrices of such a size, or its inverse, are multiplied without leaving the range
SAMPLED = 10.0  # times a sample, for a size: four normal numbers are ten times too small once in ten thousand
UNSURE = 1e-2  # nats of error from which an eigenvalue is not determined


class UnitProduct:
    """A product of p x p matrices for each of H units of S sequences.

    Attributes:
        steps: how many were multiplied.
    """

    def __init__(self, p: int, units: int, sequences: int) -> None:
        self.steps = 0
        self._matrix = np.eye(p)[:, :, None, None] * np.ones((units, sequences))
        self._exponent = np.zeros((units, sequences), np.int64)
        self._log_det = np.zeros((units, sequences))
        self._sign = np.ones((units, sequences))
        self._error = np.zeros_like(self._matrix)  # a sample of what rounding did to the matrix
        self._rng = np.random.default_rng(0)

    def multiply(self, steps: Array, *, right: bool = False) -> None:
        """Multiply by the matrices of some steps, (p, p, K, H, S), from the left, or from the right."""
        self.steps += steps.shape[2]
        block, exponent, log_det, sign = _block(steps)
        self._log_det += log_det
        self._sign *= sign
        if block is None:  # the determinant is all of it
            return
        fresh = EPS * steps.shape[2] * _norm(block) * _norm(self._matrix)
        error = _times(self._error, block) if right else _times(block, self._error)
        error += fresh * self._rng.standard_normal(error.shape)
        self._matrix, more = _near_one(_times(self._matrix, block) if right else _times(block, self._matrix))
        self._error = np.ldexp(error, -more)
        self._exponent += exponent + more

    @property
    def errors(self) -> Array:
        """Estimate, on the safe side, what rounding did to the logs of singular values, (H, S), nats."""
        rounding = np.full(self._sign.shape, EPS * self.steps)
        if len(self._matrix) == 1:
            return rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            return rounding + SAMPLED * np.nan_to_num(_norm(self._error) / _norm(self._matrix), posinf=np.inf)

    def log_singular(self) -> Array:
        """Return natural logs of the singular values of each unit, (p, H, S), the larger one first."""
        if len(self._matrix) == 1:
            return self._log_det[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            largest = np.log(_norm(self._matrix)) + self._scale
            other = np.where(np.isneginf(self._log_det), -np.inf, self._log_det - largest)
        return np.stack([largest, other])

    def eigenvalues(self) -> tuple[Array, Array, Array]:
        """Return natural logs of the moduli of the eigenvalues, their phases and errors, (p, H, S) each."""
        rounding = self.errors
        if len(self._matrix) == 1:
            return self._log_det[None], np.where(self._sign < 0, np.pi, 0.0)[None], rounding[None]
        m = self._matrix
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value, turning, angle, apart = _larger_root(m, self._sign * np.exp(self._log_det - 2 * self._scale))
            first = np.where(turning, self._log_det / 2, np.log(np.abs(value)) + self._scale)
            second = np.where(turning, first, np.where(np.isneginf(self._log_det), -np.inf, self._log_det - first))
            # two that are nearly one move by the root of what the matrix does
            steep = np.clip(_norm(m) / apart, 1, 1 / np.sqrt(rounding))
            error = rounding * steep * np.exp(np.log(_norm(m)) + self._scale - first)
        phase = np.where(turning, angle, np.where(value < 0, np.pi, 0.0))
        other = np.where(turning, -phase, np.where(self._sign * np.sign(value) < 0, np.pi, 0.0))
        return np.stack([first, second]), np.stack([phase, other]), np.stack([error, error])

    def growth(self, q: Array) -> Array:
        """Return nats by which directions q (p, H, S), and what is orthogonal to them, have grown, (p, H, S)."""
        if len(q) == 1:
            return self._log_det[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.log(_length(_applied(self._matrix, q))) + self._scale
            lost = np.isneginf(self._log_det)
            return np.stack([first, np.where(lost, -np.inf, self._log_det - first)])

    def doubt(self, q: Array) -> Array:
        """Estimate, on the safe side, what rounding did to `growth`, (p, H, S), nats."""
        rounding = np.broadcast_to(EPS * self.steps, q.shape)
        if len(q) == 1:
            return rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = _length(_applied(self._error, q)) / _length(_applied(self._matrix, q))
        return np.asarray(rounding + SAMPLED * np.nan_to_num(moved, posinf=np.inf))

    def turned(self, q: Array) -> Array:
        """Return where directions point to now; those that are lost, where they did."""
        new = _applied(self._matrix, q)
        length = _length(new)
        return np.where(length > 0, np.divide(new, length, out=np.zeros_like(new), where=length > 0), q)

    @property
    def _scale(self) -> Array:
        return self._exponent * LN2


def _larger_root(m: Array, det: Array) -> tuple[Array, Array, Array, Array]:
    """Return the larger eigenvalue of 2 x 2 matrices where they are real, where they are not, and the angles there.

    The last one is how far each is from their mean, by which errors of the matrix are divided; inf for triangular ones.
    """
    half = (m[0, 0] + m[1, 1]) / 2
    inner = half**2 - det
    real = half + np.where(half < 0, -1.0, 1.0) * np.sqrt(np.maximum(inner, 0))
    triangular = (m[0, 1] == 0) | (m[1, 0] == 0)  # there it stands on the diagonal, and inner is only rounding
    larger = np.where(np.abs(m[0, 0]) >= np.abs(m[1, 1]), m[0, 0], m[1, 1])
    turning = (inner < 0) & ~triangular
    apart = np.where(triangular, np.inf, np.sqrt(np.abs(inner)))
    return np.where(triangular, larger, real), turning, np.arctan2(np.sqrt(np.maximum(-inner, 0)), half), apart


def whole(chain: JacobianChain) -> UnitProduct:
    """Return the product of all steps; it is kept with the chain, since several analyses ask for it."""
    found = chain.memo[0] if chain.memo else None
    if isinstance(found, UnitProduct):
        return found
    product = UnitProduct(len(chain.parts), chain.size // len(chain.parts), chain.batch)
    for _, _, steps in chain.units():
        product.multiply(steps)
    chain.memo.append(product)
    return product


def _det(matrix: Array) -> Array:
    if len(matrix) == 1:
        return np.asarray(matrix[0, 0])
    return np.asarray(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])


def _norm(matrix: Array) -> Array:
    """Return the spectral norm of p x p matrices; of 2 x 2 ones by a sum without cancellation."""
    if len(matrix) == 1:
        return np.asarray(np.abs(matrix[0, 0]))
    (a, b), (c, d) = matrix
    return np.asarray((np.hypot(a + d, c - b) + np.hypot(a - d, c + b)) / 2)


def _times(a: Array, b: Array) -> Array:
    """Multiply 2 x 2 matrices, (2, 2, ...)."""
    made = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for i in (0, 1):
        for j in (0, 1):
            np.multiply(a[i, 0], b[0, j], out=made[i, j])
            made[i, j] += a[i, 1] * b[1, j]
    return made


def near_one(steps: Array, distance: float) -> Array:
    """Tell where |det|^(1/p) of a unit lies within so much of 1, (p, p, K, H, S) -> (K, H, S)."""
    p = len(steps)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(_det(steps))
    return np.asarray((size > (1 - distance) ** p) & (size < (1 + distance) ** p))


def log_norms(steps: Array) -> Array:
    """Return natural logs of the spectral norms of some steps, (p, p, K, H, S) -> (K, S)."""
    scaled, exponent = _near_one(steps)
    with np.errstate(divide="ignore"):
        return np.asarray((np.log(_norm(scaled)) + exponent * LN2).max(axis=1))


def _block(steps: Array) -> tuple[Array | None, Array, Array, Array]:
    """Return the product of some steps over 2^exponent (None for p = 1), the exponent, log|det| and its sign."""
    with np.errstate(over="ignore", invalid="ignore"):
        det = _det(steps)
    size = np.abs(det)
    low, high = float(size.min()), float(size.max())
    if 1 / EASY < low and high < EASY and len(steps[0, 0]) <= MANY:
        log_det = np.log(size.prod(axis=0))
    else:
        scaled, shift = _near_one(steps)
        det = _det(scaled)
        with np.errstate(divide="ignore"):
            log_det = (np.log(np.abs(det)) + len(steps) * shift * LN2).sum(axis=0)
    sign, none = np.sign(det).prod(axis=0), np.zeros(det.shape[1:], np.int64)
    if len(steps) == 1:
        return None, none, log_det, sign
    top = np.abs(steps).max(axis=(0, 1))
    if len(top) <= MANY and 1 / EASY < top.min() and top.max() < EASY:
        while steps.shape[2] > 1:  # in pairs, so that every call has much to do
            pairs = _times(steps[:, :, 1::2], steps[:, :, : steps.shape[2] // 2 * 2 : 2])
            steps = np.concatenate([pairs, steps[:, :, -1:]], axis=2) if steps.shape[2] % 2 else pairs
        return steps[:, :, 0], none, log_det, sign
    scaled, exponents = _near_one(steps)
    product, exponent = scaled[:, :, 0], exponents[0]
    for k in range(1, len(exponents)):
        product, more = _near_one(_times(scaled[:, :, k], product))
        exponent = exponent + exponents[k] + more
    return product, exponent, log_det, sign


def _near_one(matrix: Array) -> tuple[Array, Array]:
    """Return the same with entries of one at most, and the powers of two that were taken out."""
    exponent = np.frexp(np.abs(matrix).max(axis=(0, 1)))[1]
    return np.ldexp(matrix, -exponent), exponent.astype(np.int64)


def in_order(*rows: Array) -> list[Array]:
    """Sort the values of all units, (p, H, ...) each, by the first of them, the largest first; nan comes last."""
    flat = [r.reshape(-1, *r.shape[2:]) for r in rows]
    order = np.argsort(-flat[0], axis=0, kind="stable")
    return [np.take_along_axis(r, order, axis=0) for r in flat]


def follow_units(chain: JacobianChain, k: int, burn: int, seed: int, *, progress: Callable[[str], None]) -> Followed:
    """Follow the first direction of every unit; what the second one gains is what is left of the determinant.

    The arguments are those of `_follow.follow`, and so is what is done: first directions are turned along a part of the
    run, and begin it again where they ended.
    """
    marks, met = marked(chain.steps, burn)
    p, units = len(chain.parts), next(iter(chain.sizes.values()))
    q = np.random.default_rng([seed, 3]).standard_normal((p, units, chain.batch))
    before, _, q = _grow(chain, q / _length(q), burn, marks[: met + 1], progress)
    grown, doubt, _ = _grow(chain, q, burn, marks, progress)
    kept = np.argsort(-grown[-1].mean(axis=0), kind="stable")[:k]
    first = np.zeros((chain.steps - burn, chain.batch))
    if chain.batch == 1:  # else nobody asks for it
        unit = int(kept[0]) % units
        first = _of_unit(chain, q[:, unit], burn, unit)
    total = grown[-1].sum(axis=1) if k == chain.size else np.zeros(chain.batch)
    counted = np.array(marks) - burn
    rows = grown[:, :, kept], counted, first, before[-1][:, kept], met, burn, chain.size, doubt[:, kept], total
    return Followed(*rows)


def _grow(
    chain: JacobianChain,
    q: Array,
    burn: int,
    marks: list[int],
    progress: Callable[[str], None],
) -> tuple[Array, Array, Array]:
    """Push directions to the last mark.

    Args:
        chain: the Jacobians.
        q: (p, H, S), of length one.
        burn: steps that are not counted.
        marks: after how many steps growth is noted.
        progress: called with a word now and then.

    Returns:
        what had grown at each mark, (M, S, n), second directions after the first ones of all units; what rounding may
        have moved in the end, (S, n), nats; the directions in the end.
    """
    p, units, count = q.shape
    noted: list[Array] = []
    grown, doubt = np.zeros((2, p, units, count))
    product = UnitProduct(p, units, count)
    for start, stop, steps in chain.units([burn, *marks]):
        if start == burn:
            q, product = product.turned(q), UnitProduct(p, units, count)
        product.multiply(steps)
        if stop == marks[len(noted)]:
            grown += product.growth(q)
            doubt += product.doubt(q)
            q, product = product.turned(q), UnitProduct(p, units, count)
            noted.append(grown.reshape(p * units, count).T.copy())
            if len(noted) == len(marks):
                break
        if start % TOLD < stop - start:
            progress(f"Lyapunov exponents: {start} of {chain.steps} steps")
    return np.array(noted), doubt.reshape(p * units, count).T, q


def _of_unit(chain: JacobianChain, q: Array, burn: int, unit: int) -> Array:
    """Return nats by which the direction q (p, S) of a unit has grown until each step, (T - burn, S)."""
    grown = np.zeros((chain.steps, q.shape[1]))
    for start, stop, steps in chain.units():
        own = steps[:, :, :, unit]
        if len(q) == 1:
            grown[start:stop] = own[0, 0]
            continue
        for k in range(stop - start):
            new = own[:, 0, k] * q[0] + own[:, 1, k] * q[1]
            grown[start + k] = size = np.hypot(new[0], new[1])
            q = np.where(size > 0, new / np.where(size > 0, size, 1.0), q)
    with np.errstate(divide="ignore"):
        return np.cumsum(np.log(np.abs(grown[burn:])), axis=0)


def _applied(matrix: Array, q: Array) -> Array:
    return np.asarray(np.einsum("ij...,j...->i...", matrix, q))


def _length(q: Array) -> Array:
    return np.asarray(np.sqrt(np.square(q).sum(axis=0)))
