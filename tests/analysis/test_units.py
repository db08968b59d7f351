"""Chains whose units are apart: every analysis, against the same Jacobians given as matrices."""

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain, create
from gradscope.analysis._singular import singular_values
from gradscope.analysis.eigen import eigenvalues
from gradscope.analysis.lyapunov import lyapunov
from gradscope.analysis.products import products
from gradscope.analysis.steps import step_spectra
from gradscope.checking.create import directions
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.kernels.units import UnitProduct
from gradscope.networks import OneMapCell, Partials
from gradscope.networks.cell import cell_class

APART = [
    n
    for n in gradscope.plugins.names("cells")
    if create(n, hidden_size=3, input_size=2)
    .linearise(np.zeros((2, 1)), np.zeros((create(n, hidden_size=3, input_size=2).state_size, 1)))
    .unit_blocks()
    is not None
]
APART += ["indrnn tanh"]  # with relu, as it is unasked, few units live that long
T, B = 60, 2


def both(name, batch=B, steps=T):
    """Return a chain of units, and the same with nothing known of it."""
    name, *activation = name.split()
    usual = {"states": 3} if "states" in cell_class(name).settings() else {}
    more = {"activation": activation[0]} if activation else usual
    cell = create(name, hidden_size=5, input_size=3, seed=2, **more)
    own = linearise(run(cell, np.random.default_rng(0).standard_normal((batch, steps, 3))))
    dense = np.array([[J.column(b).dense(float) for b in range(batch)] for _, J in own.forward()])
    other = JacobianChain.from_arrays(dense)
    assert own.diagonal and not other.diagonal
    return own, other


def test_which_cells():
    assert {"indrnn", "lru", "mingru", "qrnn", "rglru", "rwkv", "s4d", "selective_ssm", "sru", "unicornn"} <= set(APART)
    assert not {"rnn", "lstm", "gru", "slstm", "scrn"} & set(APART)


