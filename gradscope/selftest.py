"""Closed forms, run on the user's own libraries: is what this installation computes right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.analysis._loss import given_loss
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.products import products
from gradscope.dynamics.chain import JacobianChain

__all__ = ["Check", "run_selftest"]

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Check:
    """One closed form: its name, the relative residual, and what rounding allows."""

    name: str
    residual: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the residual is within what rounding allows."""
        return bool(self.residual <= self.allowed)


def run_selftest() -> list[Check]:
    """Run all closed forms; takes a fraction of a second."""
    return [check() for check in (_order, _jordan, _alternating, _orthogonal, _underflow)]


def _log_norm(jacobians: np.ndarray) -> float:
    return float(products(JacobianChain.from_arrays(jacobians), lags=2).log_norm[-1, 0])


def _order() -> Check:
    """A period of three matrices that do not commute: a reversed product has another norm."""
    a, b, c = np.array([[1.0, 2], [0, 1]]), np.array([[1.0, 0], [3, 1]]), np.array([[2.0, 0], [0, 0.5]])
    want = float(np.log(np.linalg.norm(c @ b @ a, 2)))
    return Check("order of the product: J3 J2 J1", abs(_log_norm(np.stack([a, b, c])) - want), 8 * EPS)


def _jordan() -> Check:
    """Log sigma_1(W^t) = t log l + asinh(a t / 2 l) for W = [[l, a], [0, l]]."""
    want = 200 * np.log(0.99) + np.arcsinh(200 / (2 * 0.99))
    W = np.array([[0.99, 1], [0, 0.99]])
    return Check("Jordan block, radius 0.99, grows 27 times", abs(_log_norm(np.tile(W, (200, 1, 1))) - want), 200 * EPS)


def _alternating() -> Check:
    """Two matrices of spectral radius zero whose product doubles at every step."""
    pair = np.array([[[0.0, 2], [0, 0]], [[0, 0], [2, 0]]])
    want = 100 * np.log(2)
    return Check("two matrices of radius 0 grow as 2^t", abs(_log_norm(np.tile(pair, (50, 1, 1))) / want - 1), 8 * EPS)


def _orthogonal() -> Check:
    """An orthogonal matrix keeps the norm of every gradient."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    chain = JacobianChain.from_arrays(np.tile(Q, (2000, 1, 1)))
    log = gradient_norms(chain, given_loss(chain, np.eye(32)[0])).state
    return Check("orthogonal weights keep the gradient, 2000 steps", float(np.abs(log).max()), 2000 * 32 * EPS)


def _underflow() -> Check:
    """0.5^5000 is zero in float64; its logarithm is not."""
    chain = JacobianChain.from_arrays(np.full((5000, 1, 1), 0.5))
    log = gradient_norms(chain, given_loss(chain, np.ones(1))).state[0, 0]
    return Check("no underflow at 10^-1505", abs(float(log) / (5000 * np.log(0.5)) - 1), 8 * EPS)
