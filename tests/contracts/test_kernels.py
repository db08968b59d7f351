"""Kernels only save time: with a kernel switched off, every number stays the same, to the rounding derived here."""

import dataclasses

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.lyapunov import lyapunov
from gradscope.dynamics import chain as chain_module
from gradscope.dynamics import sweep as sweep_module
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.kernels import jvp as jvp_module
from gradscope.kernels import kinds
from gradscope.kernels.jvp import PlainFrameJvp
from gradscope.kernels.vjp import PlainVjp, plain_vjp_within
from gradscope.maps import Composite, Grids, Jacobian
from gradscope.networks.cell import cell_class

CELLS = plugins.names("cells")
STEPS, BATCH, UNITS, INPUTS = 12, 3, 5, 2
EPS = float(np.finfo(float).eps)
CASES = [
    (name, settings)
    for name in CELLS
    for settings in [{}] + [{key: v} for key, values in cell_class(name).choices.items() for v in values]
]
IDS = ["-".join([name, *settings.values()]) for name, settings in CASES]


def network(name, settings, layers):
    return create(name, hidden_size=UNITS, input_size=INPUTS, layers=layers, seed=3, **settings)


def vjp_kernels_off(monkeypatch):
    """Ask every Jacobian itself for its vjp, its same-step vjp, and whether it is finite, one step at a time."""
    monkeypatch.setattr(sweep_module, "vjp_player", lambda block, steps, batch: PlainVjp(block))
    monkeypatch.setattr(sweep_module, "vjp_within", plain_vjp_within)
    monkeypatch.setattr(chain_module, "sum_bound", lambda block: np.inf)


def majorant(J):
    """Return the map whose weights and diagonals are the absolute values of these: no product rounds off more."""
    if isinstance(J, Composite):
        return Composite(tuple(majorant(m) for m in J.maps))
    if isinstance(J, Jacobian):
        through, around = ([[e if isinstance(e, int) else np.abs(e) for e in row] for row in g] for g in grids(J))
        return dataclasses.replace(J, grids=Grids(through, around), U=None if J.U is None else np.abs(J.U))
    return J  # a matrix, or layers: the kernels hand these to `Linear.vjp` as they are


def grids(J):
    return [[[abs(e) if isinstance(e, int) else e for e in row] for row in g] for g in (J.through, J.around)]


def log_norm_bound(chain, loss):
    """Return how far |dL/ds_t| may lie from itself computed in another order, relative, (T + 1, B).

    Of a sum of m products, computed in any order, the error is at most m eps times the sum of their absolute values
    (Higham 2002, section 3.1). An entry of J^T u is a sum over gates * units + parts, and the error of u is carried on.
    Each of the two ways is that far from the truth.
    """
    terms = 4 * (chain.size + 2 * UNITS * 8)
    u, error = np.zeros((2, chain.size, chain.batch))
    bounds = np.zeros((chain.steps + 1, chain.batch))
    for t in range(chain.steps, -1, -1):
        direct = loss.at(t, chain.steps)
        for rows in chain.outputs if direct is not None else ():
            u[rows] += direct
        error = error + terms * EPS * np.abs(u)
        size = np.linalg.norm(u, axis=0)
        np.divide(2 * np.linalg.norm(error, axis=0), size, out=bounds[t], where=size > 0)
        if t:
            J = chain.at(t - 1)
            error = majorant(J).vjp(error + terms * EPS * np.abs(u))
            u = J.vjp(u)
    return bounds


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("loss", ["last", "sum"])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_gradients_without_the_vjp_kernels(name, settings, loss, layers, monkeypatch):
    inputs = np.random.default_rng(0).standard_normal((BATCH, STEPS, INPUTS))
    chain = linearise(run(network(name, settings, layers), inputs))
    direct = random_loss(chain, loss)
    quick = gradient_norms(chain, direct)
    finite = chain.first_nonfinite
    vjp_kernels_off(monkeypatch)
    chain = linearise(chain.trajectory)
    plain = gradient_norms(chain, direct)
    assert chain.first_nonfinite == finite
    assert quick.logs.keys() == plain.logs.keys()
    bound = log_norm_bound(chain, direct)
    assert bound.max() < 1e-6  # else it would say nothing; cfc, whose gates cancel, needs this much
    for part, logs in plain.logs.items():  # its error is relative to the whole state, which may be much larger
        known = np.isfinite(logs)
        np.testing.assert_array_equal(quick.logs[part][~known], logs[~known])
        relative = bound[known] * np.exp(plain.state[known] - logs[known])
        assert (np.abs(quick.logs[part][known] - logs[known]) <= relative).all()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_exponents_without_the_jvp_kernels(name, settings, layers, monkeypatch):
    """Frames may turn in another way: exponents move by what each of the two says that rounding did to it.

    That is an estimate to first order, so ten times that is allowed, and of the sum of the logarithms 64 roundings.
    """
    inputs = np.random.default_rng(0).standard_normal((BATCH, 4 * STEPS, INPUTS))
    chain = linearise(run(network(name, settings, layers), inputs))
    quick = lyapunov(chain, burn=STEPS)
    monkeypatch.setattr(jvp_module, "frame_jvp", lambda block, _, sequences, *__: PlainFrameJvp(block, sequences))
    plain = lyapunov(chain, burn=STEPS)
    known = np.isfinite(plain.exponents)
    np.testing.assert_array_equal(quick.exponents[~known], plain.exponents[~known])
    gap = np.abs(quick.exponents[known] - plain.exponents[known])
    assert (
        gap <= 10 * (quick.rounding_error + plain.rounding_error)[known] + 64 * EPS * np.abs(plain.exponents[known])
    ).all()


def along(name, settings, layers=1):
    inputs = np.random.default_rng(0).standard_normal((BATCH, STEPS, INPUTS))
    return run(network(name, settings, layers), inputs)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_runs_without_the_kernels(name, settings, layers, monkeypatch):
    """One step after another, from the states that the kernels found: what rounding does to one step.

    A preactivation is a sum of units + inputs + 2 terms; a formula evaluates some ten functions of such, and none of
    these here amplifies an error by more than the size of its arguments, which is below ten.
    """
    quick = along(name, settings, layers)
    monkeypatch.setattr(kinds, "KERNELS", {})
    allowed = 10 * 10 * (UNITS + INPUTS + 2) * EPS
    for t in range(STEPS):
        plain = run_one(quick, t)
        assert (np.abs(quick.states[t + 1] - plain) <= allowed * np.maximum(1, np.abs(plain))).all()


def run_one(trajectory, t):
    states = np.stack([trajectory.states[t], np.zeros_like(trajectory.states[t])])
    kinds.kernel_of(trajectory.cell).runner(1, BATCH)(trajectory.inputs[t : t + 1], states)
    return states[1]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_jacobians_without_the_kernels(name, settings, layers, monkeypatch):
    """The same states, linearised without what the run saved of them and without recorded formulas."""
    trajectory = along(name, settings, layers)
    quick = dense_blocks(linearise(trajectory))
    monkeypatch.setattr(kinds, "KERNELS", {})
    plain = dense_blocks(linearise(trajectory.bare()))
    allowed = 10 * 10 * (UNITS + INPUTS + 2) * EPS  # as of a step; derivatives are formulas of the same preactivations
    assert (np.abs(quick - plain) <= allowed * np.maximum(1, np.abs(plain).max(axis=(2, 3), keepdims=True))).all()


def dense_blocks(chain):
    return np.array([[J.column(b).dense() for b in range(BATCH)] for _, J in chain.passing()])
