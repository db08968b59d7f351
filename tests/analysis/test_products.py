"""Jacobian products: closed forms, time order, and how far down a singular value is right."""

import numpy as np
import pytest
import reference

from gradscope import GradscopeError, JacobianChain, create
from gradscope.analysis.products import log_lags, products
from gradscope.dynamics import chain as chain_module
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run

EPS = np.finfo(float).eps


def repeated(matrix, steps):
    return JacobianChain.from_arrays(np.tile(np.asarray(matrix, float), (steps, 1, 1)))


def jordan(l, a):  # noqa: E741  the letter of the formula
    return [[l, a], [0.0, l]]


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def every_lag(chain, **options):
    found = products(chain, lags=4 * chain.steps**2, **options)
    assert found.lags.tolist() == list(range(1, chain.steps + 1))
    return found


@pytest.mark.parametrize(("l", "a", "steps"), [(0.9, 1.0, 60), (0.99, 1.0, 200), (1.0, 1.0, 200), (0.5, 3.0, 40)])
def test_jordan_block(l, a, steps):  # noqa: E741
    """Log sigma_{1,2}(W^t) = t log l +- asinh(a t / 2l)."""
    found = every_lag(repeated(jordan(l, a), steps))
    t = found.lags
    for k, sign in ((0, 1), (1, -1)):
        wanted = t * np.log(l) + sign * np.arcsinh(a * t / (2 * l))
        assert np.abs(found.log_singular[:, 0, k] - wanted).max() <= 1e-13 * steps  # each step rounds
    # a double eigenvalue: known to the square root of rounding, and reported only where that is one per cent
    assert found.log_radius[:, 0] == pytest.approx(t * np.log(l), abs=0.01)


def test_numbers_of_jordan_blocks():
    sizes = np.exp(every_lag(repeated(jordan(0.9, 1.0), 60)).log_norm[:, 0])
    assert sizes.argmax() + 1 == 9
    assert sizes.max() == pytest.approx(3.912567078377, abs=1e-12)  # as many digits as are given
    assert products(repeated(jordan(0.99, 1.0), 200)).log_norm[-1, 0] == pytest.approx(3.298325033301, abs=1e-12)
    assert np.exp(products(repeated(jordan(1.0, 1.0), 200)).log_norm[-1, 0]) == pytest.approx(
        200.004999875006, abs=2e-12
    )


def test_two_matrices_of_radius_zero_that_grow():
    """[[0, 2], [0, 0]] and its transpose in turn: every norm doubles, and half the directions are lost."""
    up = np.array([[0.0, 2.0], [0.0, 0.0]])
    found = every_lag(JacobianChain.from_arrays(np.stack([up, up.T] * 10)))
    assert np.allclose(found.log_norm[:, 0], found.lags * np.log(2), rtol=4 * EPS, atol=0)
    assert np.isneginf(found.log_singular[:, 0, 1]).all()  # exactly
    # an odd product has radius zero, an even one has 2^t
    assert np.isnan(found.log_radius[::2, 0]).all()
    assert np.allclose(found.log_radius[1::2, 0], found.lags[1::2] * np.log(2), rtol=4 * EPS, atol=0)


def test_two_matrices_of_radius_two_that_shrink():
    pair = np.stack([np.diag([2.0, 0.1]), np.diag([0.1, 2.0])] * 50)
    found = products(JacobianChain.from_arrays(pair))
    assert found.log_singular[-1, 0] == pytest.approx(100 * -0.804718956217, abs=1e-10)  # 100 times the last digit
    assert found.log_radius[-1, 0] == pytest.approx(100 * -0.804718956217, abs=1e-10)


def test_two_matrices_of_radius_one_that_grow():
    a = np.array([[1.0, 1.0], [0.0, 1.0]])
    found = products(JacobianChain.from_arrays(np.stack([a, a.T] * 10)))
    assert found.log_radius[-1, 0] == pytest.approx(20 * 0.481211825060, abs=2e-11)
    assert found.log_norm[-1, 0] == pytest.approx(20 * 0.481211825060, abs=2e-11)  # a a^T is symmetric


def test_time_order():
    """Three matrices that do not commute: two cannot tell a product from its reverse."""
    J = np.array([[[1.0, 2.0], [0, 1]], [[1.0, 0], [3, 1]], [[2.0, 0], [0, 0.5]]])
    found = every_lag(JacobianChain.from_arrays(J))
    for lag in (1, 2, 3):
        from_the_end = reference.product(J[-lag:])
        assert found.log_norm[lag - 1, 0] == pytest.approx(np.log(np.linalg.norm(from_the_end, 2)), abs=8 * EPS)
        assert found.log_frobenius[lag - 1, 0] == pytest.approx(np.log(np.linalg.norm(from_the_end)), abs=8 * EPS)
    for wrong in (J[::-1], J.transpose(0, 2, 1)):  # reversed, or columns for rows: other norms
        assert abs(np.log(np.linalg.norm(reference.product(wrong), 2)) - found.log_norm[-1, 0]) > 0.01
    # and a product that starts at the first step is another at shorter lags
    assert abs(np.log(np.linalg.norm(J[1] @ J[0], 2)) - found.log_norm[1, 0]) > 0.01


