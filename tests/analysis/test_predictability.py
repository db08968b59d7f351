"""The predictability horizon: closed forms, a naive twin, and what a rounding error of the input does."""

import numpy as np
import pytest

import gradscope
from gradscope.analysis._run import Run
from gradscope.analysis.predictability import LEAST_DECADES, SEQUENCES, gain_change, horizon
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run

LN2 = np.log(2.0)
QUICK = {"lags": 1, "spectrum": 1, "step_spectra": 1}


def codes(result):
    return [f["code"] for f in result.verdict["findings"]]


def driven(name, gain=1.0, *, hidden=32, steps=300, dtype="float64", **settings):
    """Return a network and inputs for it."""
    cell = gradscope.create(name, hidden_size=hidden, input_size=8, gain=gain, dtype=dtype, **settings)
    return cell, np.random.default_rng(0).standard_normal((SEQUENCES, steps, 8))


def gains(result):
    """Return log10 gain of every sequence, from the quantiles that the document has."""
    band = result.series["log10_gradient_norm"]["state"]
    return np.array([band[q][0] - band[q][-1] for q in ("p05", "median", "p95")])


def test_an_error_that_doubles_takes_one_step_a_bit():
    assert horizon(LN2, 2.0**-52) == pytest.approx(52, rel=1e-14)
    assert horizon(LN2 / 3, 2.0**-23) == pytest.approx(69, rel=1e-14)


def logistic(steps=400):
    """s' = 1 - 2 (s + x)^2 doubles errors: s = sin turns it into the tent map. x is a kick at the first step."""
    cell = gradscope.from_step(lambda x, s: 1 - 2 * (s + x) ** 2, state_size=1, input_size=1)
    kicks = np.zeros((5, steps, 1))
    kicks[:, 0, 0] = [0.11, 0.23, 0.37, 0.41, 0.59]
    return cell, kicks


def test_logistic_map():
    """Its exponent is ln 2, so that float64 holds 52 steps."""
    result = gradscope.analyze(*logistic(), **QUICK)
    # |product of T derivatives| = 2^T sqrt((1 - s_T^2) / (1 - s_0^2)): the rest is a few nats over 400 steps
    assert result.metrics["lyapunov_1"] == pytest.approx(LN2, rel=0.03)
    assert result.metrics["predictability_horizon"] == pytest.approx(52, rel=0.03)
    assert "GS-HORIZON" in codes(result)


@pytest.mark.parametrize(("name", "gain"), [("rnn", 10.0), ("gru", 30.0), ("lstm", 30.0)])
def test_where_it_is_given_one_rounding_error_of_the_input_changes_gains_by_more_than_a_decade(name, gain):
    cell, x = driven(name, gain, hidden=32, steps=400)
    before, after = (gradscope.analyze(cell, y, **QUICK) for y in (x, x * (1 + 1e-15)))
    for result in (before, after):
        metrics = result.metrics
        assert "GS-HORIZON" in codes(result)
        assert metrics["predictability_horizon"] == pytest.approx(52 * LN2 / metrics["lyapunov_1"], rel=1e-12)
        assert metrics["predictability_horizon"] < 400
        assert metrics["rounding_gain_change"] > LEAST_DECADES
    assert np.abs(gains(before) - gains(after)).max() > 1
    # what is an average stays: the exponents agree within their intervals
    low, high = before.series["lyapunov"]["ci95"][0]
    assert low - (high - low) < after.metrics["lyapunov_1"] < high + (high - low)


