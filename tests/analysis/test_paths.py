"""Which road the gradient took: the share is an elasticity, and the two shares are the whole."""

import dataclasses

import numpy as np
import pytest

from gradscope import JacobianChain, create
from gradscope.analysis._loss import random_loss
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.paths import paths
from gradscope.composition import Composite
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.jacobian import Jacobian, Linear

T, B = 8, 2


def chain_of(name, **settings):
    cell = create(name, hidden_size=4, input_size=2, gain=2.0, seed=1, **settings)
    return linearise(run(cell, np.random.default_rng(0).standard_normal((B, T, 2)), warmup=0))


def shares(chain, seed=0):
    return paths(chain, gradient_norms(chain, random_loss(chain, "last", seed), keep=True))


def dense_parts(J, b):
    """Return (around, J) as matrices."""
    one = J.column(b)
    return one.push_around(np.eye(one.shape[1])), one.dense()


CELLS = pytest.mark.parametrize(
    ("name", "settings"), [("lstm", {}), ("gru", {}), ("gru", {"reset": "before"})], ids=["lstm", "gru", "before"]
)


@CELLS
def test_share_is_an_elasticity(name, settings):
    """d log|dL/ds_0| / d log alpha, when the road around is alpha times as wide at one step."""
    chain = chain_of(name, **settings)
    found = shares(chain).around_share
    w = random_loss(chain, "last").direct
    for b in range(B):
        parts = [dense_parts(chain.at(t), b) for t in range(T)]
        u = np.zeros(chain.size)
        u[chain.output] = w[:, b]
        for step in range(T):

            def size(alpha, step=step, u=u, parts=parts):
                for t in reversed(range(T)):
                    around, J = parts[t]
                    u = (J + (alpha - 1) * around if t == step else J).T @ u
                return np.log(np.linalg.norm(u))

            h = 1e-5  # errors: h^2 f''' and eps / h, both about 1e-10
            assert found[step, b] == pytest.approx((size(1 + h) - size(1 - h)) / (2 * h), abs=1e-8)


@CELLS
def test_the_two_shares_are_the_whole(name, settings):
    """The share through the weights, measured by itself, is what is missing to one."""
    chain = chain_of(name, **settings)
    norms = gradient_norms(chain, random_loss(chain, "last"), keep=True)
    found = paths(chain, norms).around_share
    wholes = []
    for b in range(B):
        v = norms.cotangents[0, :, b]
        for t in range(T):
            around, J = dense_parts(chain.at(t), b)
            u = norms.cotangents[t + 1, :, b] * np.exp(norms.state[t + 1, b])
            through = u @ (J - around) @ v / (u @ J @ v)
            assert found[t, b] + through == pytest.approx(1, abs=1e-12)
            wholes.append((u @ J @ v) / np.exp(norms.state[0, b]))
            v = J @ v
    assert np.abs(np.array(wholes) - 1).max() < 1e-12  # the same number at every step: |dL/ds_0|


def test_vanilla_networks_have_no_road_around():
    for name in ("rnn", "linear"):
        assert not shares(chain_of(name)).around_share.any()
    assert not shares(JacobianChain.from_arrays(np.tile(np.eye(2), (5, 1, 1)))).around_share.any()


class Without(Linear):
    """J with the weights cut: all that is left is the road around."""

    def __init__(self, J):
        self.J, self.shape = J, J.shape

    states = property(lambda self: self.J.states)
    dtype = property(lambda self: self.J.dtype)

    def push(self, v):
        return self.J.push_around(v)

    push_around = push

    def pull(self, u):
        return cut(self.J).pull(u)

    push_input = pull_input = at = column = None


def cut(J):
    if isinstance(J, Composite):
        return Composite(tuple(cut(m) for m in J.maps))
    assert isinstance(J, Jacobian)
    return dataclasses.replace(J, U=np.zeros_like(J.U))


@CELLS
def test_without_weights_all_goes_around(name, settings):
    chain = chain_of(name, **settings)
    alone = JacobianChain(lambda a, b: None, T, B, chain.sizes, chain.output, trajectory=chain.trajectory)
    alone.forward = lambda: ((t, Without(J)) for t, J in chain.forward())
    alone.backward = lambda: ((t, Without(J)) for t, J in chain.backward())
    assert np.abs(shares(alone).around_share - 1).max() < 1e-12


def test_the_forget_gate_opens_the_road():
    closed, wide = (shares(chain_of("lstm", forget_bias=b)).mean for b in (-3.0, 5.0))
    assert closed < wide


def test_deep_runs_and_no_gradient():
    """Far below the smallest number of float64 the shares are still shares."""
    cell = create("gru", hidden_size=4, input_size=2, update_bias=-6)
    chain = linearise(run(cell, np.random.default_rng(0).standard_normal((B, 900, 2))))
    norms = gradient_norms(chain, random_loss(chain, "last"), keep=True)
    assert norms.state[0].max() < np.log(5e-324)
    found = paths(chain, norms)
    assert np.isfinite(found.around_share).all()
    assert np.isfinite(found.mean)
    zero = JacobianChain.from_arrays(np.zeros((3, 2, 2)))
    assert np.isnan(shares(zero).around_share).all()
    assert np.isnan(shares(zero).mean)


def test_roads_that_cancel():
    """1.5 around and -1 through make 0.5: the share around is 3."""
    from gradscope.jacobian import Partials

    def source(a, b):
        one = np.ones((b - a, 1, 1))
        return Jacobian(Partials(through=[[-1.0 * one]], around=[[1.5 * one]]), np.eye(1), None, 0, (1,), (1,))

    chain = JacobianChain(source, 5, 1, {"h": 1}, slice(0, 1))
    assert shares(chain).around_share == pytest.approx(np.full((5, 1), 3.0), abs=1e-13)
    assert shares(chain).mean == pytest.approx(3.0, abs=1e-13)
