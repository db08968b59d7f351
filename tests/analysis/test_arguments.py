"""What the analyses of one's own chains refuse, each with a sentence."""

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain, eigenvalues, lyapunov, singular_values
from gradscope.errors import InputError, UsageError

J = np.random.default_rng(0).standard_normal((20, 4, 4))


@pytest.fixture
def chain():
    return JacobianChain.from_arrays(J)


@pytest.mark.parametrize("ask", [lyapunov, singular_values, eigenvalues])
def test_the_bare_array(ask):
    with pytest.raises(UsageError, match="a JacobianChain, not ndarray") as refusal:
        ask(J)
    assert "from_arrays" in refusal.value.hint


@pytest.mark.parametrize("ask", [lyapunov, singular_values, eigenvalues])
@pytest.mark.parametrize("values", [0, -1, 2.5, "full"])
def test_how_many(ask, values, chain):
    with pytest.raises(UsageError, match="values must be"):
        ask(chain, values)
    assert ask(chain, np.int64(2)) is not None
    assert ask(chain, 99) is not None  # as many as there are


@pytest.mark.parametrize("options", [{"burn": -1}, {"burn": 20}, {"sequences": 0}, {"sequences": 2}, {"seed": -1}])
def test_numbers_out_of_range(options, chain):
    with pytest.raises(UsageError, match=next(iter(options))):
        lyapunov(chain, **options)


def test_orbits_of_another_length(chain):
    with pytest.raises(UsageError, match="orbits"):
        lyapunov(chain, orbits=np.zeros(3, int))


@pytest.mark.parametrize("options", [{"rounds": 0}, {"settled": -1.0}, {"settled": np.nan}, {"seed": "x"}])
def test_rounds(options, chain):
    with pytest.raises(UsageError, match=next(iter(options))):
        eigenvalues(chain, **options)


def test_matrices_of_different_shapes():
    with pytest.raises(InputError, match="one shape"):
        JacobianChain.from_arrays([[1, 2], [3]])


def test_products_of_zero_are_quiet():
    chain = JacobianChain.from_arrays(np.zeros((5, 3, 3)))
    assert np.isneginf(lyapunov(chain).exponents).all()
    assert np.isneginf(singular_values(chain).logs).all()
    assert np.isneginf(eigenvalues(chain).logs).all()


def test_the_step_that_is_not_finite_is_named():
    bad = J.copy()
    bad[7, 0, 0] = np.inf
    with pytest.raises(InputError, match="step 7"):
        gradscope.lyapunov(JacobianChain.from_arrays(bad))
    result = gradscope.analyze(JacobianChain.from_arrays(bad))
    assert [f["code"] for f in result.verdict["findings"]] == ["GS-NONFINITE"]
    assert result.document["nonfinite"][0] == {"path": "jacobians", "kind": "inf", "count": 1, "first": [7]}
