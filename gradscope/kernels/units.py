"""Diagonal recurrences, in which no unit sees another: every answer comes unit by unit, and no matrix is decomposed.

J is a grid of diagonals, so that a product of any number of steps is one of p x p matrices for each unit, p = 1 or 2
state variables. Singular values, eigenvalues and exponents of the whole are those of all units together. The larger
singular value of a 2 x 2 matrix M has all of its digits in closed form; the smaller one is |det M| over it, and
log|det M| is a sum over steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from gradscope.numerics.formats import EPS, LN2, Array

PLAIN_SIZE, PLAIN_STEPS = 2.0**30, 32  # so many matrices of up to this size, or its inverse, stay within float64
UNIT_SAMPLE_FACTOR = 10.0  # times a sample of an error, for its size: four normal numbers are less once in ten thousand
EIGENVALUE_UNSURE_NATS = 1e-2  # of error, from which an eigenvalue is not determined


UnitBlock = tuple[int, int, Array]
"""Numbers of the first step and of the step after the last, and the matrices of these, (p, p, K, H, S)."""


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
        if block is None:  # p = 1: the determinant is all of it
            return
        # the sample goes through the same products, and each block adds its rounding
        rounding = EPS * steps.shape[2] * _norm(block) * _norm(self._matrix)
        error = _times(self._error, block) if right else _times(block, self._error)
        error += rounding * self._rng.standard_normal(error.shape)
        self._matrix, shift = _near_one(_times(self._matrix, block) if right else _times(block, self._matrix))
        self._error = np.ldexp(error, -shift)
        self._exponent += exponent + shift

    @property
    def errors(self) -> Array:
        """By how much rounding may have moved the logs of singular values, on the safe side, (H, S), nats."""
        rounding = np.full(self._sign.shape, EPS * self.steps)
        if len(self._matrix) == 1:
            return rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            return rounding + UNIT_SAMPLE_FACTOR * np.nan_to_num(
                _norm(self._error) / _norm(self._matrix), posinf=np.inf
            )

    def log_singular(self) -> Array:
        """Return natural logs of the singular values of each unit, (p, H, S), the larger one first."""
        if len(self._matrix) == 1:
            return self._log_det[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            largest = np.log(_norm(self._matrix)) + self._log_scale
            other = np.where(np.isneginf(self._log_det), -np.inf, self._log_det - largest)
        return np.stack([largest, other])

    def eigenvalues(self) -> tuple[Array, Array, Array]:
        """Return natural logs of the moduli of the eigenvalues, their phases and errors, (p, H, S) each."""
        rounding = self.errors
        if len(self._matrix) == 1:
            return self._log_det[None], np.where(self._sign < 0, np.pi, 0.0)[None], rounding[None]
        m = self._matrix
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value, is_complex, angle, gap = _larger_root(m, self._sign * np.exp(self._log_det - 2 * self._log_scale))
            # a complex pair has |det|^(1/2) each; of real ones, the smaller is |det| over the larger
            first = np.where(is_complex, self._log_det / 2, np.log(np.abs(value)) + self._log_scale)
            second = np.where(is_complex, first, np.where(np.isneginf(self._log_det), -np.inf, self._log_det - first))
            # two that nearly coincide move by the square root of what the matrix does
            condition = np.clip(_norm(m) / gap, 1, 1 / np.sqrt(rounding))
            error = rounding * condition * np.exp(np.log(_norm(m)) + self._log_scale - first)
        phase = np.where(is_complex, angle, np.where(value < 0, np.pi, 0.0))
        other = np.where(is_complex, -phase, np.where(self._sign * np.sign(value) < 0, np.pi, 0.0))
        return np.stack([first, second]), np.stack([phase, other]), np.stack([error, error])

    def growth(self, q: Array) -> Array:
        """Return nats by which directions q (p, H, S), and what is orthogonal to them, have grown, (p, H, S)."""
        if len(q) == 1:
            return self._log_det[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.log(_length(_applied(self._matrix, q))) + self._log_scale
            lost = np.isneginf(self._log_det)
            return np.stack([first, np.where(lost, -np.inf, self._log_det - first)])

    def doubt(self, q: Array) -> Array:
        """Return by how much rounding may have moved `growth`, on the safe side, (p, H, S), nats."""
        rounding = np.broadcast_to(EPS * self.steps, q.shape)
        if len(q) == 1:
            return rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = _length(_applied(self._error, q)) / _length(_applied(self._matrix, q))
        return np.asarray(rounding + UNIT_SAMPLE_FACTOR * np.nan_to_num(moved, posinf=np.inf))

    def turned(self, q: Array) -> Array:
        """Return where directions q point to now, (p, H, S); those that are lost, where they did."""
        new = _applied(self._matrix, q)
        length = _length(new)
        return np.where(length > 0, np.divide(new, length, out=np.zeros_like(new), where=length > 0), q)

    @property
    def _log_scale(self) -> Array:
        return self._exponent * LN2


def _larger_root(m: Array, det: Array) -> tuple[Array, Array, Array, Array]:
    """Return the eigenvalues of 2 x 2 matrices that are larger in size.

    Args:
        m: (2, 2, H, S).
        det: (H, S), known with more digits than m has.

    Returns:
        the larger eigenvalue where they are real; whether they are a complex pair; the angle of these; and how far each
        is from their mean, by which errors of the matrix are divided, inf for triangular ones.
    """
    half = (m[0, 0] + m[1, 1]) / 2
    inner = half**2 - det
    real = half + np.where(half < 0, -1.0, 1.0) * np.sqrt(np.maximum(inner, 0))  # no cancellation
    triangular = (m[0, 1] == 0) | (m[1, 0] == 0)  # there it stands on the diagonal, and inner is only rounding
    larger = np.where(np.abs(m[0, 0]) >= np.abs(m[1, 1]), m[0, 0], m[1, 1])
    is_complex = (inner < 0) & ~triangular
    gap = np.where(triangular, np.inf, np.sqrt(np.abs(inner)))
    return np.where(triangular, larger, real), is_complex, np.arctan2(np.sqrt(np.maximum(-inner, 0)), half), gap


def _det(matrix: Array) -> Array:
    """Return determinants of p x p matrices, (p, p, ...)."""
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
    """Return products of 2 x 2 matrices, (2, 2, ...)."""
    return np.asarray(np.einsum("ij...,jk...->ik...", a, b))


def near_one(steps: Array, distance: float) -> Array:
    """Return where |det|^(1/p) of a unit lies within `distance` of 1, (p, p, K, H, S) -> (K, H, S)."""
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
    # 1. determinants: multiplied out where they stay in range, else as logarithms
    with np.errstate(over="ignore", invalid="ignore"):
        det = _det(steps)
    size = np.abs(det)
    if _plain(size):
        log_det = np.log(size.prod(axis=0))
    else:
        scaled, shift = _near_one(steps)
        det = _det(scaled)
        with np.errstate(divide="ignore"):
            log_det = (np.log(np.abs(det)) + len(steps) * shift * LN2).sum(axis=0)
    sign, none = np.sign(det).prod(axis=0), np.zeros(det.shape[1:], np.int64)
    if len(steps) == 1:
        return None, none, log_det, sign
    # 2. matrices, likewise: in pairs, so that every call has much to do
    if _plain(np.abs(steps).max(axis=(0, 1))):
        while steps.shape[2] > 1:
            pairs = _times(steps[:, :, 1::2], steps[:, :, : steps.shape[2] // 2 * 2 : 2])
            steps = np.concatenate([pairs, steps[:, :, -1:]], axis=2) if steps.shape[2] % 2 else pairs
        return steps[:, :, 0], none, log_det, sign
    # 3. or one after the other, each scaled by a power of two
    scaled, exponents = _near_one(steps)
    product, exponent = scaled[:, :, 0], exponents[0]
    for k in range(1, len(exponents)):
        product, shift = _near_one(_times(scaled[:, :, k], product))
        exponent = exponent + exponents[k] + shift
    return product, exponent, log_det, sign


def _plain(size: Array) -> bool:
    """Return whether products of numbers of these sizes, (K, ...), stay within float64 without scaling."""
    return bool(len(size) <= PLAIN_STEPS and 1 / PLAIN_SIZE < size.min() and size.max() < PLAIN_SIZE)


def _near_one(matrix: Array) -> tuple[Array, Array]:
    """Return matrices with entries of one at most, and the exponents of the powers of two that were taken out."""
    exponent = np.frexp(np.abs(matrix).max(axis=(0, 1)))[1]
    return np.ldexp(matrix, -exponent), exponent.astype(np.int64)


def in_order(*rows: Array) -> list[Array]:
    """Return the values of all units, (p, H, ...) each, sorted by the first of them, largest first; nan comes last."""
    flat = [r.reshape(-1, *r.shape[2:]) for r in rows]
    order = np.argsort(-flat[0], axis=0, kind="stable")
    return [np.take_along_axis(r, order, axis=0) for r in flat]


def unit_growth(
    blocks: Iterable[UnitBlock], q: Array, burn: int, marks: list[int], progress: Callable[[int], None]
) -> tuple[Array, Array, Array]:
    """Push the first direction of every unit along the chain; what the second gains is the rest of the determinant.

    Args:
        blocks: of `JacobianChain.units`, cut at `burn` and at the marks.
        q: (p, H, S), directions of length one.
        burn: steps that are not counted.
        marks: steps after which the growth is noted.
        progress: called with the number of steps that are done.

    Returns:
        the growth at each mark, (M, S, n), nats, second directions after the first ones of all units; by how much
        rounding may have moved the last, (S, n), nats; the directions in the end, (p, H, S).
    """
    p, units, count = q.shape
    at_marks: list[Array] = []
    growth, doubt = np.zeros((2, p, units, count))
    product = UnitProduct(p, units, count)
    for start, stop, steps in blocks:
        # 1. where counting begins: directions as they are now, and no growth so far
        if start == burn:
            q, product = product.turned(q), UnitProduct(p, units, count)
        product.multiply(steps)
        # 2. at a mark: the growth since the last one, and a new product from directions of length one
        if stop == marks[len(at_marks)]:
            growth += product.growth(q)
            doubt += product.doubt(q)
            q, product = product.turned(q), UnitProduct(p, units, count)
            at_marks.append(growth.reshape(p * units, count).T.copy())
            if len(at_marks) == len(marks):
                break
        progress(start)
    return np.array(at_marks), doubt.reshape(p * units, count).T, q


def unit_growth_by_step(blocks: Iterable[UnitBlock], q: Array, burn: int, unit: int) -> Array:
    """Return by how much the direction q (p, S) of a unit has grown until each counted step, nats, (T - burn, S)."""
    sizes: list[Array] = []
    for _, _, steps in blocks:
        matrices = steps[:, :, :, unit]
        if len(q) == 1:
            sizes += [*matrices[0, 0]]
            continue
        for k in range(matrices.shape[2]):
            # a direction that is lost stays where it was, with log -inf
            new = matrices[:, 0, k] * q[0] + matrices[:, 1, k] * q[1]
            size = np.hypot(new[0], new[1])
            sizes.append(size)
            q = np.where(size > 0, new / np.where(size > 0, size, 1.0), q)
    with np.errstate(divide="ignore"):
        return np.cumsum(np.log(np.abs(np.array(sizes[burn:]))), axis=0)


def _applied(matrix: Array, q: Array) -> Array:
    return np.asarray(np.einsum("ij...,j...->i...", matrix, q))


def _length(q: Array) -> Array:
    return np.asarray(np.sqrt(np.square(q).sum(axis=0)))