@pytest.mark.parametrize("name", APART)
def test_singular_values_and_eigenvalues(name):
    own, other = both(name)
    found, wanted = singular_values(own), singular_values(other)
    known = ~np.isnan(wanted.logs)
    assert known.any()
    np.testing.assert_allclose(found.logs[known], wanted.logs[known], rtol=1e-10, atol=1e-9)
    found, wanted = eigenvalues(own), eigenvalues(other)
    known = ~np.isnan(wanted.logs) & ~np.isnan(found.logs)
    assert known.any()
    # two rounds of the other agree to 1e-9; a defective pair, as of rwkv, to the root of that
    np.testing.assert_allclose(found.logs[known], wanted.logs[known], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", APART)
def test_products(name):
    own, other = both(name)
    found, wanted = products(own, lags=8, sequences=B), products(other, lags=8, sequences=B)
    for field in ("lags", "log_singular", "surviving", "log_frobenius", "log_from_start"):
        a, b = (np.asarray(getattr(x, field), float) for x in (found, wanted))
        known = np.isfinite(b)
        np.testing.assert_allclose(a[known], b[known], rtol=1e-9, atol=1e-9, err_msg=field)
    known = np.isfinite(wanted.log_radius) & np.isfinite(found.log_radius)
    np.testing.assert_allclose(found.log_radius[known], wanted.log_radius[known], rtol=0, atol=1e-4)


def of_frames(chain, burn):
    """Push a frame of two directions a unit, by a QR of the whole of it at each step: nats since the burn-in, (B, n).

    The first directions are those that `lyapunov` begins with; like there, they go along the run once beforehand. A
    unit's columns stay in its own rows, so that this frame mixes nothing, and no beginning has to be forgotten.
    """
    n, H = chain.size, chain.size // 2
    (c, s), unit = np.random.default_rng([0, 3]).standard_normal((2, H, chain.batch)), np.arange(H)
    grown = np.zeros((chain.batch, n))
    for b in range(chain.batch):
        Q = np.zeros((n, n))
        Q[unit, unit] = Q[H + unit, H + unit] = c[:, b]
        Q[H + unit, unit], Q[unit, H + unit] = s[:, b], -s[:, b]
        Q /= np.hypot(c, s)[:, b][np.r_[unit, unit]]
        for turn in (True, False):
            for t, J in chain.forward():
                Q, R = np.linalg.qr(J.column(b).dense(float) @ Q)
                grown[b] += 0.0 if turn or t < burn else np.log(np.abs(np.diag(R)))
    return grown


@pytest.mark.parametrize("name", APART)
def test_exponents(name):
    own, other = both(name, steps=400)
    found, wanted = lyapunov(own), lyapunov(other)
    counted = own.steps - found.burn
    assert found.determinant_error <= 1e-9 * max(1.0, np.abs(found.exponents).sum())
    if len(own.parts) == 1:  # what the definition says: means of log|d_t| after the burn-in, unit by unit
        with np.errstate(divide="ignore"):  # a unit of relu that is off
            logs = np.concatenate([np.log(np.abs(steps[0, 0])) for _, _, steps in own.units()])
        means = np.sort(logs[found.burn :].mean(axis=(0, 2)))[::-1]
        np.testing.assert_allclose(found.exponents, means, rtol=1e-12, atol=1e-14)
    else:
        twin = np.sort(of_frames(own, found.burn).mean(axis=0) / counted)[::-1]
        # a direction is off by an epsilon a step, and where units shear that adds up T times over: T^2 eps = 4e-11 nats
        # in all, no entry of these steps being above 1; other directions at the start make up to 0.1
        np.testing.assert_allclose(found.exponents, twin, rtol=0, atol=4e-11 / counted)
    np.testing.assert_allclose(found.exponents.sum(), wanted.exponents.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", APART)
def test_exponents_are_below_singular_values(name):
    """Of a frame that mixes all units, too: r_ii are eigenvalues of R, whose singular values are those of the product.

    By Weyl's inequality the k largest add up to no more than the k largest logarithms of singular values do, and all of
    them to as much.
    """
    own, other = both(name, steps=100)
    for chain in (own, other):
        found = lyapunov(chain, burn=0)
        rows = np.broadcast_to(found.by_sequence, (B, own.size))  # once, where all sequences grow alike
        for b, logs in enumerate(singular_values(own).logs):
            upper = np.cumsum(logs)
            sums = np.cumsum(np.sort(100 * rows[b])[::-1])
            rounding = 1e-9 * (1 + np.abs(np.nan_to_num(upper, neginf=0)))
            assert (sums <= upper + rounding).all() and not sums[-1] < upper[-1] - rounding[-1]


def test_one_sequence_has_errors_over_batches():
    found = lyapunov(both("mingru", batch=1, steps=400)[0], 3)
    assert found.errors_are_over == "batches"
    assert np.isfinite(found.standard_errors).all()


@pytest.mark.parametrize("name", APART)
def test_single_steps(name):
    own, other = both(name, steps=9)
    found, wanted = step_spectra(own, steps=9, sequences=B), step_spectra(other, steps=9, sequences=B)
    np.testing.assert_allclose(found.log_norm, wanted.log_norm, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.radius, wanted.radius, rtol=1e-7)


def test_products_far_beyond_the_range_of_numbers():
    """Rotations by q with factors a: singular values a^T, twice, for any a."""
    for a in (1e-200, 3.0, 1e250):
        turn = a * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
        product = UnitProduct(2, 1, 1)
        for _ in range(7):
            product.multiply(np.repeat(turn[:, :, None, None, None], 13, axis=2))
        assert product.steps == 91
        np.testing.assert_allclose(product.log_singular().ravel(), 91 * np.log(a), rtol=1e-13, atol=1e-12)
        logs, phases, _ = product.eigenvalues()
        np.testing.assert_allclose(logs.ravel(), 91 * np.log(a), rtol=1e-13, atol=1e-12)
        np.testing.assert_allclose(np.cos(phases.ravel()), np.cos(91 * 0.3), atol=1e-12)


def test_order_of_a_product():
    """J[2] J[1] J[0], from either side, of matrices that do not commute."""
    steps = np.random.default_rng(1).standard_normal((2, 2, 3, 4, 1))
    wanted = [steps[:, :, 2, h, 0] @ steps[:, :, 1, h, 0] @ steps[:, :, 0, h, 0] for h in range(4)]
    forward, back = UnitProduct(2, 4, 1), UnitProduct(2, 4, 1)
    forward.multiply(steps[:, :, :2])
    forward.multiply(steps[:, :, 2:])
    back.multiply(steps[:, :, 1:], right=True)
    back.multiply(steps[:, :, :1], right=True)
    for product in (forward, back):
        found = np.sort(np.exp(product.log_singular()[:, :, 0]), axis=0)[::-1].T
        np.testing.assert_allclose(found, [np.linalg.svd(w, compute_uv=False) for w in wanted], rtol=1e-12)
        moduli = np.sort(np.exp(product.eigenvalues()[0][:, :, 0]), axis=0).T
        np.testing.assert_allclose(moduli, [np.sort(np.abs(np.linalg.eigvals(w))) for w in wanted], rtol=1e-10)


def test_what_is_exactly_zero():
    """A unit that lets nothing through has no gradient, and the others theirs."""
    steps = np.array([0.5, 0.0, 2.0])[None, None, None, :, None] * np.ones((1, 1, 4, 1, 1))
    product = UnitProduct(1, 3, 1)
    product.multiply(steps)
    np.testing.assert_allclose(product.log_singular().ravel(), [4 * np.log(0.5), -np.inf, 4 * np.log(2)])


def test_all_of_the_gradient_goes_around():
    found = gradscope.analyze(create("lru", hidden_size=4, input_size=2), steps=30, batch=2)
    assert found.metrics["around_share"] == 1.0
    assert found.to_dict()["verdict"]["state"] != "nonfinite"


def test_a_defective_unit_says_how_little_is_known_of_its_eigenvalues():
    """J = S [[1, 1], [0, 1]] S^-1: both are 1; rounding of the product moves them by its root."""
    S = np.random.default_rng(3).standard_normal((2, 2))
    J = S @ np.array([[1.0, 1.0], [0.0, 1.0]]) @ np.linalg.inv(S)
    product = UnitProduct(2, 1, 1)
    for _ in range(5):
        product.multiply(np.repeat(J[:, :, None, None, None], 10, axis=2))
    logs, _, errors = product.eigenvalues()
    assert 0 < np.abs(logs).max() <= errors.max()


@pytest.mark.parametrize("seed", range(8))
def test_errors_of_what_cancels(seed):
    """Twelve random matrices, and then their inverses in turn: the identity, but for what rounding made of it."""
    steps = np.random.default_rng(seed).standard_normal((100, 2, 2))
    product = UnitProduct(2, 1, 1)
    for J in [*steps[:12], *map(np.linalg.inv, steps[:12][::-1])]:
        product.multiply(J[:, :, None, None, None])
    error = np.abs(product.log_singular()).max()
    assert 0 < error <= product.errors.max()
    q = np.array([0.6, 0.8])[:, None, None]
    assert 0 < np.abs(product.growth(q)).max() <= product.doubt(q).max()
    assert product.errors.max() > 100 * np.finfo(float).eps * product.steps


class Three(OneMapCell):
    """h' = h / 2 and two traces of it: units on their own, of three state variables each."""

    parts = ("h", "a", "b")
    recurrent_weights = False

    def activations(self, p, s):
        return (p["h"],)

    def advance(self, p, s):
        h, a, b = s["h", "a", "b"]
        return {"h": 0.5 * h + p["h"], "a": 0.9 * a + h, "b": 0.9 * b + a}

    def partials(self, p, s):
        return Partials({"h": {"h": 1}}, {"h": {"h": 0.5}, "a": {"h": 1, "a": 0.9}, "b": {"a": 1, "b": 0.9}})


def test_a_cell_says_it_as_its_chain_does():
    """What is planned before a run, and what is done then."""
    rng = np.random.default_rng(0)
    networks = [create(n, hidden_size=4, input_size=3) for n in gradscope.plugins.names("cells")]
    networks += [create("mingru", hidden_size=4, input_size=3, layers=2), create(Three, hidden_size=4, input_size=3)]
    networks += directions("mingru", hidden_size=4, input_size=3).values()
    networks.append(gradscope.from_step(lambda x, s: 0.5 * s, state_size=4, input_size=3))
    said = [cell.diagonal for cell in networks]
    assert said == [linearise(run(cell, rng.standard_normal((2, 5, 3)))).diagonal for cell in networks]
    assert 0 < sum(said) < len(said) and not any(said[-5:-3] + said[-1:])
