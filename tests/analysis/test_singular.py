"""Singular values of long products: against thousand-digit arithmetic, forwards and transposed."""

import numpy as np
import pytest
import reference

from gradscope import GradscopeError, JacobianChain, create, singular_values
from gradscope.analysis._graded import Graded
from gradscope.analysis.singular import largest, surviving
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run


def along(name, steps, **options):
    cell = create(name, input_size=3, seed=1, **options)
    return linearise(run(cell, drive("noise", 1, steps, 3)))


def dense(chain):
    return np.array([J.column(0).dense().reshape(chain.size, chain.size) for _, J in chain.forward()])


def gaussian(n, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, n, n)) / np.sqrt(n)


def by_singular_values(n, steps, per_step):
    """Matrices with singular values from 1 to 10^-per_step in directions that turn at random."""
    rng = np.random.default_rng(4)
    turns = [np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2 * steps)]
    d = np.logspace(0, -per_step, n)
    return np.array([turns[2 * t] * d @ turns[2 * t + 1] for t in range(steps)])


CASES = {
    "gaussian": lambda: gaussian(6, 400),
    "turning": lambda: by_singular_values(5, 250, 2.0),
    "rnn": lambda: dense(along("rnn", 200, hidden_size=5)),
    "lstm": lambda: dense(along("lstm", 200, hidden_size=3)),
    "gru": lambda: dense(along("gru", 400, hidden_size=5)),
}


@pytest.mark.parametrize("case", CASES)
def test_against_exact_arithmetic(case):
    """Every logarithm to 1e-11, over hundreds of decades, of the product and of its transpose."""
    J = CASES[case]()
    wanted = reference.exact_log_singular(J, 2500)
    decades = (wanted[0] - wanted[-1]) / np.log(10)
    if case != "gru":
        assert 100 <= decades <= 1000
    for jacobians in (J, J[::-1].swapaxes(1, 2)):
        found = singular_values(JacobianChain.from_arrays(jacobians))
        # a matrix given in full is known to rounding times its condition, in every step; found.errors adds that up
        assert np.abs(found.logs - wanted).max() <= 1e-11
        assert (np.abs(found.logs - wanted) <= found.errors + 1e-15 * np.abs(wanted)).all()


def test_rows_that_are_apart():
    """An LSTM's own Jacobians, parts kept apart: 700 decades, where the dense ones already know less."""
    chain = along("lstm", 400, hidden_size=3)
    wanted = reference.exact_log_singular(dense(chain), 2500)
    found = singular_values(chain)
    assert np.abs(found.logs - wanted).max() <= 1e-9  # the dense matrices were rounded: 1e-12 of their smallest rows
    assert (wanted[0] - wanted[-1]) / np.log(10) > 400


def test_saturated_units():
    """Diagonals from 1 to 10^-15 in front of fixed weights: kept apart, nothing is lost in either direction."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((5, 5))
    sizes = 10.0 ** -rng.uniform(0, 15, (40, 5))
    wanted = reference.exact_log_singular(sizes[:, :, None] * W, 2500)
    forward, back = Graded(np.eye(5)), Graded(np.eye(5))
    for d in sizes:
        forward.push([(lambda v: W @ v, False), (lambda v, d=d: d[:, None] * v, True)])
    for d in sizes[::-1]:
        back.push([(lambda u, d=d: d[:, None] * u, True), (lambda u: W.T @ u, False)])
    for found in (forward.log_singular(), back.log_singular()):
        # the product d W itself is rounded in the dense matrices that are multiplied exactly
        assert np.abs(found - wanted).max() <= 1e-11


def test_jordan_block():
    for l, a, steps in ((0.9, 1.0, 9), (0.99, 1.0, 200), (0.5, 3.0, 1000)):  # noqa: E741
        J = np.tile(np.array([[l, a], [0.0, l]]), (steps, 1, 1))
        wanted = steps * np.log(l) + np.array([1, -1]) * np.arcsinh(a * steps / (2 * l))
        assert singular_values(JacobianChain.from_arrays(J)).logs == pytest.approx(wanted, abs=1e-13 * steps)


def test_underflow_is_no_limit():
    found = singular_values(JacobianChain.from_arrays(np.full((5000, 1, 1), 0.5)))
    assert found.logs[0] == pytest.approx(5000 * np.log(0.5), rel=1e-15)


def test_lost_directions_are_exactly_zero():
    J = gaussian(4, 30)
    J[10, 2:] = 0
    found = singular_values(JacobianChain.from_arrays(J))
    assert np.isfinite(found.logs[:2]).all()
    assert np.isneginf(found.logs[2:]).all()


def test_what_rounding_decides_is_not_determined():
    """A sum of two dyads has rank two; what an SVD gives for the rest is rounding."""
    rng = np.random.default_rng(0)
    J = np.array([np.outer(*rng.standard_normal((2, 4))) + np.outer(*rng.standard_normal((2, 4))) for _ in range(9)])
    found = singular_values(JacobianChain.from_arrays(J))
    assert np.isfinite(found.logs[:2]).all()
    assert not np.isfinite(found.logs[2:]).any()


@pytest.mark.parametrize("from_start", [False, True])
def test_the_largest_few(from_start):
    chain = along("gru", 60, hidden_size=40)
    lags = [5, 20, 60]
    found = largest(chain, lags, 4, from_start=from_start)
    J = dense(chain)
    for lag, logs in zip(lags, found, strict=True):
        part = J[:lag] if from_start else J[-lag:]
        wanted = singular_values(JacobianChain.from_arrays(part)).logs[:4]
        known = ~np.isnan(logs)
        # values move by less than 1e-9 from pass to pass; what is still to come is a few times that
        assert np.abs(logs - wanted)[known].max() <= 1e-7
    assert not np.isnan(found[-1]).any()


def test_several_sequences():
    J = gaussian(3, 20)[:, None] * np.array([1.0, 2.0])[None, :, None, None]
    found = singular_values(JacobianChain.from_arrays(J))
    assert found.logs.shape == found.errors.shape == (2, 3)
    assert found.logs[1] - found.logs[0] == pytest.approx([20 * np.log(2)] * 3, abs=1e-12)


def test_surviving():
    log10 = lambda *values: np.array(values) * np.log(10)  # noqa: E731
    assert surviving(log10(0.9, -0.5, -0.7, -1.9)) == 1  # a decade below the largest, the second is lost
    assert surviving(log10(0.05, 0.0, -0.05, -1.0)) == 3
    assert surviving(log10(-3.4, -3.45, -3.6)) == 2  # above 10^-3.5
    assert surviving(log10(-4.0, -4.1)) == 0
    assert surviving(log10(0.0, -0.1)) is None  # none is seen to die: more would have to be known
    assert surviving(np.array([0.0, np.nan])) is None
    assert surviving(np.array([-np.inf])) == 0


def test_not_finite():
    J = np.ones((3, 2, 2))
    J[1] = np.inf
    with pytest.raises(GradscopeError, match="step 1"):
        singular_values(JacobianChain.from_arrays(J))
