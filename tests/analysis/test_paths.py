"""Gradient paths: skip path vs. recurrent weights: the share is an elasticity, and the two shares are the whole."""

import dataclasses

import numpy as np
import pytest

from gradscope import JacobianChain, closed_loop, create
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.paths import paths
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.maps.composition import Composite, Looped
from gradscope.maps.jacobian import Jacobian
from gradscope.maps.stacked import Stacked

T, B = 8, 2


def chain_of(name, **settings):
    cell = create(name, hidden_size=4, input_size=2, gain=2.0, seed=1, **settings)
    return linearise(run(cell, np.random.default_rng(0).standard_normal((B, T, 2)), warmup=0))


def shares(chain, seed=0):
    return paths(chain, gradient_norms(chain, random_loss(chain, "last", seed), keep=True))


def dense_parts(J, b):
    """Return (around, J) as matrices."""
    one = J.column(b)
    return one.jvp_skip(np.eye(one.shape[1])), one.dense()


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
        u[chain.outputs[0]] = w[:, b]
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


def cut(J):
    if isinstance(J, Composite):
        return Composite(tuple(cut(m) for m in J.maps))
    assert isinstance(J, Jacobian)
    return dataclasses.replace(J, U=np.zeros_like(J.U))


@CELLS
def test_without_weights_all_goes_around(name, settings):
    chain = chain_of(name, **settings)
    alone = JacobianChain(lambda a, b: cut(chain._source(a, b)), T, B, chain.sizes, chain.outputs)
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
    from gradscope.maps.jacobian import Grids

    def source(a, b):
        one = np.ones((b - a, 1, 1))
        return Jacobian(Grids(through=[[-1.0 * one]], around=[[1.5 * one]]), np.eye(1), None, 0, (1,), (1,))

    chain = JacobianChain(source, 5, 1, {"h": 1}, (slice(0, 1),))
    assert shares(chain).around_share == pytest.approx(np.full((5, 1), 3.0), abs=1e-13)
    assert shares(chain).mean == pytest.approx(3.0, abs=1e-13)


# --- by gate


def projected():
    """An LSTM whose h is narrower than its c."""
    cell = create("lstm", hidden_size=4, input_size=2, gain=2.0, seed=1)
    W_hr = np.random.default_rng(2).standard_normal((3, 4))
    return cell.replace(U=cell.U[:, :3], W_hr=W_hr)


def chain_for(case):
    cell = projected() if case == "projected" else None
    if cell is None:
        name, *rest = case.split()
        settings = {"reset": "before"} if "before" in rest else {}
        layers = next((int(word) for word in rest if word.isdigit()), 1)
        cell = create(name, hidden_size=4, input_size=2, gain=2.0, seed=1, layers=layers, **settings)
    if case.endswith("loop"):
        inputs = np.empty((B, T, 0))
        return linearise(run(closed_loop(cell, np.random.default_rng(7).standard_normal((2, 4))), inputs, warmup=0))
    return linearise(run(cell, np.random.default_rng(0).standard_normal((B, T, 2)), warmup=0))


ALL = ("lstm", "gru", "gru before", "rnn", "projected", "lstm 2", "gru before 2", "rnn 3", "rnn loop", "lstm 2 loop")


def without_gate(J, gate, factor=0.0):
    """J with one gate's recurrent weights multiplied by a factor."""
    if isinstance(J, Composite):
        return Composite(tuple(without_gate(m, gate, factor) for m in J.maps))
    if isinstance(J, Looped):
        return dataclasses.replace(J, step=without_gate(J.step, gate, factor))
    if isinstance(J, Stacked):
        layers = [
            without_gate(layer, gate.removeprefix(f"{n}."), factor) if gate.startswith(f"{n}.") else layer
            for n, layer in zip(J.names, J.layers, strict=True)
        ]
        return dataclasses.replace(J, layers=tuple(layers))
    if gate not in J.gates:
        return J
    U, i = J.U.copy(), J.gates.index(gate)
    U.reshape(len(J.gates), -1, U.shape[1])[i] *= factor
    return dataclasses.replace(J, U=U)