def test_orthogonal_weights():
    found = products(repeated(orthogonal(np.random.default_rng(0), 12), 2000), lags=8)
    assert np.abs(found.log_singular).max() < 1e-12
    assert np.abs(found.log_frobenius - np.log(12) / 2).max() < 1e-12
    assert np.abs(found.log_radius).max() < 1e-12


def test_ten_thousand_halvings():
    found = products(repeated([[0.5]], 10_000), lags=5)
    for log in (found.log_norm, found.log_frobenius, found.log_radius):
        assert np.allclose(log[:, 0], -found.lags * np.log(2), rtol=4 * EPS, atol=0)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "linear"])
def test_against_the_explicit_product(name):
    cell = create(name, hidden_size=4, input_size=2, gain=2.0)
    inputs = np.random.default_rng(1).standard_normal((3, 12, 2))
    chain = linearise(run(cell, inputs))
    found = every_lag(chain, values=99, sequences=2)
    assert found.log_singular.shape == (12, 2, cell.state_size)
    for b in range(2):
        J = [chain.at(t).column(b).dense() for t in range(12)]
        for row, lag in enumerate(found.lags):
            P = reference.product(J[-lag:])
            sigma = np.linalg.svd(P, compute_uv=False)
            known = sigma > 0
            # relative error of a value is the rounding of the largest, a dozen steps deep
            allowed = 100 * lag * EPS * sigma[0] / sigma[known]
            assert (np.abs(found.log_singular[row, b][known] - np.log(sigma[known])) <= allowed).all()
            assert found.log_frobenius[row, b] == pytest.approx(np.log(np.linalg.norm(P)), abs=1e-12)
            radius = np.abs(np.linalg.eigvals(P)).max()
            # an eigenvalue of a matrix far from normal is known to eps |P| / |y^H x|
            if not np.isnan(found.log_radius[row, b]):
                assert found.log_radius[row, b] == pytest.approx(np.log(radius), abs=0.01)
    assert (~np.isnan(found.log_radius)).any()


@pytest.mark.parametrize(("dtype", "allowed"), [(np.float64, 1e-11), (np.float32, 1e-3)])
@pytest.mark.parametrize("n", [3, 16])
def test_every_value_is_right(n, dtype, allowed):
    """P = Q_T D^T Q_0^T in frames that turn at random: sigma_i = d_i^T, over hundreds of decades.

    Rounding the Jacobians themselves moves each log by eps / 10^-4 a step: 60 of them, in either precision.
    """
    rng = np.random.default_rng(n)
    steps, d = 60, np.geomspace(1.0, 1e-4 if dtype == np.float64 else 0.1, n)
    frames = [orthogonal(rng, n) for _ in range(steps + 1)]
    J = np.stack([frames[t + 1] @ np.diag(d) @ frames[t].T for t in range(steps)]).astype(dtype)
    found = every_lag(JacobianChain.from_arrays(J), values=n)
    truth = found.lags[:, None] * np.log(d)
    assert np.abs(found.log_singular[:, 0] - truth).max() <= allowed * (1 if n == 3 else 10)
    assert found.log_from_start[:, 0] == pytest.approx(np.zeros(steps), abs=allowed)
    assert (found.surviving[-1] == 1).all()


def test_condition_of_products():
    """Nothing cancels: one. A large factor and its inverse: the product is one, rounding is enlarged 10^14 times."""
    rng = np.random.default_rng(0)
    turned = JacobianChain.from_arrays(np.stack([orthogonal(rng, 5) for _ in range(30)]))
    assert products(turned).log_condition[0] == pytest.approx(0, abs=1e-12)
    big = np.diag([1e7, 1e-7])
    found = products(JacobianChain.from_arrays(np.stack([big, np.linalg.inv(big)])))
    # |J_2| |J_1| / |P| at either step
    assert found.log_condition[0] == pytest.approx(14 * np.log(10), abs=1e-12)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_large_states_are_sampled(name, monkeypatch):
    """Without forming the product, its largest values are the same to what is allowed for a drawing."""
    from gradscope.analysis import products as module

    cell = create(name, hidden_size=40, input_size=4, gain=1.5)
    chain = linearise(run(cell, np.random.default_rng(1).standard_normal((1, 120, 4))))
    formed = products(chain, values=6)
    monkeypatch.setattr(module, "FORMED_SIZE", 10)
    sampled = products(chain, values=6)
    known = ~np.isnan(sampled.log_singular)
    assert known.mean() > 0.9
    assert np.abs(sampled.log_singular - formed.log_singular)[known].max() <= 2 * module.LARGE_SETTLED_NATS
    assert np.abs(sampled.log_from_start - formed.log_from_start).max() <= 1e-6
    # norms at lags in between are interpolated
    assert sampled.log_condition[0] == pytest.approx(formed.log_condition[0], abs=0.7)
    counted = ~np.isnan(sampled.surviving)
    assert (sampled.surviving == formed.surviving)[counted].all()


