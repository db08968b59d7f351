"""Runs of many steps, and blocks of derivatives in arrays that are used again, against one step at a time."""

import dataclasses

import numpy as np
import pytest

from gradscope import create
from gradscope.analysis.gradients import gradient_norms
from gradscope.cells.gru import GRU
from gradscope.cells.lstm import LSTM
from gradscope.cells.rnn import RNN
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import Trajectory, run
from gradscope.kernels import lineariser, stepper
from gradscope.kernels.kinds import kernel_of
from gradscope.kernels.tape import recorded

M, H, T = 3, 5, 70  # longer than a list of calls
EPS = np.finfo(float).eps
CELLS = {
    "rnn": lambda: create("rnn", hidden_size=H, input_size=M, seed=1),
    "relu": lambda: create("rnn", hidden_size=H, input_size=M, seed=1, activation="relu"),
    "linear": lambda: create("linear", hidden_size=H, input_size=M, seed=1),
    "gru": lambda: create("gru", hidden_size=H, input_size=M, seed=1),
    "gru before": lambda: create("gru", hidden_size=H, input_size=M, seed=1, reset="before"),
    "lstm": lambda: create("lstm", hidden_size=H, input_size=M, seed=1),
    "lstm stack": lambda: create("lstm", hidden_size=H, input_size=M, layers=2, seed=1),
    "projected": lambda: projected(),
    "looks": lambda: made(Looks),
    "single precision": lambda: create("gru", hidden_size=H, input_size=M, seed=1).astype(np.float32),
    "without biases": lambda: create("gru", hidden_size=H, input_size=M, seed=1).replace(b_ih=None, b_hh=None),
}


def made(kind, gates=1, rows=H):
    rng = np.random.default_rng(3)
    return kind(*(rng.standard_normal(s) / 2 for s in ((gates * H, M), (gates * H, rows), (gates * H,), (gates * H,))))


def projected():
    rng = np.random.default_rng(2)
    return dataclasses.replace(made(LSTM, 4, rows=2), W_hr=rng.standard_normal((2, H)))


class Looks(RNN):
    """Formulas that look at values, which cannot be recorded."""

    def activations(self, p, s):
        h = p["h"]
        return (np.tanh(h) if np.abs(h).max() < 1e9 else np.sign(h),)

    def partials(self, p, s):
        assert np.isfinite(np.asarray(p["h"])).all()
        return super().partials(p, s)


@pytest.fixture(params=["lists", "step by step", "in place"])
def way(request, monkeypatch):
    """Force each of the ways that depend on size."""
    if request.param != "lists":
        monkeypatch.setattr(stepper, "CACHE", 1)
    if request.param == "in place":
        monkeypatch.setattr(stepper, "LARGE", 0)
        monkeypatch.setattr(lineariser, "LARGE", 0)
    return request.param


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", CELLS)
def test_run_is_one_step_after_the_other(name, batch, way):
    cell = CELLS[name]()
    inputs = np.random.default_rng(0).standard_normal((batch, T, M))
    found = run(cell, inputs)
    s = np.zeros((cell.state_size, batch), cell.dtype)
    # one step at a time, from the state that was found: products of ten terms near one, in another order
    allowed = 100 * np.finfo(cell.dtype).eps
    for t in range(T):
        s = cell.evolve(found.inputs[t], found.states[t])
        assert np.abs(s - found.states[t + 1]).max() <= allowed


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", CELLS)
def test_blocks_are_the_jacobians(name, batch, saved, way, monkeypatch):
    cell = CELLS[name]()
    path = run(cell, np.random.default_rng(0).standard_normal((batch, T, M)))
    path = path if saved else Trajectory(cell, path.inputs, path.states)
    size = 1 if way == "in place" else 7
    read = linearise(path).reader(size)
    u = np.random.default_rng(1).standard_normal((cell.state_size, batch)).astype(cell.dtype)
    allowed = 1000 * np.finfo(cell.dtype).eps  # sums of some twenty terms below ten
    for start in range(0, T - T % size, size):
        block = read(start, start + size)
        plain = cell.linearise(path.inputs[start : start + size], path.states[start : start + size])
        for k in range(size):
            assert np.abs(block.at(k).vjp(u) - plain.at(k).vjp(u)).max() <= allowed
            assert np.abs(block.at(k).jvp(u) - plain.at(k).jvp(u)).max() <= allowed
            assert np.abs(block.at(k).vjp_input(u) - plain.at(k).vjp_input(u)).max() <= allowed
            assert np.abs(block.at(k).vjp_within(u) - plain.at(k).vjp_within(u)).max() <= allowed


@pytest.mark.parametrize("name", CELLS)
def test_norms_do_not_depend_on_the_way(name, way):
    cell = CELLS[name]()
    chain = linearise(run(cell, np.random.default_rng(0).standard_normal((2, T, M))))
    loss = random_loss(chain, "mean")
    found = gradient_norms(chain, loss).logs
    u = np.zeros((cell.state_size, 2), cell.dtype)
    for t in range(T, 0, -1):
        u[chain.outputs[0]] += loss.at(t, T)
        assert found["state"][t] == pytest.approx(np.log(np.linalg.norm(u.astype(float), axis=0)), abs=tolerance(cell))
        u = chain.at(t - 1).vjp(u)
    assert found["state"][0] == pytest.approx(np.log(np.linalg.norm(u.astype(float), axis=0)), abs=tolerance(cell))


def tolerance(cell):
    """Seventy steps, each of which rounds a few times; ten times that where sums cancel."""
    return float(T * 100 * np.finfo(cell.dtype).eps)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_formulas_of_the_room_are_recorded(kind):
    """Else they would be right, and slow."""
    cell = made(kind, len(kind.gates))
    run(cell, np.zeros((2, 10, M)))
    linearise(run(cell, np.zeros((2, 10, M)))).reader(4)
    assert len(recorded(cell)) == 2 and all(recorded(cell).values())


def test_only_what_is_needed_is_saved():
    """Of an RNN and an LSTM the sums; of a GRU the sums of two gates, and of the third both terms."""
    cells = made(RNN), made(LSTM, 4), made(GRU, 3), projected(), CELLS["gru before"]()
    assert [kernel_of(cell).saved_rows for cell in cells] == [(H,), (4 * H,), (3 * H, H), (), ()]
