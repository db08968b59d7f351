"""Radius and norm of single steps, against numpy."""

import numpy as np
import pytest

from gradscope import JacobianChain, create
from gradscope.analysis import steps as steps_module
from gradscope.analysis.steps import step_spectra
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_against_numpy(name):
    cell = create(name, hidden_size=5, input_size=2, gain=2.0)
    chain = linearise(run(cell, np.random.default_rng(0).standard_normal((6, 9, 2))))
    found = step_spectra(chain)
    assert found.timestep.tolist() == list(range(1, 10))  # J_t = d s_t / d s_{t-1}
    assert found.radius.shape == found.log_norm.shape == (9, 4)
    for row, t in enumerate(found.timestep):
        for b in range(4):
            J = cell.jacobian(chain.trajectory.inputs[t - 1, :, b], chain.trajectory.states[t - 1, :, b]).dense()
            values = np.linalg.eigvals(J)
            assert found.radius[row, b] == pytest.approx(np.abs(values).max(), rel=1e-12)
            assert found.log_norm[row, b] == pytest.approx(np.log(np.linalg.norm(J, 2)), abs=1e-12)
            # conjugate pairs may come in any order; sums of powers do not depend on it
            for k in (1, 2, 3):
                assert (found.eigenvalues[row, b] ** k).sum() == pytest.approx((values**k).sum(), abs=1e-12)


def test_which_steps():
    chain = JacobianChain.from_arrays(np.arange(1.0, 101)[:, None, None])
    found = step_spectra(chain, steps=5)
    assert found.timestep.tolist() == [1, 26, 50, 75, 100] or found.timestep.tolist() == [1, 26, 51, 75, 100]
    assert np.array_equal(found.radius[:, 0], found.timestep)
    assert step_spectra(chain, steps=1).timestep.tolist() == [1]
    assert len(step_spectra(chain, steps=1000).timestep) == 100


def test_large_states_are_sampled(monkeypatch):
    monkeypatch.setattr(steps_module, "SPECTRA_WORK", 100.0)  # as if each spectrum cost a hundredth of a second
    chain = JacobianChain.from_arrays(np.tile(np.eye(4), (50, 6, 1, 1)))
    found = step_spectra(chain)
    assert found.radius.shape == (6, 1)
    assert found.timestep[0] == 1
    assert found.timestep[-1] == 50
    assert step_spectra(chain, steps=3, sequences=2).radius.shape == (3, 2)


def test_radius_is_not_the_norm():
    J = np.array([[[0.0, 2.0], [0.0, 0.0]], [[0.5, 0.0], [0.0, -3.0]], [[0.0, -1.0], [1.0, 0.0]]])
    found = step_spectra(JacobianChain.from_arrays(J))
    assert found.radius[:, 0] == pytest.approx([0, 3, 1], abs=1e-15)
    assert np.exp(found.log_norm[:, 0]) == pytest.approx([2, 3, 1])


def test_zero_and_non_finite_steps():
    J = np.zeros((3, 2, 2))
    J[1] = np.nan
    found = step_spectra(JacobianChain.from_arrays(J))
    assert found.radius[0, 0] == 0
    assert found.log_norm[0, 0] == -np.inf
    assert np.isnan(found.radius[1, 0])
    assert np.isnan(found.log_norm[1, 0])
