"""Running a cell, made-up inputs, directions, and chains."""

import numpy as np
import pytest
import reference

from gradscope import JacobianChain, create
from gradscope.checking.create import directions
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import DRIVES, drive
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError

B, T, M = 3, 7, 2
INPUTS = np.random.default_rng(0).standard_normal((B, T, M))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_states(name):
    cell = create(name, hidden_size=4, input_size=M)
    trajectory = run(cell, INPUTS)
    assert trajectory.states.shape == (T + 1, cell.state_size, B)
    assert (trajectory.steps, trajectory.batch) == (T, B)
    kind = {"rnn": "tanh"}.get(name, name)
    for b in range(B):
        advance = lambda x, s: reference.step(kind, cell.weights(), x, s)  # noqa: E731
        wanted = reference.run(advance, INPUTS[b], np.zeros(cell.state_size))
        assert np.abs(trajectory.states[:, :, b] - wanted).max() < 1e-14


def test_warmup_and_start():
    cell = create("gru", hidden_size=4, input_size=M)
    whole = run(cell, INPUTS)
    rest = run(cell, INPUTS, warmup=3)
    assert np.array_equal(rest.states, whole.states[3:])
    assert np.array_equal(rest.inputs, whole.inputs[3:])
    again = run(cell, INPUTS[:, 3:], start=whole.states[3].T)
    assert np.array_equal(again.states, rest.states)
    same = run(cell, INPUTS, start=np.full(4, 0.3))
    assert (same.states[0] == 0.3).all()


def test_shapes():
    cell = create("gru", hidden_size=4, input_size=M)
    assert np.array_equal(run(cell, INPUTS[0]).states, run(cell, INPUTS[:1]).states)
    for wrong in (np.zeros((B, T, 3)), np.zeros(5), np.zeros((1, B, T, M))):
        with pytest.raises(InputError, match="this cell needs"):
            run(cell, wrong)
    for few, warmup in ((np.zeros((B, 0, M)), 0), (INPUTS, T), (np.zeros((0, T, M)), 0)):
        with pytest.raises(InputError, match="no step is left"):
            run(cell, few, warmup=warmup)
    with pytest.raises(InputError, match=f"{T} steps, the warm-up takes {T}"):
        run(cell, INPUTS, warmup=T, keep=T)


def test_the_end_of_the_warm_up_can_be_kept():
    cell = create("gru", hidden_size=4, input_size=M)
    kept = run(cell, INPUTS, warmup=4, keep=3)
    assert np.array_equal(kept.states, run(cell, INPUTS, warmup=1).states)
    assert np.array_equal(kept.after(3).states, run(cell, INPUTS, warmup=4).states)


def test_overflow_goes_on():
    cell = create("linear", hidden_size=2, input_size=M, init="identity", gain=1e200)
    states = run(cell, np.ones((1, 5, M))).states
    assert np.isfinite(states[:2]).all()
    assert not np.isfinite(states[-1]).any()


def test_noise():
    a = drive("noise", 4, 1000, 3, seed=1)
    assert a.shape == (4, 1000, 3)
    assert np.array_equal(a, drive("noise", 4, 1000, 3, seed=1))
    assert not np.array_equal(a, drive("noise", 4, 1000, 3, seed=2))
    assert np.array_equal(drive("noise", 2, 10, 3, seed=1), a[:2, :10])  # neither length nor number matters
    assert np.array_equal(drive("noise", 4, 1000, 3, seed=1, scale=2.5), 2.5 * a)
    assert abs(a.mean()) < 5 / np.sqrt(a.size)
    assert abs(a.var() - 1) < 5 * np.sqrt(2 / a.size)
    flat = a.transpose(0, 2, 1).reshape(12, 1000)
    C = np.corrcoef(flat) - np.eye(12)
    assert np.abs(C).max() < 5 / np.sqrt(1000)  # sequences and inputs are independent
    assert np.abs((flat[:, 1:] * flat[:, :-1]).mean(axis=1)).max() < 5 / np.sqrt(1000)  # white in time


def test_noise_is_apart_from_the_weights():
    weights = create("rnn", hidden_size=3, input_size=2, init="gaussian", seed=0).U
    numbers = drive("noise", 1, 50, 2, seed=0).ravel()
    assert not np.isin(np.round(weights * np.sqrt(3), 12), np.round(numbers, 12)).any()