def test_radius_of_a_defective_product_is_not_invented():
    """A nilpotent matrix has radius 0; eigvals gives eps^(1/n), which is no answer."""
    rng = np.random.default_rng(0)
    for n in (4, 8):
        Q = orthogonal(rng, n)
        found = every_lag(repeated(Q @ np.eye(n, k=1) @ Q.T, n - 1))
        assert np.abs(np.linalg.eigvals(Q @ np.eye(n, k=1) @ Q.T)).max() > 1e-5
        assert np.isnan(found.log_radius).all()
        assert np.abs(found.log_norm).max() < 1e-14


def test_radius_of_repeated_eigenvalues():
    """Equal eigenvalues with as many eigenvectors are no trouble."""
    rng = np.random.default_rng(0)
    Q = orthogonal(rng, 6)
    for values in ([0.5] * 6, [1, 1, 1, 0.2, 0.1, 0], [-1, 1, 1, -1, 0.5, 0.5]):
        found = products(repeated(Q @ np.diag(values) @ Q.T, 10))
        assert found.log_radius[:, 0] == pytest.approx(found.lags * np.log(np.abs(values).max()), abs=1e-12)
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])  # a complex pair
    assert np.abs(products(repeated(turn, 50)).log_radius).max() < 1e-13


def test_zero_and_non_finite_products():
    found = every_lag(repeated(np.zeros((2, 2)), 3))
    assert np.isneginf(found.log_singular).all()
    assert np.isneginf(found.log_frobenius).all()
    J = np.tile(np.eye(2), (4, 1, 1))
    J[1, 0, 0] = np.nan
    with pytest.raises(GradscopeError, match="step 1"):
        products(JacobianChain.from_arrays(J))


def test_sequences_are_apart():
    rng = np.random.default_rng(3)
    J = rng.standard_normal((6, 3, 4, 4))
    whole = products(JacobianChain.from_arrays(J), sequences=9)
    assert whole.log_norm.shape[1] == 3
    for b in range(3):
        alone = products(JacobianChain.from_arrays(J[:, b]))
        assert np.allclose(whole.log_singular[:, b], alone.log_singular[:, 0], rtol=0, atol=1e-12)
    assert products(JacobianChain.from_arrays(J)).log_norm.shape[1] == 1


def test_lags():
    for steps in (1, 2, 7, 100, 100_000):
        for count in (1, 2, 8, 32):
            at = log_lags(steps, count)
            assert at[0] == 1
            assert at[-1] == steps
            assert (np.diff(at) > 0).all()
            assert len(at) <= max(count, 2)
    assert log_lags(1000, 4).tolist() == [1, 10, 100, 1000]


def test_chunks_do_not_matter(monkeypatch):
    cell = create("gru", hidden_size=4, input_size=2)
    trajectory = run(cell, np.random.default_rng(0).standard_normal((2, 20, 2)))
    whole = products(linearise(trajectory))
    monkeypatch.setattr(chain_module, "CHUNK_BYTES", 1)
    part = products(linearise(trajectory))
    known = ~np.isnan(whole.log_singular)
    assert np.abs(whole.log_norm - part.log_norm).max() < 1e-12
    assert known.sum() == (~np.isnan(part.log_singular)).sum()


def test_a_product_of_zero_has_no_condition():
    assert np.isnan(every_lag(repeated([[0, 1], [0, 0]], 3)).log_condition).all()


def test_steps_whose_squares_underflow():
    found = every_lag(repeated(1e-200 * np.eye(3), 12))
    wanted = found.lags * np.log(1e-200)
    assert found.log_norm[:, 0] == pytest.approx(wanted, rel=1e-14)
    assert found.log_from_start[:, 0] == pytest.approx(wanted, rel=1e-14)
    assert found.log_condition == pytest.approx([0.0], abs=1e-9)


def test_a_direction_that_was_small_for_long_is_not_forgotten():
    """Power iterations go on from the last one: at first along e_1 alone, then only e_2 is left."""
    J = np.concatenate([np.tile(np.diag([1.0, 0.5]), (600, 1, 1)), [np.diag([0.0, 1.0])]])
    found = products(JacobianChain.from_arrays(J))
    assert found.log_from_start[-1, 0] == pytest.approx(600 * np.log(0.5), rel=1e-12)