@pytest.mark.parametrize("case", ALL)
def test_the_roads_are_the_whole(case):
    chain = chain_for(case)
    rng = np.random.default_rng(3)
    u, v = rng.standard_normal((2, chain.size, B))
    for t in range(T):
        J = chain.at(t)
        roads = J.path_shares(u, v)
        apart = J.jvp_split(v)
        exact = {"rtol": 0, "atol": 1e-13}  # a few dozen terms of about one
        np.testing.assert_allclose(roads.jvp, J.jvp(v), **exact)
        np.testing.assert_allclose(apart[0], J.jvp_skip(v), **exact)
        np.testing.assert_allclose(sum(apart), J.jvp(v), **exact)
        np.testing.assert_allclose(roads.around, (u * J.jvp_skip(v)).sum(axis=0), **exact)
        np.testing.assert_allclose(roads.around + sum(roads.through.values()), (u * J.jvp(v)).sum(axis=0), **exact)
    found = shares(chain)
    assert np.abs(found.around_share + sum(found.gate_share.values()) - 1).max() < 1e-12
    assert found.mean + sum(found.gate_mean.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("case", ["lstm", "gru", "lstm 2", "rnn 3"])
def test_a_road_is_what_its_weights_add(case):
    """In one-map cells a path crosses recurrent weights once a step: u . J v with and without them differ by it."""
    J = chain_for(case).at(3)
    u, v = np.random.default_rng(4).standard_normal((2, J.shape[0], B))
    whole = (u * J.jvp(v)).sum(axis=0)
    roads = J.path_shares(u, v)
    for name, part in roads.through.items():
        if " to " not in name:
            left = (u * without_gate(J, name).jvp(v)).sum(axis=0)
            np.testing.assert_allclose(part, whole - left, rtol=0, atol=1e-13)
    gates = [n for n in roads.through if " to " not in n]
    for name in gates:
        J = without_gate(J, name)
    up = sum(part for n, part in roads.through.items() if " to " in n)
    left = (u * J.jvp(v)).sum(axis=0)  # no recurrent weights: around, and up from layer to layer
    np.testing.assert_allclose(roads.around + up, left, rtol=0, atol=1e-13)


def test_reset_before_crosses_two_matrices():
    """h' = (1 - z) n + z h, n = tanh(a + U_n (r h)), term by term: what crosses U_r and then U_n counts for r."""
    cell = create("gru", hidden_size=4, input_size=2, gain=2.0, seed=1, reset="before")
    x, h, u, v = (np.random.default_rng(5).standard_normal(k) for k in (2, 4, 4, 4))
    a = cell.W @ x + cell.b_ih + cell.b_hh
    Ur, Uz, Un = cell.U.reshape(3, 4, 4)
    r, z = (1 / (1 + np.exp(-(a[k : k + 4] + U @ h))) for k, U in ((0, Ur), (4, Uz)))
    n = np.tanh(a[8:] + Un @ (r * h))
    kn = (1 - z) * (1 - n**2)
    roads = cell.jacobian(x, h).path_shares(u[:, None], v[:, None])
    assert roads.around[0] == pytest.approx(u @ (z * v), abs=1e-14)
    assert roads.through["n"][0] == pytest.approx(u @ (kn * (Un @ (r * v))), abs=1e-14)
    assert roads.through["r"][0] == pytest.approx(u @ (kn * (Un @ (h * r * (1 - r) * (Ur @ v)))), abs=1e-14)
    assert roads.through["z"][0] == pytest.approx(u @ ((h - n) * z * (1 - z) * (Uz @ v)), abs=1e-14)


def test_projections_are_a_road_of_their_own():
    """Paths from c that meet no gate's weights cross the projection; what meets a gate first counts for the gate."""
    J = chain_for("projected").at(3)
    u, v = np.random.default_rng(6).standard_normal((2, 7, B))
    roads = J.path_shares(u, v)
    assert set(roads.through) == {"i", "f", "g", "o", "p"}
    whole = (u * J.jvp(v)).sum(axis=0)
    for gate in "ifgo":
        left = (u * without_gate(J, gate).jvp(v)).sum(axis=0)
        np.testing.assert_allclose(roads.through[gate], whole - left, rtol=0, atol=1e-13)
    for gate in "ifgo":
        J = without_gate(J, gate)
    np.testing.assert_allclose(roads.around + roads.through["p"], (u * J.jvp(v)).sum(axis=0), rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", ["lstm", "gru", "gru before", "lstm 2", "lstm 2 loop"])
def test_gate_shares_are_elasticities(case):
    """d log|dL/ds_0| / d log alpha, when one gate's weights are alpha times as large at one step, the others fixed."""
    chain = chain_for(case)
    found = shares(chain)
    b, step = 0, 3
    u0 = np.zeros((chain.size, 1))
    u0[chain.outputs[0]] = random_loss(chain, "last").direct[:, :1]
    matrices = [chain.at(t).column(b) for t in range(T)]
    for gate in [
        n for n in found.gate_share if " to " not in n and n != "readout" and (case, n) != ("gru before", "n")
    ]:

        def size(alpha, gate=gate):
            u = u0
            for t in reversed(range(T)):
                u = (without_gate(matrices[t], gate, alpha) if t == step else matrices[t]).vjp(u)
            return np.log(np.linalg.norm(u))

        h = 1e-5  # errors: h^2 f''' and eps / h, both about 1e-10
        assert found.gate_share[gate][step, b] == pytest.approx((size(1 + h) - size(1 - h)) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("case", ["rnn loop", "lstm 2 loop"])
def test_the_readout_is_a_road(case):
    """What it feeds back is what is missing without it."""
    J = chain_for(case).at(3)
    u, v = np.random.default_rng(8).standard_normal((2, J.shape[0], B))
    roads, open_ = J.path_shares(u, v), dataclasses.replace(J, R=np.zeros_like(J.R))
    missing = (u * (J.jvp(v) - open_.jvp(v))).sum(axis=0)
    np.testing.assert_allclose(roads.through["readout"], missing, rtol=0, atol=1e-13)
    assert missing.all()


def test_gates_without_weights_carry_nothing():
    cell = create("gru", hidden_size=4, input_size=2, seed=1)
    U = cell.U.copy()
    U[:4] = 0
    found = shares(linearise(run(cell.replace(U=U), np.random.default_rng(0).standard_normal((B, T, 2)))))
    assert not found.gate_share["r"].any()
    assert found.gate_share["n"].all()


def test_who_has_a_road_around():
    assert shares(chain_for("lstm")).has_around
    assert not shares(chain_for("rnn 3")).has_around
    assert set(shares(chain_for("rnn 3")).gate_share) == {"l0.h", "l1.h", "l2.h", "l0 to l1", "l1 to l2"}
    own = shares(JacobianChain.from_arrays(np.tile(np.eye(2), (5, 1, 1))))
    assert own.gate_share["through"] == pytest.approx(np.ones((5, 1)), abs=1e-15)
