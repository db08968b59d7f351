"""The spectral norm at every lag: closed forms, all singular values, and directions that change places."""

import numpy as np
import pytest

from gradscope import GradscopeError, JacobianChain, create, spectral_norms
from gradscope.analysis.products import products
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.numerics.bidiagonal import NORM_TOLERANCE, START_RANDOM_SHARE

EPS = np.finfo(float).eps


def naive(jacobians):
    """Return log norms by a decomposition at every lag; the scale is divided off."""
    product, scale, found = np.eye(jacobians.shape[-1]), 0.0, []
    for J in jacobians[::-1]:
        product = product @ J
        size = np.linalg.norm(product, 2)
        product, scale = product / size, scale + np.log(size)
        found.append(scale)
    return np.array(found)


def allowed(steps, n):
    """Two ways to multiply out: each product of n terms rounds, in both of them, and the iteration ends early."""
    return 2 * steps * n * EPS + NORM_TOLERANCE * np.sqrt(n) / START_RANDOM_SHARE


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_matrices_without_structure(n):
    J = np.random.default_rng(n).standard_normal((30, n, n))
    assert np.abs(spectral_norms(JacobianChain.from_arrays(J)) - naive(J)).max() < allowed(30, n)


@pytest.mark.parametrize(("l", "a", "steps"), [(0.9, 1.0, 60), (1.0, 1.0, 200), (0.5, 3.0, 3000)])
def test_jordan_block(l, a, steps):  # noqa: E741
    """Log sigma_1(W^t) = t log l + asinh(a t / 2l), 2000 nats down as well."""
    chain = JacobianChain.from_arrays(np.tile([[l, a], [0.0, l]], (steps, 1, 1)))
    t = np.arange(1, steps + 1)
    wanted = t * np.log(l) + np.arcsinh(a * t / (2 * l))
    # relative to the logarithm too, which is itself a number of 53 bits
    assert np.abs(spectral_norms(chain) - wanted).max() < allowed(steps, 2) + 4 * EPS * np.abs(wanted).max()


def test_the_largest_direction_changes():
    """Diagonal: the norm is the largest of n products, and which one that is changes often."""
    rng = np.random.default_rng(0)
    d = np.exp(rng.standard_normal((120, 50)) / 4)
    chain = JacobianChain.from_arrays(np.einsum("ti,ij->tij", d, np.eye(50)))
    sums = np.cumsum(np.log(d[::-1]), axis=0)
    assert len(set(sums.argmax(axis=1).tolist())) > 5
    assert np.abs(spectral_norms(chain) - sums.max(axis=1)).max() < allowed(120, 50)


def test_what_was_lost_by_1e100_becomes_the_largest():
    """The vector of the lag before has nothing of it."""
    down, up = np.diag([1.0, 1e-100, *[0.5] * 20]), np.diag([1.0, 1e150, *[0.5] * 20])
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((22, 22)))[0]
    chain = JacobianChain.from_arrays(np.stack([up, down]))
    assert spectral_norms(chain) == pytest.approx([0.0, 50 * np.log(10)], rel=1e-14)
    turned = JacobianChain.from_arrays(np.stack([Q @ up @ Q.T]))
    assert spectral_norms(turned) == pytest.approx([150 * np.log(10)], rel=1e-14)


def test_all_directions_alike():
    J = [np.linalg.qr(np.random.default_rng(s).standard_normal((30, 30)))[0] for s in range(50)]
    assert np.abs(spectral_norms(JacobianChain.from_arrays(np.array(J)))).max() < allowed(50, 30)


def test_a_product_that_is_zero():
    chain = JacobianChain.from_arrays(np.tile([[0.0, 2.0], [0.0, 0.0]], (4, 1, 1)))
    found = spectral_norms(chain)
    assert found[0] == pytest.approx(np.log(2), rel=EPS)
    assert np.isneginf(found[1:]).all()


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_networks(kind):
    """Each sequence, against the graded product at the lags that it looks at, and against all of the matrices."""
    cell = create(kind, hidden_size=20, input_size=4, gain=1.3, seed=0)
    chain = linearise(run(cell, np.random.default_rng(0).standard_normal((2, 60, 4))))
    graded = products(chain, lags=20, sequences=2)
    for b in range(2):
        found = spectral_norms(chain, sequence=b)
        dense = np.stack([J.column(b).dense() for _, J in chain.forward()])
        dense = dense.reshape(60, chain.size, chain.size)
        assert np.abs(found - naive(dense)).max() < allowed(60, chain.size)
        assert found[graded.lags - 1] == pytest.approx(graded.log_norm[:, b], abs=allowed(60, chain.size))


def test_what_is_refused():
    chain = JacobianChain.from_arrays(np.eye(3)[None])
    with pytest.raises(GradscopeError, match="sequence must be between 0 and 0"):
        spectral_norms(chain, sequence=1)
    with pytest.raises(GradscopeError, match="expected a JacobianChain"):
        spectral_norms(np.eye(3))


def test_a_jacobian_that_is_not_finite():
    J = np.tile(np.eye(3), (5, 1, 1))
    J[2, 0, 1] = np.inf
    with pytest.raises(GradscopeError, match="not finite"):
        spectral_norms(JacobianChain.from_arrays(J))


def test_the_ends_of_the_range_of_numbers():
    """Two numbers near the largest one have no sum: what comes of it is not determined, nor all that follows."""
    tiny, huge = 2.0**-1070, 2.0**1020
    found = spectral_norms(JacobianChain.from_arrays([np.eye(2) * s for s in (tiny, huge, huge, tiny, tiny)]))
    assert found == pytest.approx(np.array([-1070, -2140, -1120, -100, -1170]) * np.log(2), rel=1e-14)
    large = 1.7e308 * np.array([[1.0, -1.0], [-1.0, 1.0]])  # of norm 3.4e308
    found = spectral_norms(JacobianChain.from_arrays([np.eye(2), large, large, np.eye(2)]))
    assert found[:2] == pytest.approx([0.0, np.log(3.4) + 308 * np.log(10)], rel=1e-14)
    assert np.isnan(found[2:]).all()


def test_single_precision():
    """The Jacobians have 24 bits, and their product is made in 53."""
    J = np.random.default_rng(3).standard_normal((40, 9, 9)).astype(np.float32)
    assert np.abs(spectral_norms(JacobianChain.from_arrays(J)) - naive(J.astype(float))).max() < allowed(40, 9)


@pytest.mark.parametrize(("kind", "settings"), [("rnn", {}), ("gru", {}), ("gru", {"reset": "before"}), ("lstm", {})])
def test_the_matrix_of_a_step(kind, settings):
    """Put together from scaled blocks of the weights, or pushed through the unit vectors: the same few terms."""
    cell = create(kind, hidden_size=7, input_size=3, seed=1, **settings)
    for _, J in linearise(run(cell, np.random.default_rng(1).standard_normal((3, 5, 3)))).forward():
        every = J.dense()
        for b in range(3):
            one = J.column(b)
            assert np.abs(one.dense() - one.jvp(np.eye(one.shape[1]))).max() < 8 * EPS
            assert (every[b] == one.dense()).all()