@pytest.mark.parametrize(
    ("name", "gain", "steps"),
    [
        ("rnn", 1.0, 400),  # forgets
        ("lstm", 1.0, 400),
        ("rnn", 10.0, 40),  # chaotic, and half as long as the horizon
        ("linear", 3.0, 400),  # grows, and its Jacobians do not depend on the state
        ("irnn", 1.3, 300),  # relu units that are on or off
    ],
)
def test_where_it_is_not_given_gains_agree(name, gain, steps):
    cell, x = driven(name, gain, steps=steps)
    before, after = (gradscope.analyze(cell, y, **QUICK) for y in (x, x * (1 + 1e-15)))
    for result in (before, after):
        assert "GS-HORIZON" not in codes(result)
        assert "predictability_horizon" not in result.metrics
    # the least chaotic of these amplifies a rounding error 1e-16 by e^(0.45 * 40) = 7e7
    assert np.abs(gains(before) - gains(after)).max() < 1e-5


def a_run(cell, x, lead, storage=EVERYTHING):
    """Return a run whose first `lead` steps are warm-up."""
    longer = linearise(run(cell, x, warmup=lead, keep=lead, storage=storage))
    chain = longer.after(lead)
    return Run(chain, longer, random_loss(chain))


@pytest.mark.parametrize("storage", [EVERYTHING, CHECKPOINTS])
@pytest.mark.parametrize("lead", [0, 1, 7])
def test_naive_twin(lead, storage):
    """Step by step, with dense Jacobians: the same change of the gains."""
    cell, x = driven("gru", 3.0, hidden=5, steps=30)
    perturbation, first = 1e-3, max(lead, 1)
    one = a_run(cell, x, lead, storage)
    change = gain_change(one, perturbation)
    w = one.loss.direct
    for b in range(len(x)):
        logs = []
        for factor in (1.0, 1 + perturbation):
            s = factor * cell.step(x[b, 0], np.zeros(5))
            P = np.eye(5)
            for t in range(1, x.shape[1]):
                P = cell.jacobian(x[b, t], s).dense() @ P if t >= first else P
                s = cell.step(x[b, t], s)
            logs.append(np.log(np.linalg.norm(P.T @ w[:, b]) / np.linalg.norm(w[:, b])))
        assert change[b] == pytest.approx(abs(logs[1] - logs[0]), rel=1e-7)
    assert len(change) == len(x)


def test_sequences_that_are_run_again_are_the_first():
    cell, x = driven("rnn", 10.0, steps=60)
    more = np.concatenate([x, x])
    assert len(gain_change(a_run(cell, more, 10), 1e-9)) == SEQUENCES


def test_single_precision():
    """Seven digits last 23 / 52 as long."""
    cell, x = driven("rnn", 10.0, steps=60, dtype="float32")
    result = gradscope.analyze(cell, x.astype(np.float32), **QUICK)
    assert result.metrics["predictability_horizon"] == pytest.approx(23 * LN2 / result.metrics["lyapunov_1"], rel=1e-6)
    assert "GS-HORIZON" not in codes(gradscope.analyze(cell.astype(np.float64), x[:, :30], **QUICK))


def test_without_exponents_the_rate_of_the_gradient_is_taken():
    cell, x = driven("rnn", 10.0)
    result = gradscope.analyze(cell, x, lags=0)
    assert result.metrics["predictability_horizon"] == pytest.approx(52 * LN2 / result.metrics["rate"], rel=1e-12)
    (finding,) = [f for f in result.verdict["findings"] if f["code"] == "GS-HORIZON"]
    assert "rate of the gradient" in finding["message"]


def test_table_and_picture():
    cell, x = driven("rnn", 10.0)
    report = gradscope.analyze(cell, x, lags=4, spectrum=1).report
    rows = {row[0]: row[1] for row in report.tables[0].rows}
    steps = report.document["metrics"]["predictability_horizon"]
    assert rows["predictability horizon"] == steps
    marks = {panel.name: [m.x for m in panel.marks] for panel in report.panels if panel.marks}
    assert marks == {"decay": [steps], "product": [steps], "start": [steps]}
    stable = gradscope.analyze(*driven("rnn"), **QUICK).report
    assert not any(panel.marks for panel in stable.panels)
    assert "predictability horizon" not in {row[0] for row in stable.tables[0].rows}
