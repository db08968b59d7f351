"""Bidirectional networks: time order, inputs of upper layers, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.api import analyze
from gradscope.checking.create import create, directions
from gradscope.dynamics import trajectory
from gradscope.dynamics.trajectory import run
from gradscope.networks.stack import Direction


def test_a_reverse_direction_is_the_cell_on_reversed_data():
    """Its loss gradient belongs to the steps of the data, as the output of a framework does."""
    cell = create("gru", hidden_size=4, input_size=3)
    rng = np.random.default_rng(0)
    inputs, gradient = rng.normal(size=(2, 30, 3)), rng.normal(size=(2, 30, 4))
    forward = analyze(cell, inputs[:, ::-1], loss_gradient=gradient[:, ::-1], lags=0)
    backward = analyze(Direction(cell, reverse=True), inputs, loss_gradient=gradient, lags=0)
    assert backward.series["log10_gradient_norm"] == forward.series["log10_gradient_norm"]


def test_upper_layers_see_both_directions_in_the_order_of_the_data():
    made = directions("rnn", hidden_size=4, input_size=3, layers=2)
    inputs = np.random.default_rng(1).normal(size=(2, 12, 3))
    ahead = run(made["l0"].cell, inputs).states[1:]
    back = run(made["l0.reverse"].cell, inputs[:, ::-1]).states[1:][::-1]
    seen = np.concatenate([ahead, back], axis=1).transpose(2, 0, 1)
    want = run(made["l1.reverse"].cell, seen[:, ::-1]).states
    np.testing.assert_array_equal(run(made["l1.reverse"], inputs).states, want)


def test_cost_grows_with_depth_and_not_with_its_power(monkeypatch):
    made = directions("rnn", hidden_size=2, input_size=2, layers=6)
    calls = []
    inner = trajectory.run
    monkeypatch.setattr(trajectory, "run", lambda *a, **k: calls.append(1) or inner(*a, **k))
    trajectory.prepare_inputs(made["l5"], np.zeros((1, 5, 2)))
    assert len(calls) == 2 * 5  # two directions of each layer below


def test_directions_of_neighbouring_seeds_share_nothing():
    first, second = directions("rnn", hidden_size=3, seed=0), directions("rnn", hidden_size=3, seed=1)
    matrices = [c.cell.U for made in (first, second) for c in made.values()]
    for i, a in enumerate(matrices):
        for b in matrices[i + 1 :]:
            assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("name", ["lstm", "gru", "linear"])
def test_dense_of_several_states(name):
    cell = create(name, hidden_size=3, input_size=2)
    rng = np.random.default_rng(2)
    n = cell.state_size
    x, s = rng.normal(size=(n, 2)), rng.normal(size=(n, n))  # as many states as variables: shapes alone do not tell
    J = cell.jacobian(x, s)
    if name == "linear":
        np.testing.assert_array_equal(J.dense(), cell.U)
        return
    dense = J.dense()
    assert dense.shape == (n, n, n)
    for b in range(n):
        np.testing.assert_allclose(dense[b], cell.jacobian(x[b], s[b]).dense(), atol=1e-15)
    assert cell.astype(np.float32).jacobian(x[0].astype("f4"), s[0].astype("f4")).dense().dtype == np.float32
