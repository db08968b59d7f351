"""Time constants of units that do not see one another, against closed forms."""

import numpy as np
import pytest

import gradscope
from gradscope import create
from gradscope.analysis.timescales import NEAR_ONE, time_scales
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run


def along(cell, steps=40, batch=2):
    return linearise(run(cell, np.random.default_rng(0).standard_normal((batch, steps, cell.input_size))))


def test_lru_is_its_decay():
    """|lambda| = exp(-exp(nu)), whatever the input: tau = exp(-nu)."""
    cell = create("lru", hidden_size=9, input_size=2, seed=1)
    found = time_scales(along(cell))
    np.testing.assert_allclose(found.steps, np.exp(-cell.nu)[:, None] * np.ones((1, 2)), rtol=1e-11)
    assert found.near_one == (np.exp(-np.exp(cell.nu)) > 1 - NEAR_ONE).mean()


def test_s4d_is_dt_and_the_real_part():
    """tau = 1 / (dt |Re A|), the same for all states of a channel where Re A = -1/2."""
    cell = create("s4d", hidden_size=3, input_size=2, states=4)
    wanted = np.repeat(2 / np.exp(cell.log_dt), 4)
    np.testing.assert_allclose(time_scales(along(cell)).steps[:, 0], wanted, rtol=1e-11)


def test_selective_ssm_with_steps_that_do_not_depend_on_the_input():
    """With W = 0, d = softplus(b_d): tau = 1 / (d |A|)."""
    cell = create("selective_ssm", hidden_size=3, input_size=2, states=4)
    cell = cell.replace(W=np.zeros_like(cell.W), b_ih=np.zeros_like(cell.b_ih))
    d = np.log1p(np.exp(cell.b_d))
    np.testing.assert_allclose(
        time_scales(along(cell)).steps[:, 0], (1 / (d[:, None] * np.exp(cell.A_log))).ravel(), rtol=1e-11
    )


def test_units_that_never_forget_and_that_forget_at_once():
    cell = create("indrnn", hidden_size=3, input_size=2, activation="relu")
    cell = cell.replace(u=np.array([1.0, 0.5, 0.0]), W=np.zeros((3, 2)), b_ih=np.ones(3))  # all units are on
    found = time_scales(along(cell))
    np.testing.assert_allclose(found.steps[:, 0], [np.inf, 1 / np.log(2), 0.0])
    assert found.near_one == pytest.approx(1 / 3)
    document = gradscope.analyze(cell, steps=20, batch=2).to_dict()
    assert document["metrics"]["time_constant"]["max"] is None
    assert any(r["path"] == "metrics.time_constant.max" and r["kind"] == "inf" for r in document["nonfinite"])
    assert "GS-NEAR-ONE" in {f["code"] for f in document["verdict"]["findings"]}


def test_not_of_units_that_see_one_another():
    assert time_scales(along(create("gru", hidden_size=3, input_size=2))) is None
    assert "time_constant" not in gradscope.analyze(create("gru", hidden_size=3, input_size=2), steps=9).metrics


def facts(name, **settings):
    cell = create(name, hidden_size=6, input_size=3, **settings)
    return cell, gradscope.analyze(cell, steps=30, batch=2, lags=0).metrics["of_cell"]


def test_euler_factor_of_antisymmetric_weights():
    """Eigenvalues of M are i w - gamma: |1 + epsilon mu|^2 = (1 - epsilon gamma)^2 + epsilon^2 w^2."""
    cell, found = facts("antisymmetric", epsilon=0.2, gamma=0.0)
    w = np.linalg.norm(cell.U - cell.U.T, 2)
    assert found["largest Euler factor"]["value"] == pytest.approx(np.sqrt(1 + 0.04 * w * w), rel=1e-12)


def test_rglru_next_to_one():
    """With r = 1 at every step, a = sigmoid(L)^8."""
    cell, _ = facts("rglru")
    cell = cell.replace(b_ih=np.concatenate([np.full(6, 60.0), cell.b_ih[6:]]))
    found = gradscope.analyze(cell, steps=30, batch=2, lags=0).metrics["of_cell"]
    a = 1 / (1 + np.exp(-cell.L.max())) ** 8
    assert found["least 1 - a"]["value"] <= 1 - a + 1e-12
    slope = found["slope of sqrt(1 - a^2)"]["value"]
    least = found["least 1 - a"]["value"]
    assert slope == pytest.approx((1 - least) / np.sqrt(1 - (1 - least) ** 2), rel=1e-9)


@pytest.mark.parametrize("name", ["slstm", "unicornn", "exprnn", "ltc"])
def test_facts_are_numbers_with_a_meaning(name):
    _, found = facts(name)
    assert found and all(np.isfinite(f["value"]) and f["meaning"] for f in found.values())


def test_unicornn_keeps_areas():
    assert facts("unicornn")[1]["|det J - 1|"]["value"] < 1e-14  # a few roundings
