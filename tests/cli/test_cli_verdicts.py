"""Hard cases end with a verdict and strict JSON; --fail-on turns one into an exit code."""

import json
import math

import numpy as np
import pytest

SIZE = ("--hidden", "8", "--steps", "40", "--lags", "4")


def refuse(constant):
    pytest.fail(f"{constant} in JSON")


@pytest.fixture
def analyzed(run):
    def call(*arguments):
        size = SIZE if "--cell" in arguments else SIZE[2:]
        done = run("analyze", *size, *arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out, parse_constant=refuse)

    return call


def test_weights_of_zero(analyzed):
    document = analyzed("--cell", "rnn", "--gain", "0")
    assert document["verdict"]["state"] == "vanishing"
    assert "exactly zero" in document["verdict"]["sentence"]


def test_huge_weights(analyzed):
    assert analyzed("--cell", "linear", "--gain", "1e30")["verdict"]["state"] == "nonfinite"
    document = analyzed("--cell", "linear", "--gain", "1e3")
    assert document["verdict"]["state"] == "exploding"
    assert document["metrics"]["log10_gain"] > 80


def test_gradients_far_below_the_smallest_double(analyzed):
    document = analyzed("--cell", "linear", "--gain", "1e-30")
    assert document["metrics"]["log10_gain"] < -1000
    assert all(math.isfinite(x) for x in document["series"]["log10_gradient_norm"]["state"]["median"])


def test_rank_one(analyzed, tmp_path):
    rng = np.random.default_rng(0)
    one = np.outer(rng.standard_normal(8), rng.standard_normal(8))
    np.savez(tmp_path / "m.npz", weight_ih_l0=rng.standard_normal((8, 3)), weight_hh_l0=one)
    assert analyzed(tmp_path / "m.npz")["verdict"]["state"] in ("vanishing", "inconclusive", "exploding", "stable")


def test_dead_relu(analyzed, tmp_path):
    weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.eye(8), "bias_hh_l0": np.zeros(8)}
    np.savez(tmp_path / "m.npz", **weights, bias_ih_l0=np.full(8, -1.0))
    document = analyzed(tmp_path / "m.npz", "--activation", "relu")
    assert document["verdict"]["state"] == "vanishing"
    assert "GS-DEAD" in [f["code"] for f in document["verdict"]["findings"]]


def test_open_gates_are_reported(analyzed):
    document = analyzed("--cell", "lstm", "--set", "forget_bias=10")
    assert document["series"]["gates"]["f"]["high_share"] > 0.9
    assert "GS-SATURATED" in [f["code"] for f in document["verdict"]["findings"]]


def test_weights_that_are_not_finite(analyzed, checkpoint):
    hh = np.ones((24, 8))
    hh[3, 2] = np.inf
    document = analyzed(checkpoint(**{"rnn.weight_hh_l0": hh}))
    assert document["verdict"]["state"] == "nonfinite"
    assert document["nonfinite"][0]["first"] == [3, 2]


def test_strict_json_of_a_long_run(analyzed):
    document = analyzed("--cell", "rnn", "--steps", "2000")
    assert document["metrics"]["log10_gain"] < -308


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "linear"])
def test_stacks_of_every_depth(run, cell):
    for layers in (2, 3, 5):
        done = run("analyze", "--cell", cell, "--layers", layers, *SIZE)
        assert (done.code, done.err) == (0, "")
        assert f"{layers} layers" in done.out


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("vanishing", 3),
        ("exploding, vanishing", 3),
        ("exploding", 0),
        ("reach < 50", 3),
        ("reach >= 50", 0),
        ("rate < -0.1 and not reach > 35", 3),
        ("half_life > 1e9 or log10_gain > 0", 0),
        ("0 < half_life < 100", 3),
        ("half_life == -1", 0),
    ],
)
def test_fail_on(run, condition, code):
    done = run("analyze", "--cell", "gru", *SIZE, "--json", "--fail-on", condition)
    assert (done.code, done.err) == (code, f"--fail-on {condition}: holds for gru\n" if code else "")
    assert json.loads(done.out)["verdict"]["state"] == "vanishing"


def test_fail_on_what_is_not_determined(run):
    """A comparison with a number that there is not is false, so that nothing trips by accident."""
    line = ("analyze", "--cell", "linear", "--gain", "3", *SIZE, "--fail-on")
    assert run(*line, "half_life < 5 or half_life > 5").code == 0
    assert run(*line, "exploding").code == 3


def test_a_bad_verdict_alone_is_no_error(run):
    done = run("analyze", "--cell", "linear", "--gain", "3", *SIZE)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("EXPLODING: ")


@pytest.mark.parametrize(("words", "code"), [("forgets", 3), ("latched,chaotic", 0), ("memory_length < 100", 3)])
def test_fail_on_what_the_state_remembers(run, words, code):
    line = ("analyze", "--cell", "linear", "--hidden", "4", "--steps", "60", "--lags", "0")
    assert run(*line, "--fail-on", words).code == code
