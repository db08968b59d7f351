"""Eigenvalues of long products: against thousand-digit arithmetic, and closed forms."""

import numpy as np
import pytest
import reference

from gradscope import JacobianChain, create, eigenvalues
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run


def jacobians_of(name, steps, **options):
    cell = create(name, input_size=3, seed=1, **options)
    chain = linearise(run(cell, drive("noise", 1, steps, 3)))
    return np.array([J.column(0).dense().reshape(chain.size, chain.size) for _, J in chain.forward()])


def gaussian(n, steps):
    return np.random.default_rng(0).standard_normal((steps, n, n)) / np.sqrt(n)


CASES = {
    "gaussian": lambda: gaussian(6, 100),
    "one matrix": lambda: np.tile(gaussian(5, 1), (80, 1, 1)),
    "rnn": lambda: jacobians_of("rnn", 120, hidden_size=5),
    "lstm": lambda: jacobians_of("lstm", 80, hidden_size=3),
    "gru": lambda: jacobians_of("gru", 80, hidden_size=6),
    "few steps": lambda: gaussian(6, 3),
}


@pytest.mark.parametrize("case", CASES)
def test_against_exact_arithmetic(case):
    J = CASES[case]()
    wanted = reference.exact_log_eigenvalues(J, 1500)
    found = eigenvalues(JacobianChain.from_arrays(J))
    # an eigenvalue is known to rounding, over its angle with the left one, in each step of what is given
    assert np.abs(found.logs - wanted).max() <= 1e-10
    assert found.errors.max() <= 1e-9  # two rounds agree


def test_phases():
    """Turns by an angle: the phase of the product is their sum, its modulus the product of the sizes."""
    angles = np.linspace(0.1, 0.5, 7)
    J = np.array([[[np.cos(x), -np.sin(x)], [np.sin(x), np.cos(x)]] for x in angles]) * 0.5
    found = eigenvalues(JacobianChain.from_arrays(J))
    assert found.logs == pytest.approx([7 * np.log(0.5)] * 2, abs=1e-13)
    assert sorted(found.phases) == pytest.approx([-angles.sum(), angles.sum()], abs=1e-13)


def test_signs():
    J = np.tile(np.diag([-0.5, 0.25]), (3, 1, 1))
    found = eigenvalues(JacobianChain.from_arrays(J))
    assert found.logs == pytest.approx([3 * np.log(0.5), 3 * np.log(0.25)], abs=1e-13)
    assert np.abs(found.phases) == pytest.approx([np.pi, 0.0], abs=1e-13)


def test_jordan_block():
    """A double eigenvalue, known to the square root of rounding at best."""
    J = np.tile(np.array([[0.9, 1.0], [0.0, 0.9]]), (50, 1, 1))
    found = eigenvalues(JacobianChain.from_arrays(J))
    assert found.logs == pytest.approx([50 * np.log(0.9)] * 2, abs=1e-6)


def test_a_nilpotent_matrix_has_no_eigenvalue_that_is_not_zero():
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    N = Q @ np.eye(4, k=1) @ Q.T
    found = eigenvalues(JacobianChain.from_arrays(np.tile(N, (3, 1, 1))))
    assert not np.isfinite(found.logs).any()  # -inf where it is seen, nan where rounding decides
    exact = eigenvalues(JacobianChain.from_arrays(np.tile(np.eye(4, k=1), (4, 1, 1))))
    assert np.isneginf(exact.logs).all()


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_largest_few(name):
    J = jacobians_of(name, 150, hidden_size=24)
    every, few = eigenvalues(JacobianChain.from_arrays(J)), eigenvalues(JacobianChain.from_arrays(J), 5)
    assert few.logs == pytest.approx(every.logs[:5], abs=1e-8)
    assert every.errors.max() <= 1e-6


def test_several_sequences():
    J = gaussian(3, 20)[:, None] * np.array([1.0, 2.0])[None, :, None, None]
    found = eigenvalues(JacobianChain.from_arrays(J))
    assert found.logs.shape == found.phases.shape == (2, 3)
    assert found.logs[1] - found.logs[0] == pytest.approx([20 * np.log(2)] * 3, abs=1e-11)


def test_what_rounding_decides_is_not_determined():
    """Two rounds that agree prove nothing where both are rounding."""
    ones = eigenvalues(JacobianChain.from_arrays(np.ones((5, 2, 2))))
    assert ones.logs[0] == pytest.approx(5 * np.log(2), abs=1e-13)
    assert not np.isfinite(ones.logs[1])
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    sizes = np.array([1, 1e-3, 1e-6, 1e-9])
    J = [turned * s @ turned.T for s in (sizes, sizes[::-1]) for _ in range(30)]  # up to rounding, 1e-270 in all
    assert np.isnan(eigenvalues(JacobianChain.from_arrays(J)).logs).all()


def test_zero_for_certain():
    found = eigenvalues(JacobianChain.from_arrays(np.tile(np.eye(4, k=1), (2, 1, 1))))
    assert np.isneginf(found.logs).all()
    assert (found.errors == 0).all()
    half = eigenvalues(JacobianChain.from_arrays(np.tile(np.diag([1.0, 0.5, 0.0, 0.0]), (3, 1, 1))))
    assert half.logs == pytest.approx([0.0, 3 * np.log(0.5), -np.inf, -np.inf], abs=1e-13)
