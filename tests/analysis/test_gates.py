"""What gates do: shares, histograms, dead units."""

import numpy as np
import pytest

from gradscope import create
from gradscope.analysis import _gate_values as gates_module
from gradscope.analysis._gate_values import gate_statistics
from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import cell_class

T, B = 100, 3


def found(name, scale=1.0, **settings):
    cell = create(name, hidden_size=6, input_size=2, **settings)
    return gate_statistics(run(cell, scale * np.random.default_rng(0).standard_normal((B, T, 2))))


@pytest.mark.parametrize(
    ("name", "settings", "gates"),
    [
        ("rnn", {}, ["h"]),
        ("rnn", {"activation": "relu"}, ["h"]),
        ("lstm", {}, list("ifgo")),
        ("gru", {}, list("rzn")),
        ("gru", {"reset": "before"}, list("rzn")),
        ("gru", {"layers": 2}, [f"l{k}.{g}" for k in (0, 1) for g in "rzn"]),
        ("linear", {}, []),
    ],
)
def test_histograms(name, settings, gates):
    statistics = found(name, 5.0, **settings)
    assert list(statistics) == gates
    for s in statistics.values():
        assert s.histogram.sum() == pytest.approx(1, abs=1e-12)
        assert s.histogram.shape == (40,)
        assert s.edges.shape == (41,)
        assert (np.diff(s.edges) > 0).all()
        assert s.edges[0] <= s.mean <= s.edges[-1]
        assert 0 <= s.low_share <= 1
        assert 0 <= s.high_share <= 1
        # the histogram has the same mean, up to half a bin
        middle = (s.edges[1:] + s.edges[:-1]) / 2
        assert abs(s.histogram @ middle - s.mean) <= (s.edges[1] - s.edges[0]) / 2


def test_against_counting():
    """Every value, one by one."""
    cell = create("gru", hidden_size=4, input_size=2)
    trajectory = run(cell, 8 * np.random.default_rng(0).standard_normal((B, T, 2)))
    z = [float(v) for t in range(T) for v in cell.gate_values(trajectory.inputs[t], trajectory.states[t])["z"].ravel()]
    s = gate_statistics(trajectory)["z"]
    assert s.mean == pytest.approx(sum(z) / len(z), rel=1e-12)
    assert s.low_share == sum(v <= 0.05 for v in z) / len(z) > 0
    assert s.high_share == sum(v >= 0.95 for v in z) / len(z) > 0
    assert s.histogram[7] == pytest.approx(sum(7 / 40 <= v < 8 / 40 for v in z) / len(z))
    assert s.never_active is None


def test_forced_gates():
    assert found("lstm", forget_bias=20)["f"].high_share == 1
    assert found("lstm", forget_bias=-20)["f"].low_share == 1
    quiet = found("lstm", 0.01, gain=0.01, forget_bias=0)["f"]
    assert (quiet.low_share, quiet.high_share) == (0, 0)
    assert quiet.mean == pytest.approx(0.5, abs=0.02)


def test_dead_units():
    """Three of six relu units have a bias that no input lifts."""
    rnn = cell_class("rnn")
    bias = np.array([-100.0, -100, -100, 100, 100, 100])
    cell = rnn(W=np.eye(6)[:, :2], U=np.zeros((6, 6)), b_ih=bias, b_hh=np.zeros(6), activation="relu")
    s = gate_statistics(run(cell, np.random.default_rng(0).standard_normal((B, T, 2))))["h"]
    assert s.never_active == 0.5
    assert s.low_share == 0.5
    assert s.high_share == 0  # there is no upper end
    all_dead = cell.replace(b_ih=np.full(6, -100.0))
    s = gate_statistics(run(all_dead, np.zeros((1, 5, 2))))["h"]
    assert (s.never_active, s.low_share, s.mean) == (1, 1, 0)
    assert s.histogram.sum() == pytest.approx(1)


def test_a_unit_that_is_zero_in_one_sequence_only_is_alive():
    rnn = cell_class("rnn")
    cell = rnn(W=np.eye(1), U=np.zeros((1, 1)), b_ih=None, b_hh=None, activation="relu")
    s = gate_statistics(run(cell, np.array([[[-1.0], [-1.0]], [[-1.0], [1.0]]])))["h"]
    assert (s.never_active, s.low_share) == (0, 0.75)


def test_a_unit_that_is_active_once_is_alive(monkeypatch):
    monkeypatch.setattr(gates_module, "CHUNK_BYTES", 1)
    cell = cell_class("rnn")(W=np.eye(1), U=np.zeros((1, 1)), b_ih=None, b_hh=None, activation="relu")
    for once in (0, 10, 19):
        inputs = np.full((1, 20, 1), -1.0)
        inputs[0, once] = 1
        assert gate_statistics(run(cell, inputs))["h"].never_active == 0


def test_values_that_are_not_finite_are_left_out():
    cell = create("lstm", hidden_size=3, input_size=2)
    inputs = np.zeros((2, 10, 2))
    inputs[1, 4:] = np.nan
    s = gate_statistics(run(cell, inputs))["f"]
    assert s.histogram.sum() == pytest.approx(1)
    assert np.isfinite(s.mean)
    inputs[:] = np.nan
    s = gate_statistics(run(cell, inputs))["f"]
    assert np.isnan(s.mean)
    assert s.histogram.sum() == 0


def test_chunks_do_not_matter(monkeypatch):
    whole = found("lstm")
    monkeypatch.setattr(gates_module, "CHUNK_BYTES", 1)
    for gate, s in found("lstm").items():
        assert np.allclose(s.histogram, whole[gate].histogram, rtol=0, atol=2 / (T * B * 6))
        assert s.mean == pytest.approx(whole[gate].mean, abs=1e-14)
