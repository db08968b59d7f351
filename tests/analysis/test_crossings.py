"""How often the gradient crosses weights: every path by hand, a generating function, and the mean from the shares."""

import itertools
import math

import numpy as np
import pytest

from gradscope import JacobianChain, create
from gradscope.analysis.crossings import crossings
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.paths import paths
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.maps.jacobian import Grids, Jacobian

CASES = [
    ("lstm", {}),
    ("gru", {"gain": 3.0}),
    ("gru", {"reset": "before"}),
    ("lstm", {"layers": 2}),
    ("gru", {"layers": 3}),
]
EACH = pytest.mark.parametrize(("name", "settings"), CASES, ids=["lstm", "gru", "before", "lstm2", "gru3"])


def chain_of(name, steps, **settings):
    cell = create(name, hidden_size=4, input_size=2, seed=1, **settings)
    return linearise(run(cell, np.random.default_rng(0).standard_normal((2, steps, 2)), warmup=0))


def gradients(chain):
    return gradient_norms(chain, random_loss(chain, "last", 0), keep=True)


def matrices(chain):
    """Return (around, through) of the first sequence's steps."""
    parts = []
    for t in range(chain.steps):
        J = chain.at(t).column(0)
        around = J.jvp_skip(np.eye(chain.size))
        parts.append((around, J.dense() - around))
    return parts


@EACH
def test_every_path_by_hand(name, settings):
    """2^T products of explicit matrices, sorted by how many are `through`."""
    steps = 7
    chain = chain_of(name, steps, **settings)
    norms = gradients(chain)
    u, v = norms.cotangents[-1, :, 0], norms.cotangents[0, :, 0]
    parts, counted = matrices(chain), np.zeros(steps + 1)
    for choice in itertools.product((0, 1), repeat=steps):
        w = v
        for part, crossed in zip(parts, choice, strict=True):
            w = part[crossed] @ w
        counted[sum(choice)] += u @ w
    found = crossings(chain, norms)
    # 2^7 sums and the same rounding in every factor
    np.testing.assert_allclose(found.share, counted / counted.sum(), rtol=0, atol=1e-12 * found.cancellation)
    assert found.share.sum() == pytest.approx(1, abs=1e-12)
    assert found.cancellation == pytest.approx(np.abs(counted).sum() / abs(counted.sum()), rel=1e-12)


@EACH
@pytest.mark.parametrize("z", [-0.7, 0.5, 1.4])
def test_generating_function(name, settings, z):
    """The sum of c_k z^k is u . (around + z through) ... v: every crossing counts z times as much."""
    steps = 20
    chain = chain_of(name, steps, **settings)
    norms = gradients(chain)
    found = crossings(chain, norms)
    one = scaled = norms.cotangents[0, :, 0]
    for around, through in matrices(chain):
        one, scaled = (around + through) @ one, (around + z * through) @ scaled
    u = norms.cotangents[-1, :, 0]
    terms = found.share * z ** np.arange(steps + 1.0)
    assert terms.sum() == pytest.approx(u @ scaled / (u @ one), abs=1e-12 * np.abs(terms).sum())


@EACH
def test_mean_crossings_are_what_went_through(name, settings):
    """T (1 - mean share around): from the sums over steps of `paths`, and as d log|u . P v| / d log z at z = 1."""
    chain = chain_of(name, 60, **settings)
    norms = gradients(chain)
    found, shares = crossings(chain, norms), paths(chain, norms)
    through = (1 - shares.around_share[:, 0]).sum()
    assert found.mean == pytest.approx(through, abs=1e-10 * found.cancellation)
    u, v, parts, h = norms.cotangents[-1, :, 0], norms.cotangents[0, :, 0], matrices(chain), 1e-5

    def size(z):
        w = v
        for around, through in parts:
            w = (around + z * through) @ w
        return np.log(abs(u @ w) / abs(u @ v)) if u @ v else np.log(abs(u @ w))

    # f''' of a sum of T terms is about T^3 at most; rounding is eps / h
    assert found.mean == pytest.approx((size(1 + h) - size(1 - h)) / (2 * h), abs=60**3 * h**2 + 1e-9)


def test_never_crossing_is_the_ablated_product():
    chain = chain_of("lstm", 60)
    norms = gradients(chain)
    v = whole = norms.cotangents[0, :, 0]
    for around, through in matrices(chain):
        v, whole = around @ v, (around + through) @ whole
    u = norms.cotangents[-1, :, 0]
    assert crossings(chain, norms).share[0] == pytest.approx(u @ v / (u @ whole), rel=1e-10)


def scalar(around, through, steps):
    def source(a, b):
        one = np.ones((b - a, 1, 1))
        return Jacobian(Grids(through=[[through * one]], around=[[around * one]]), np.eye(1), None, 0, (1,), (1,))

    return JacobianChain(source, steps, 1, {"h": 1}, (slice(0, 1),))


@pytest.mark.parametrize(("around", "through"), [(0.6, 0.3), (1.5, -1.0), (0.1, 5.0)])
def test_scalars_are_binomial(around, through):
    T = 6
    chain = scalar(around, through, T)
    found = crossings(chain, gradients(chain))
    wanted = [math.comb(T, k) * through**k * around ** (T - k) / (around + through) ** T for k in range(T + 1)]
    assert found.share == pytest.approx(wanted, rel=1e-12)
    assert found.cancellation == pytest.approx(((around + abs(through)) / abs(around + through)) ** T, rel=1e-12)
    assert found.mean == pytest.approx(T * through / (around + through), rel=1e-9)


def test_beyond_rounding_nothing_is_said():
    """1.5 - 1 over T steps cancels by 5^T, which float64 bears up to T = 17 or so."""
    for steps, known in ((10, True), (30, False)):
        chain = scalar(1.5, -1.0, steps)
        assert (crossings(chain, gradients(chain)) is not None) is known


def test_no_road_around():
    """A plain RNN crosses at every step, and nowhere twice."""
    chain = chain_of("rnn", 30)
    found = crossings(chain, gradients(chain))
    assert not found.share[:-1].any()
    assert found.share[-1] == found.cancellation == 1
    assert found.mean == 30


def test_deep_runs():
    """Far below the smallest number of float64 the shares are still shares."""
    chain = chain_of("gru", 900, update_bias=-6)
    norms = gradients(chain)
    assert norms.state[0, 0] < np.log(5e-324)
    found = crossings(chain, norms)
    assert found.share.sum() == pytest.approx(1, abs=1e-12 * found.cancellation)
    through = (1 - paths(chain, norms).around_share[:, 0]).sum()
    assert found.mean == pytest.approx(through, rel=1e-9 * found.cancellation)


def test_too_much_work_and_nothing_to_share():
    chain = chain_of("gru", 10)
    norms = gradients(chain)
    cost = 4 * (4 + 64) * 10**2
    assert crossings(chain, norms, work=cost) is not None
    assert crossings(chain, norms, work=cost - 1) is None
    zero = JacobianChain.from_arrays(np.zeros((3, 2, 2)))
    assert crossings(zero, gradients(zero)) is None


def test_the_first_sequence_that_has_a_gradient():
    J = np.tile(np.eye(2), (4, 3, 1, 1))
    J[:, 0] = 0
    chain = JacobianChain.from_arrays(J)
    assert crossings(chain, gradients(chain)).sequence == 1
