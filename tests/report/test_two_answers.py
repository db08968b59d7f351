"""The verdict has two answers: whether the gradient reaches, and whether the state remembers."""

import json

import jsonschema
import numpy as np
import pytest

from gradscope import JacobianChain, analyze, create
from gradscope.networks import cell_class
from gradscope.report.schema import schema


def scalar(weight, activation="tanh"):
    """h' = f(w h + x), one unit."""
    cell = cell_class("linear" if activation == "linear" else "rnn")
    return cell(np.ones((1, 1)), np.array([[weight]]), None, None)


def noise(scale, steps=100, batch=8, width=1):
    return scale * np.random.default_rng(0).standard_normal((batch, steps, width))


CASES = {
    # saturated at +-0.995: the slope 3 (1 - h^2) is 0.03, and the sign is held for ever
    "latched": (lambda: scalar(3.0), noise(1.0) * (np.arange(100) < 20)[:, None], "vanishing", "latched"),
    # the gradient and the past fall as 0.5^k
    "forgetting": (lambda: scalar(0.5, "linear"), noise(1.0), "vanishing", "forgets"),
    "keeping": (lambda: scalar(0.999, "linear"), noise(1.0), "stable", "remembers"),
    "chaotic": (
        lambda: create("rnn", hidden_size=64, input_size=1, init="gaussian", gain=3.0),
        noise(0.1),
        "exploding",
        "chaotic",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_four_corners(name):
    make, inputs, state, memory = CASES[name]
    result = analyze(make(), inputs, lags=0)
    verdict = result.verdict
    assert (verdict["state"], verdict["memory"]["state"]) == (state, memory)
    assert verdict["sentence"].startswith(f"{state.upper()}: ")
    words = {"latched": "(latched)", "forgets": "forgets within", "remembers": "the whole run", "chaotic": "is chaotic"}
    assert words[memory] in verdict["sentence"]
    jsonschema.validate(json.loads(result.to_json()), schema())


def test_a_latch_says_what_it_is_good_for():
    make, inputs, *_ = CASES["latched"]
    (finding,) = [f for f in analyze(make(), inputs, lags=0).verdict["findings"] if f["code"] == "GS-LATCHED"]
    assert "though the gradient vanishes" in finding["message"]


def test_a_leaky_integrator_forgets_at_the_rate_of_its_gradient():
    """0.5^k falls below 1e-3 at k = log 1000 / log 2 = 9.97, in the state and in the gradient."""
    memory = analyze(scalar(0.5, "linear"), noise(1.0), lags=0).verdict["memory"]
    assert memory["steps"] == pytest.approx(np.log(1000) / np.log(2), rel=1e-9)
    assert memory["steps_ci95"] == [pytest.approx(memory["steps"])] * 2


def test_a_chain_of_jacobians_has_no_state_that_could_remember():
    verdict = analyze(JacobianChain.from_arrays(np.full((20, 1, 1), 0.5))).verdict
    assert "memory" not in verdict
    assert "state" not in verdict["sentence"].partition("(")[0]


def test_saturated_lstm_is_stable_and_remembers():
    """What tanh(c) shuts off is lost once; c keeps the gradient and the past."""
    units, inputs = 8, 2
    rng = np.random.default_rng(0)
    W = 0.3 * rng.standard_normal((4 * units, inputs))
    W[: 2 * units] = 0
    W[3 * units :] = 0
    b = np.repeat([0.0, 40.0, 0.0, 0.0], units)  # i, f, g, o: f = 1
    cell = cell_class("lstm")(W, np.zeros((4 * units, units)), b, None)
    x = noise(1.0, 120, width=inputs)
    x[:, :20] += np.sign(rng.standard_normal((8, 1, inputs))) * 3  # then c walks around +-4
    result = analyze(cell, x, warmup=20)
    assert result.verdict["state"] == "stable"
    assert result.verdict["memory"]["state"] == "remembers"
    assert result.metrics["half_life"] is None or result.metrics["half_life"] > 1000


def test_a_gain_that_rounding_changes_is_written_as_a_power_of_ten():
    """300 steps at about 0.3 nats each: an error of 2 eps is as large as the state after some 120."""
    verdict = analyze(create("rnn", hidden_size=64, input_size=1, init="gaussian", gain=3.0), steps=300, lags=0).verdict
    assert "GS-HORIZON" in [f["code"] for f in verdict["findings"]]
    assert "grows about 10^" in verdict["sentence"]