def test_zeros_and_sine():
    assert not drive("zeros", 2, 5, 3).any()
    sine = drive("sine", 2, 400, 3, scale=2.0, seed=1)
    assert np.abs(sine).max() <= 2
    assert np.allclose(sine[:, 5:, 0], sine[:, :-5, 0])  # the fastest has a period of 5 steps
    assert np.allclose(sine[:, 100:, 2], sine[:, :-100, 2])  # the slowest of 100
    assert not np.allclose(sine[0], sine[1])
    assert drive("sine", 1, 5, 1).shape == (1, 5, 1)
    assert set(DRIVES) == {"noise", "zeros", "sine"}
    with pytest.raises(UsageError, match="no drive named 'pink'"):
        drive("pink", 1, 1, 1)


def test_backward_direction_sees_the_input_reversed():
    network = directions("gru", input_size=M, hidden_size=4)
    back = run(network["l0.reverse"], INPUTS)
    plain = run(network["l0.reverse"].cell, INPUTS[:, ::-1])
    assert np.array_equal(back.states, plain.states)
    assert np.array_equal(run(network["l0"], INPUTS).states, run(network["l0"].cell, INPUTS).states)


def test_upper_layer_of_a_bidirectional_network():
    """It sees, at each step of real time, the forward and the backward output of that step."""
    network = directions("lstm", input_size=M, hidden_size=4, layers=2)
    forward = run(network["l0"].cell, INPUTS).states[1:, :4]
    backward = run(network["l0.reverse"].cell, INPUTS[:, ::-1]).states[1:, :4][::-1]
    seen = np.concatenate([forward, backward], axis=1).transpose(2, 0, 1)
    assert np.array_equal(run(network["l1"], INPUTS).states, run(network["l1"].cell, seen).states)
    assert np.array_equal(
        run(network["l1.reverse"], INPUTS).states, run(network["l1.reverse"].cell, seen[:, ::-1]).states
    )


def test_chain_is_the_derivative_of_the_run():
    """J[t] = d s[t+1] / d s[t], whatever way it is walked."""
    cell = create("lstm", hidden_size=3, input_size=M, gain=2.0)
    trajectory = run(cell, INPUTS)
    chain = linearise(trajectory)
    forward = {t: J.column(1).dense() for t, J in chain.forward()}
    backward = [(t, J.column(1).dense()) for t, J in chain.backward()]
    assert list(forward) == list(range(T))
    assert [t for t, _ in backward] == list(range(T))[::-1]
    for t, J in backward:
        advance = lambda x, s: reference.step("lstm", cell.weights(), x, s)  # noqa: E731
        wanted = reference.jacobian(advance, INPUTS[1, t], trajectory.states[t, :, 1])
        for found in (J, forward[t], chain.at(t).column(1).dense()):
            assert np.abs(found - wanted).max() < 1e-14
    assert (chain.steps, chain.batch, chain.size, chain.outputs) == (T, B, 6, (slice(0, 3),))
    assert chain.parts == {"h": slice(0, 3), "c": slice(3, 6)}


def test_chain_from_arrays():
    J = np.arange(2 * 3 * 3.0).reshape(2, 3, 3)
    chain = JacobianChain.from_arrays(J)
    assert (chain.steps, chain.batch, chain.size, chain.trajectory) == (2, 1, 3, None)
    assert np.array_equal(chain.at(1).column(0).dense(), J[1])
    many = JacobianChain.from_arrays(np.stack([J, -J], axis=1))
    assert many.batch == 2
    v = np.random.default_rng(0).standard_normal((3, 2))
    assert np.allclose(many.at(1).jvp(v), np.stack([J[1] @ v[:, 0], -J[1] @ v[:, 1]], axis=1), rtol=1e-14)
    assert np.allclose(many.at(1).vjp(v), np.stack([J[1].T @ v[:, 0], -J[1].T @ v[:, 1]], axis=1), rtol=1e-14)
    assert JacobianChain.from_arrays([[[1]]]).dtype == np.float64
    assert JacobianChain.from_arrays(np.ones((1, 1, 1), np.float16)).dtype == np.float32
    for wrong in (np.ones((2, 2)), np.ones((2, 3, 2)), np.ones((0, 2, 2)), np.ones((1, 1, 1, 2, 2))):
        with pytest.raises(InputError, match="must be"):
            JacobianChain.from_arrays(wrong)
    for wrong in (np.ones((1, 1, 1), complex), np.array([[["a"]]])):
        with pytest.raises(InputError, match="real numbers"):
            JacobianChain.from_arrays(wrong)
