"""Sequences that are one orbit count as one."""

import numpy as np
import pytest
import scipy.stats

from gradscope import analyze, closed_loop, create
from gradscope.analysis.orbits import orbits
from gradscope.analysis.reach import reach
from gradscope.dynamics.trajectory import Trajectory

CELL = create("linear", hidden_size=2, input_size=1)


def trajectory(*sequences):
    """Make a trajectory of states (T + 1, 2) each."""
    states = np.stack(sequences, axis=-1)
    return Trajectory(CELL, np.zeros((len(states) - 1, 1, states.shape[-1])), states)


def test_what_agrees_is_one_orbit():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 11, 2))
    late, early = a.copy(), a.copy()
    early[:5] = 7  # comes to the orbit of a before the middle
    late[:6] = 7  # and only after it
    nan, inf = np.full_like(a, np.nan), np.full_like(a, np.inf)
    found = orbits(trajectory(a, b, early, late, b * (1 + 1e-12), b * (1 + 1e-5), nan, inf))
    assert found.tolist() == [0, 1, 0, 3, 1, 5, 6, 7]


def test_at_rest():
    assert orbits(trajectory(np.zeros((3, 2)), np.zeros((3, 2)))).tolist() == [0, 0]


def logs(rates, steps=100):
    return np.asarray(rates) * np.arange(steps, -1, -1.0)[:, None]


def test_sequences_of_one_orbit_count_once():
    """Student's t over the means of three orbits, however many sequences each has."""
    rates = np.array([-0.1, -0.2, -0.2, -0.2, -0.5])
    found = reach(logs(rates), orbits=np.array([0, 1, 1, 1, 4]))
    means = np.array([-0.1, -0.2, -0.5])
    half = scipy.stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3)
    assert found.rate == pytest.approx(rates.mean())
    assert found.interval == pytest.approx((rates.mean() - half, rates.mean() + half))
    assert found.orbits == 3


def test_one_orbit_is_one_sequence():
    """Its interval is over blocks of steps, of the mean of the sequences."""
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.standard_normal((101, 1)), axis=0)
    apart = 1e-9 * rng.standard_normal(4)  # what rounding leaves between copies: no error bar
    copies = reach(walk * (1 + apart), orbits=np.zeros(4, int))
    alone = reach(walk)
    assert copies.orbits == 1
    assert copies.interval == pytest.approx(alone.interval, rel=1e-6)
    spread = reach(walk * (1 + apart)).interval
    assert np.diff(spread) < 1e-6 * np.diff(alone.interval)


def noted(result):
    return [w["message"] for w in result.document["warnings"] if w["code"] == "GS-ONE-ORBIT"]


def test_a_fixed_point_is_one_orbit_and_chaos_is_not():
    calm = closed_loop(create("gru", hidden_size=8, input_size=2))
    assert "8 sequences follow the same orbit" in noted(analyze(calm, steps=60, lags=0))[0]
    wild = closed_loop(create("rnn", hidden_size=64, input_size=2, init="gaussian", gain=3))
    assert noted(analyze(wild, steps=60, lags=0)) == []


def test_two_fixed_points_are_two_orbits():
    """h' = tanh(2 h) has two stable fixed points, and each sequence goes to the one of its own sign."""
    cell = create("rnn", hidden_size=1, input_size=1).replace(
        U=np.array([[2.0]]), W=np.array([[1.0]]), b_ih=np.zeros(1), b_hh=np.zeros(1)
    )
    loop = closed_loop(cell, np.zeros((1, 1)))
    result = analyze(loop, lead_in=np.array([0.3, -0.2, 0.1, 0.5])[:, None, None], steps=40, lags=0)
    assert "4 sequences follow 2 distinct orbits" in noted(result)[0]
    # log(2 / cosh^2(2 h)) at the fixed point h = tanh(2 h)
    assert result.metrics["rate"] == pytest.approx(-1.793528506542, abs=1e-9)


def test_the_same_data_eight_times():
    x = np.random.default_rng(0).standard_normal((30, 3))
    cell = create("lstm", hidden_size=6, input_size=3)
    assert "8 sequences follow the same orbit" in noted(analyze(cell, np.stack([x] * 8), lags=0))[0]
