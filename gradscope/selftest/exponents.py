"""Lyapunov exponents that are known: of constant and of periodic matrices, of random ones, of two maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import polygamma, psi

from gradscope.analysis.lyapunov import lyapunov
from gradscope.dynamics.chain import JacobianChain
from gradscope.maps.jacobian import Array
from gradscope.numerics.formats import EPS
from gradscope.selftest._check import CHANCE, Check, frame_allowance, gap
from gradscope.selftest.products import TRIO


def _repeated(*matrices: Array, times: int) -> JacobianChain:
    return JacobianChain.from_arrays(np.tile(np.array(matrices, float), (times, 1, 1)))


def _exponents(chain: JacobianChain, burn: int = 0) -> Array:
    """Return all exponents; `burn` and the counted steps are whole periods, so that nothing but rounding remains."""
    return lyapunov(chain, burn=burn).exponents


def _periodic() -> Iterator[Check]:
    shear, golden = np.array([[1.0, 1], [0, 1]]), np.log((1 + np.sqrt(5)) / 2)
    up, down = np.array([[0.0, 2], [0, 0]]), np.array([[0.0, 0], [2, 0]])
    cases = (
        ("radius 0 in turn: log 2 and -inf", (up, down), [np.log(2), -np.inf]),
        ("diag(2, 0.1) and diag(0.1, 2): both -0.805", (np.diag([2, 0.1]), np.diag([0.1, 2])), [np.log(0.2) / 2] * 2),
        ("a shear and its transpose: +-0.481", (shear, shear.T), [golden, -golden]),
    )
    for name, pair, want in cases:
        residual = gap(_exponents(_repeated(*pair, times=150), burn=100), want)
        yield Check(name, residual, *frame_allowance(2, steady=True))


def _order() -> Iterator[Check]:
    """Backwards it would be +-0.890; a period of two does not show it."""
    want = np.sort(np.log(np.abs(np.linalg.eigvals(TRIO[2] @ TRIO[1] @ TRIO[0]))))[::-1] / 3
    residual = gap(_exponents(_repeated(*TRIO, times=100), burn=90), want)
    yield Check("order in time, period 3: +-0.557", residual, *frame_allowance(2, steady=True))


def _orthogonal() -> Iterator[Check]:
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    residual = gap(_exponents(_repeated(Q, times=2000)), np.zeros(16))
    yield Check("orthogonal, 2000 steps: all 0", residual, 16 * 8 * EPS, "16 terms, a product and a QR a step")


def _ginibre() -> Iterator[Check]:
    """Independent of the frame at every step, so that mean and variance are exact at every length (Newman 1986)."""
    n, steps, rng = 4, 2000, np.random.default_rng(4)
    half = (n - np.arange(n)) / 2
    mean, sd = np.log(0.5) + (np.log(2) + psi(half)) / 2, np.sqrt(polygamma(1, half) / 4 / steps)
    z = (_exponents(JacobianChain.from_arrays(0.5 * rng.standard_normal((steps, n, n)))) - mean) / sd
    yield Check("Gaussian matrices, N = 4: |z| of all exponents", gap(z, 0 * z), CHANCE, "standard errors")


def _triangular() -> Iterator[Check]:
    n, steps, rng = 4, 2000, np.random.default_rng(5)
    J = np.triu(rng.standard_normal((steps, n, n)))
    exponents = _exponents(JacobianChain.from_arrays(J))
    each = np.log(np.abs(np.diagonal(J, axis1=1, axis2=2))).sum(axis=1)
    residual = gap(exponents.sum(), each.mean())
    yield Check("upper triangular N(0, 1): the sum is log|det|", residual, *frame_allowance(n))
    mean, sd = -(np.euler_gamma + np.log(2)) / 2, np.pi / np.sqrt(8 * n * steps)
    residual = abs(float(exponents.mean() - mean)) / sd
    yield Check("upper triangular N(0, 1): mean of -0.635, |z|", residual, CHANCE, "standard errors")


def _henon() -> Iterator[Check]:
    """The map x' = 1 - a x^2 + y, y' = b x: |det J| = b at every step (Henon 1976)."""
    a, b, steps = 1.4, 0.3, 2000
    J, (x, y) = np.zeros((steps, 2, 2)), (0.1, 0.1)
    for t in range(steps):
        J[t] = [[-2 * a * x, 1], [b, 0]]
        x, y = 1 - a * x * x + y, b * x
    exponents = _exponents(JacobianChain.from_arrays(J))
    residual = gap(exponents.sum(), np.log(b))
    yield Check("Henon map: the exponents add up to log 0.3", residual, *frame_allowance(2))
    residual = abs(exponents[0] - 0.41922) / (0.37 / np.sqrt(steps))
    yield Check("Henon map: 0.41922, |z|", residual, CHANCE, "standard errors, 0.37 / sqrt T of one orbit")


def _logistic() -> Iterator[Check]:
    """With x = sin^2 theta, x' = 4 x (1 - x) doubles theta: log|J| adds up to T log 2, and terms of the two ends."""
    steps, x = 1000, 0.3
    orbit = np.zeros(steps + 1)
    for t in range(steps + 1):
        orbit[t], x = x, 4 * x * (1 - x)
    exponents = _exponents(JacobianChain.from_arrays((4 - 8 * orbit[:-1])[:, None, None]))
    ends = 0.5 * np.log(orbit[-1] * (1 - orbit[-1])) - 0.5 * np.log(orbit[0] * (1 - orbit[0]))
    allowed = 4 * EPS * float(np.mean(1 + 1 / (1 - orbit[1:])))  # 1 - x feels the rounding of x
    yield Check(
        "logistic map, r = 4: log 2",
        gap(exponents, [np.log(2) + ends / steps]),
        allowed,
        "eps / (1 - x) a step",
    )


CHECKS = (_periodic, _order, _orthogonal, _ginibre, _triangular, _henon, _logistic)
