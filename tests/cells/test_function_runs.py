"""A step function of one's own is called as often as its Jacobians need, whatever is asked of them."""

import numpy as np
import pytest

import gradscope
from gradscope import from_step
from gradscope.analysis.memory import replayed_steps
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING, STATES
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run

N, M, T, B = 4, 2, 30, 3


def counted():
    rng = np.random.default_rng(0)
    W, U = rng.standard_normal((N, M)), rng.standard_normal((N, N)) / 2
    calls = []

    def step(x, s):
        calls.append(1)
        return np.tanh(W @ x + U @ s)

    return from_step(step, state_size=N, input_size=M), calls


def test_jacobians_are_made_once():
    cell, calls = counted()
    calls.clear()
    result = gradscope.analyze(cell, steps=T, batch=B, warmup=10)
    assert result.metrics["lyapunov_1"] is not None  # everything was asked for
    # the step, and a column of the Jacobian for each variable; and the steps that are run again from another past
    assert len(calls) == (T + 10) * B * (1 + N) + replayed_steps(B, T)


@pytest.mark.parametrize("storage", [STATES, CHECKPOINTS])
def test_what_is_kept_changes_no_number(storage):
    cell, _ = counted()
    inputs = np.random.default_rng(1).standard_normal((B, T, M))
    v = np.random.default_rng(2).standard_normal((N, B))
    kept, again = (linearise(run(cell, inputs, warmup=7, keep=7, storage=way)) for way in (EVERYTHING, storage))
    for t in range(T):
        np.testing.assert_array_equal(kept.at(t).jvp(v), again.at(t).jvp(v))
        np.testing.assert_array_equal(kept.first(1).at(t).vjp(v[:, :1]), again.first(1).at(t).vjp(v[:, :1]))
    for (s, J), (t, K) in zip(kept.after(7).passing(), again.after(7).passing(), strict=False):
        assert s == t
        np.testing.assert_array_equal(J.jvp(v), K.jvp(v))
