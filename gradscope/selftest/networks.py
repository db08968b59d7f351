"""Cells and networks: a fixed point, determinants, time scales, and the mean field of a large random network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

from gradscope.analysis._singular import singular_values
from gradscope.analysis.lyapunov import lyapunov
from gradscope.checking.create import create
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import Trajectory, run
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell
from gradscope.networks.network import Network
from gradscope.numerics.formats import EPS
from gradscope.selftest._check import CHANCE, Check, frame_allowance, gap


def _undriven(cell: Network, steps: int, start: Array) -> JacobianChain:
    """Return the Jacobians along a run without input, after 300 steps of warm-up."""
    return linearise(run(cell, np.zeros((1, steps + 300, cell.input_size)), warmup=300, start=start))


def _fixed_point() -> Iterator[Check]:
    """At h = tanh(w h), with a = w h, the Jacobian is w / cosh^2 a = 2 a / sinh 2 a."""
    for w, known in ((0.5, -0.6931), (1.1, -0.1963), (2.0, -1.7935), (5.0, -7.0034)):
        a = brentq(lambda a, w=w: a - w * np.tanh(a), 1e-3, 2 * w, xtol=1e-15, rtol=4 * EPS) if w > 1 else 0.0
        want = np.log(2 * a / np.sinh(2 * a)) if a else np.log(w)
        scalar = create("rnn", hidden_size=1, input_size=1)
        assert isinstance(scalar, Cell)
        cell = scalar.replace(U=np.array([[w]]), b_ih=None, b_hh=None)
        exponents = lyapunov(_undriven(cell, 50, np.ones(1)), burn=0).exponents
        # d log J / d a = 1/a - 2 coth 2a, at most 2; the iteration stops at eps / (1 - J) of a, and J < 0.83
        allowed = 2 * (a + 1) * 8 * EPS
        yield Check(
            f"one tanh unit, w = {w:g}, at rest: {known}",
            gap(exponents, [want]),
            allowed,
            "8 eps of the activation",
        )


def _driven(name: str, hidden: int, steps: int) -> Trajectory:
    cell = create(name, hidden_size=hidden, input_size=4, seed=1)
    return run(cell, drive("noise", 1, steps, 4, seed=1))


def _determinants() -> Iterator[Check]:
    """The exponents of a cell add up to the mean of log|det J_t|, and that is a formula."""
    for name in ("rnn", "lstm"):
        hidden, steps = 12, 60
        trajectory = _driven(name, hidden, steps)
        cell, x, s = trajectory.cell, trajectory.inputs, trajectory.states
        assert isinstance(cell, Cell) and cell.U is not None
        y = cell.gate_values(x, s[:-1])
        if name == "rnn":
            logs, U = np.log1p(-(y["h"] ** 2)), cell.U
        else:
            logs = np.log(y["f"] * y["o"] * (1 - y["o"]) * np.abs(np.tanh(s[1:, hidden:])))
            U = cell.U[3 * hidden :]
        want = logs.sum(axis=1).mean() + np.linalg.slogdet(U)[1]
        chain = linearise(trajectory)
        cond = float(np.mean([np.linalg.cond(J.column(0).dense()) for _, J in chain.forward()]))
        residual = gap(singular_values(chain).logs.sum() / steps, want)
        allowed = chain.size**2 * cond * EPS
        why = "n^2 eps times the mean condition of a step"
        yield Check(f"{name}: singular values multiply to |det|", residual, allowed, why)
        residual = gap(lyapunov(chain, burn=0).exponents.sum(), want)
        yield Check(f"{name}: exponents add up to the mean of log|det|", residual, *frame_allowance(chain.size))


def _chrono() -> Iterator[Check]:
    """With forget gates u / (1 + u), u uniform on [1, Tmax - 1], what is left of c after k steps is E f^k."""
    hidden, tmax, lags = 256, 200.0, (50, 200)
    cell = create("lstm", hidden_size=hidden, input_size=1, init="chrono", tmax=tmax, seed=1)
    assert isinstance(cell, Cell)
    cell = cell.replace(U=np.zeros_like(cell.U))
    v = np.concatenate([np.zeros(hidden), np.ones(hidden)])[:, None]
    for t, J in linearise(run(cell, np.zeros((max(lags), 1)))).forward():
        v = J.jvp(v)
        if t + 1 in lags:
            first, second = (
                quad(lambda u, p=p: (u / (1 + u)) ** p, 1, tmax - 1)[0] / (tmax - 2) for p in (t + 1, 2 * t + 2)
            )
            z = (float(v[hidden:].mean()) - first) / np.sqrt((second - first**2) / hidden)
            name = f"chrono, Tmax 200: {first:.4f} of c left after {t + 1}, |z|"
            yield Check(name, abs(z), CHANCE, "standard errors, of 256 units")


def _mean_field() -> Iterator[Check]:
    """Sompolinsky, Crisanti & Sommers (1988): q = g^2 E tanh^2(sqrt q z), lambda_1 = log(g^2 E tanh'^2(sqrt q z)) / 2.

    Over seeds of 512 units, what is measured lies 2 / N below, with a standard deviation of 0.0014.
    """
    g, units, steps = 2.0, 512, 1200
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    q = 1.0
    for _ in range(200):
        q = g * g * float(weight @ np.tanh(np.sqrt(q) * z) ** 2)
    want = 0.5 * np.log(g * g * float(weight @ np.cosh(np.sqrt(q) * z) ** -4))
    cell = create("rnn", hidden_size=units, input_size=1, init="gaussian", gain=g, seed=1)
    chain = _undriven(cell, steps, np.random.default_rng(1).standard_normal(units))
    residual = gap(lyapunov(chain, 1, burn=100).exponents, [want])
    yield Check(f"512 random tanh units, gain 2: {want:.4f}", residual, 0.01, "2 / N of finite size, and chance")


CHECKS = (_fixed_point, _determinants, _chrono, _mean_field)
