"""Singular values of long products: against thousand-digit arithmetic, forwards and transposed."""

import numpy as np
import pytest
import reference

from gradscope import GradscopeError, JacobianChain, create, singular_values
from gradscope.analysis._singular import largest, surviving, vjp_factors
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.numerics.graded import GradedProduct


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
    forward, back = GradedProduct(np.eye(5)), GradedProduct(np.eye(5))
    for d in sizes:
        forward.multiply([(lambda v: W @ v, False), (lambda v, d=d: d[:, None] * v, True)])
    for d in sizes[::-1]:
        back.multiply([(lambda u, d=d: d[:, None] * u, True), (lambda u: W.T @ u, False)])
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


def test_the_largest_few():
    chain = along("gru", 60, hidden_size=40)
    lags = [5, 20, 60]
    found = largest(chain, lags, 4)
    J = dense(chain)
    for lag, logs in zip(lags, found, strict=True):
        wanted = singular_values(JacobianChain.from_arrays(J[-lag:])).logs[:4]
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


def undone():
    """Twenty matrices of condition 10^6, and their inverses as far as they can be written."""
    rng = np.random.default_rng(1)
    J = [np.linalg.qr(rng.standard_normal((4, 4)))[0] * [1e3, 1, 1, 1e-3] for _ in range(20)]
    return np.array(J + [np.linalg.inv(a) for a in J[::-1]])


def slanted():
    """One diagonal matrix in a basis of condition 10^6."""
    V = np.random.default_rng(1).standard_normal((4, 4))
    V[:, 3] = V[:, 0] + 1e-6 * V[:, 3]
    return np.tile(V @ np.diag([1, 0.5, 0.2, 0.1]) @ np.linalg.inv(V), (120, 1, 1))


def by_columns():
    """Columns from 1 to 10^-14, which a product with any frame mixes up."""
    rng = np.random.default_rng(3)
    return rng.standard_normal((20, 4, 4)) * 10.0 ** -rng.uniform(0, 14, (20, 1, 4))


@pytest.mark.parametrize("case", [undone, slanted, by_columns])
def test_errors_are_known_where_a_product_is_ill_determined(case):
    """A small error in a direction that grows later: one step's rounding does not show it."""
    J = case()
    wanted = reference.exact_log_singular(J, 1500)
    for jacobians in (J, J[::-1].swapaxes(1, 2)):
        found = singular_values(JacobianChain.from_arrays(jacobians))
        known = ~np.isnan(found.logs)
        assert (np.abs(found.logs - wanted) <= found.errors + 1e-15 * np.abs(wanted))[known].all()
        assert np.isnan(found.logs[found.errors > 0.01]).all()


def test_what_cancels_exactly_is_not_zero_for_certain():
    """Dyads are of rank one up to rounding only; that a subtraction gives exactly 0 is chance."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = singular_values(JacobianChain.from_arrays([np.outer(*rng.standard_normal((2, 3))) for _ in range(5)]))
        assert np.isfinite(found.logs[0]) and not np.isfinite(found.logs[1:]).any()
        assert not np.isneginf(found.logs[1])


def test_squares_that_underflow():
    """Columns of size 10^-266 and 10^-183 in one step: their squares are all zero, and so would their order be."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** -rng.uniform([160, 160, 260, 260], [180, 180, 270, 270], (30, 4))
    U = rng.standard_normal((4, 4))
    wanted = reference.exact_log_singular(sizes[:, :, None] * U, 12000)
    back = GradedProduct(np.eye(4))
    for d in sizes[::-1]:
        back.multiply([(lambda u, d=d: d[:, None] * u, True), (lambda u: U.T @ u, False)])
    # the dense matrices that are multiplied exactly were rounded
    assert np.abs(back.log_singular() - wanted).max() <= 1e-11
    assert back.log_norm(200) == pytest.approx(wanted[0], abs=1e-9)


@pytest.mark.parametrize(("name", "options"), [("rnn", {"seed": 1}), ("lstm", {"seed": 25, "layers": 2})])
def test_units_that_are_saturated_beyond_all_measure(name, options):
    """Slopes of 10^-300 and zeros: there is an answer, and what is known agrees in both directions."""
    cell = create(name, hidden_size=4, input_size=2, gain=1000.0, **options)
    chain = linearise(run(cell, drive("noise", 1, 20, 2)))
    back = GradedProduct(np.eye(chain.size))
    for _, J in chain.backward():
        back.multiply(vjp_factors(J.column(0)))
    found, other, errors = singular_values(chain), back.log_singular(), back.errors()
    known = np.isfinite(found.logs) & np.isfinite(other) & (errors <= 0.01)
    gap = np.abs(found.logs[known] - other[known])
    assert (gap <= (found.errors + errors)[known] + 1e-15 * np.abs(found.logs[known])).all()


def test_a_product_that_is_zero_before_the_step_is_over():
    cell = create("rnn", hidden_size=5, input_size=3, init="orthogonal", gain=0.3, activation="relu", seed=43)
    for dtype in (np.float64, np.float32):
        chain = linearise(run(cell.astype(dtype), drive("noise", 1, 100, 3)))
        assert np.isneginf(singular_values(chain).logs).all()
