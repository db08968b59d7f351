"""Products of Jacobians: order, norms, singular values and eigenvalues that are known exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.analysis._cotangents import gradient_norms
from gradscope.analysis._singular import singular_values
from gradscope.analysis.eigen import eigenvalues
from gradscope.analysis.products import products
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import given_loss
from gradscope.maps.jacobian import Array
from gradscope.numerics.formats import EPS
from gradscope.selftest._check import Check, gap

# Three matrices that do not commute: with two, a reversed product looks like a shifted one.
TRIO = np.array([[[1.0, 2], [0, 1]], [[1, 0], [3, 1]], [[2, 0], [0, 0.5]]])


def jordan(radius: float, coupling: float, steps: int) -> tuple[JacobianChain, Array]:
    """Return (chain of [[l, a], [0, l]], logs of its singular values, t log l +- asinh(a t / 2 l))."""
    W = np.array([[radius, coupling], [0, radius]])
    half = np.arcsinh(coupling * steps / (2 * radius))
    return JacobianChain.from_arrays(np.tile(W, (steps, 1, 1))), steps * np.log(radius) + half * np.array([1.0, -1.0])


def rotated(size: int, steps: int) -> tuple[JacobianChain, Array]:
    """Return (chain of J_t = Q_(t+1) D Q_t^T, log D): with Q_T = Q_0 the product is Q_0 D^T Q_0^T, whatever the Q_t."""
    rng = np.random.default_rng(2)
    log = np.linspace(0.5, -3.0, size)
    Q = np.linalg.qr(rng.standard_normal((steps, size, size)))[0]
    return JacobianChain.from_arrays(np.roll(Q, -1, axis=0) * np.exp(log) @ Q.swapaxes(1, 2)), log


def _log_norm(chain: JacobianChain) -> float:
    return float(products(chain, lags=2).log_norm[-1, 0])


def _order() -> Iterator[Check]:
    want = np.log(np.linalg.norm(TRIO[2] @ TRIO[1] @ TRIO[0], 2))
    log_norm = _log_norm(JacobianChain.from_arrays(TRIO))
    yield Check("order of the product: J3 J2 J1", gap(log_norm, want), 8 * EPS, "a few roundings")


def _jordan() -> Iterator[Check]:
    chain, logs = jordan(0.99, 1.0, 200)
    residual = gap(_log_norm(chain), logs[0])
    yield Check("Jordan block, radius 0.99, grows 27 times", residual, 200 * EPS, "one rounding a step")


def _alternating() -> Iterator[Check]:
    pair = np.array([[[0.0, 2], [0, 0]], [[0, 0], [2, 0]]])
    log_norm = _log_norm(JacobianChain.from_arrays(np.tile(pair, (50, 1, 1))))
    residual = gap(log_norm / (100 * np.log(2)), 1)
    yield Check("two matrices of radius 0 grow as 2^t", residual, 8 * EPS, "relative; powers of two do not round")


def _orthogonal() -> Iterator[Check]:
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    chain = JacobianChain.from_arrays(np.tile(Q, (2000, 1, 1)))
    log = gradient_norms(chain, given_loss(chain, np.eye(32)[0])).state
    allowed = 2000 * 32 * EPS
    yield Check(
        "orthogonal weights keep the gradient, 2000 steps",
        gap(log, 0 * log),
        allowed,
        "32 terms, 2000 steps",
    )


def _underflow() -> Iterator[Check]:
    """0.5^5000 is zero in float64; its logarithm is not."""
    chain = JacobianChain.from_arrays(np.full((5000, 1, 1), 0.5))
    log = gradient_norms(chain, given_loss(chain, np.ones(1))).state[0, 0]
    residual = gap(log / (5000 * np.log(0.5)), 1)
    yield Check("no underflow at 10^-1505", residual, 8 * EPS, "relative; powers of two do not round")


def _jordan_singular() -> Iterator[Check]:
    """The values differ by up to e^(2 asinh), and the smaller one is no less exact for that."""
    for steps in (1, 9, 40, 1000):
        chain, logs = jordan(0.9, 1.0, steps)
        peak = ", its peak of 3.91" if steps == 9 else ""
        name = f"Jordan block 0.9, both values at lag {steps}{peak}"
        yield Check(name, gap(singular_values(chain).logs, logs), 32 * steps * EPS, "32 roundings a step")
    chain, logs = jordan(1.0, 1.0, 200)
    residual = gap(singular_values(chain).logs, logs)
    yield Check("Jordan block 1, norm 200.005 at lag 200", residual, 200 * 32 * EPS, "32 roundings a step")


def _graded() -> Iterator[Check]:
    """Each J_t is rounded by eps |J_t|, which is eps e^3.5 of what its weakest direction keeps."""
    size, steps = 8, 400
    chain, log = rotated(size, steps)
    decades = steps * float(log[0] - log[-1]) / np.log(10)
    allowed = steps * size * np.exp(log[0] - log[-1]) * EPS
    why = "400 steps, 8 terms, condition e^3.5"
    residual = gap(singular_values(chain).logs, steps * log)
    yield Check(f"8 singular values over {decades:.0f} decades", residual, allowed, why)
    residual = gap(eigenvalues(chain).logs, steps * log)
    yield Check(f"8 eigenvalues over {decades:.0f} decades", residual, allowed, why)


QUICK = (_order, _jordan, _alternating, _orthogonal, _underflow)
CHECKS = (*QUICK, _jordan_singular, _graded)
