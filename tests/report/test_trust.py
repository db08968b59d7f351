"""Findings on numbers that were checked, and that there are none where nothing is wrong."""

import dataclasses

import numpy as np
import pytest
import scipy.signal

import gradscope
from gradscope import JacobianChain, create
from gradscope.analysis.lyapunov import lyapunov
from gradscope.analysis.products import products
from gradscope.analysis.reach import reach
from gradscope.report.case import Case
from gradscope.report.sections import lyapunov as exponents_section
from gradscope.report.sections import products as product_section


def trust(growth, product, dtype="float64", warmup=None):
    """Return the findings on exponents and product, of a gradient that stays as it is."""
    model = {"source": "python", "cell": "jacobians" if warmup is None else "linear", "hidden_size": 1}
    case = Case({"reach": reach(np.zeros((2, 1)))}, model=model, config={"dtype": dtype, "warmup": warmup})
    found = [] if growth is None else exponents_section.findings(growth, case)
    return found + ([] if product is None else product_section.findings(product, case))


def codes(chain, dtype="float64", **options):
    growth, product = lyapunov(chain, **options), products(chain, values=None)
    return {f.code: f for f in trust(growth, product, dtype)}


def gaussian(steps, batch, n=4, seed=0, scale=0.5):
    return scale * np.random.default_rng(seed).standard_normal((steps, batch, n, n))


def test_a_sound_chain_has_nothing_to_be_said():
    assert codes(JacobianChain.from_arrays(gaussian(200, 8))) == {}


def test_a_wrong_determinant_is_an_error():
    growth = lyapunov(JacobianChain.from_arrays(gaussian(100, 4)))
    assert trust(growth, None, "float64") == []
    wrong = dataclasses.replace(growth, determinant_error=1e-6)
    (found,) = trust(wrong, None, "float64")
    assert (found.code, found.level) == ("GS-DETERMINANT", "error")
    assert "1e-06" in found.message


def test_a_cell_that_states_a_wrong_determinant_is_found_out(monkeypatch):
    """The rule is checked at run time, for every complete spectrum."""
    from gradscope.maps.jacobian import Jacobian

    right = Jacobian.log_abs_det
    monkeypatch.setattr(Jacobian, "log_abs_det", lambda J: right(J) + 1e-6)
    result = gradscope.analyze(create("lstm", hidden_size=6, input_size=2), steps=40, spectrum=99)
    assert "GS-DETERMINANT" in [f["code"] for f in result.verdict["findings"]]
    assert result.series["lyapunov"]["determinant_error"] == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("power", "dtype", "said"), [(5.5, "float64", False), (6.5, "float64", True), (2, "float32", True)]
)
def test_factors_that_cancel(power, dtype, said):
    """A matrix and its inverse: the condition is 10^(2 power), and 10^12 is what float64 bears, 10^3.3 float32."""
    J = np.tile(np.stack([np.diag([10.0**power, 10.0**-power]), np.diag([10.0**-power, 10.0**power])]), (20, 1, 1))
    found = codes(JacobianChain.from_arrays(J), dtype)
    assert ("GS-NOT-DETERMINED" in found) == said


def test_a_change_in_the_middle():
    J = gaussian(400, 8)
    J[200:] *= 2
    found = codes(JacobianChain.from_arrays(J), burn=0)["GS-NOT-CONVERGED"]
    assert found.level == "warning"
    assert found.message.startswith("The first Lyapunov exponent has not converged (and 3 more of 4)")


def test_a_power_law_is_told_from_an_exponential():
    """h' = tanh(h): J = 1 - h^2, and the product falls as t^-1.5 forward from the start."""
    h, J = 0.9, []
    for _ in range(4000):
        h = np.tanh(h)
        J.append([[1 - h * h]])
    found = codes(JacobianChain.from_arrays(np.array(J)))
    assert "t^-1.5" in found["GS-ALGEBRAIC"].message
    assert "forward from the first step" in found["GS-ALGEBRAIC"].message
    assert "GS-ALGEBRAIC" not in codes(JacobianChain.from_arrays(np.full((4000, 1, 1), 0.999)))
    assert "GS-ALGEBRAIC" not in codes(JacobianChain.from_arrays(np.full((4000, 1, 1), 1.0)))


def test_a_product_that_grows_first():
    """Radius 0.9, and 3.9 times at lag 9 is no decade; radius 0.97 with a larger corner is."""
    for corner, said in ((1.0, False), (5.0, True)):
        chain = JacobianChain.from_arrays(np.tile(np.array([[0.9, corner], [0.0, 0.9]]), (150, 1, 1)))
        found = codes(chain)
        assert ("GS-TRANSIENT" in found) == said
    assert "9 steps back" in found["GS-TRANSIENT"].message or "10 steps back" in found["GS-TRANSIENT"].message


def test_exponents_that_rounding_decides():
    rng = np.random.default_rng(2)
    J = np.array([np.outer(*rng.standard_normal((2, 4))) + np.outer(*rng.standard_normal((2, 4))) for _ in range(50)])
    found = trust(lyapunov(JacobianChain.from_arrays(J)), None, "float64")
    assert [f.message for f in found if f.code == "GS-NOT-DETERMINED"] == [
        "2 of 4 Lyapunov exponents are not determined: rounding errors dominate them."
    ]


def test_the_document_carries_all_of_it():
    result = gradscope.analyze(create("lstm", hidden_size=5, input_size=2), steps=60, spectrum=99)
    series, metrics = result.series, result.metrics
    n = 10
    assert len(series["lyapunov"]["exponents"]) == len(series["lyapunov"]["ci95"]) == n
    assert series["lyapunov"]["exponents"][0] == metrics["lyapunov_1"]
    assert series["lyapunov"]["determinant_error"] <= 1e-9
    assert all(len(row) == n for row in series["singular"]["log10_values"])
    assert None not in series["singular"]["log10_values"][-1]
    assert series["singular"]["log10_values"][-1][0] == series["product"]["log10_spectral_norm"][-1]
    # over the whole run, forward and back are one matrix
    assert series["reached_from_start"]["log10_spectral_norm"][-1] == pytest.approx(
        series["product"]["log10_spectral_norm"][-1], abs=1e-10
    )
    eigenvalues = series["product_eigenvalues"]["log10_values"]
    assert eigenvalues[0] == pytest.approx(series["product"]["log10_spectral_radius"][-1], abs=0.005)  # one per cent
    # singular values and eigenvalues multiply to the same determinant
    assert sum(eigenvalues) == pytest.approx(sum(series["singular"]["log10_values"][-1]), abs=1e-5)
    assert metrics["surviving_directions"] == series["singular"]["surviving_directions"][-1] == 0
    assert metrics["kaplan_yorke_dimension"] == 0
    assert metrics["product_condition"] >= 1
    names = {p.name for p in result.report.panels}
    assert {"product", "start", "lyapunov", "convergence"} <= names
    text = result.render("text")
    for words in ("exponent 1", "exponent 10", "sum - ln|det J|", "surviving directions", "Kaplan-Yorke dimension"):
        assert words in text


def test_no_lags_no_spectra():
    result = gradscope.analyze(create("gru", hidden_size=5, input_size=2), steps=20, lags=0)
    assert not {"lyapunov", "singular", "product_eigenvalues", "reached_from_start"} & set(result.series)
    assert "lyapunov_1" not in result.metrics


def test_a_comparison_draws_the_exponents_of_each():
    cells = {name: create(name, hidden_size=5, input_size=2) for name in ("rnn", "gru")}
    panel = next(p for p in gradscope.compare(cells, steps=30).report.panels if p.name == "lyapunov")
    assert [c.label for c in panel.curves] == ["rnn", "gru"]
    assert list(panel.curves[0].x) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_no_panel_has_a_row_of_its_own(name):
    panels = gradscope.analyze(create(name, hidden_size=8, input_size=2), steps=30).report.panels
    assert sum(2 if p.wide else 1 for p in panels) % 3 != 1  # two that are left share the last row


def autoregression(steps, batch, a=0.8, seed=0):
    """Scalars whose logarithms are 0.1 times an AR(1): so many steps count as (1 + a) / (1 - a) = 9 do for one."""
    noise = np.random.default_rng(seed).standard_normal((steps + 100, batch))
    logs = scipy.signal.lfilter([1.0], [1.0, -a], noise, axis=0)[100:]
    return JacobianChain.from_arrays(np.exp(0.1 * logs)[..., None, None])


@pytest.mark.parametrize(("steps", "batch", "said"), [(400, 1, True), (4000, 1, False), (400, 8, False)])
def test_one_orbit_that_is_short_for_its_correlation(steps, batch, said):
    """900 steps are wanted; 400 are less than half, 4000 more than four times that."""
    found = {f.code: f for f in trust(lyapunov(autoregression(steps, batch), burn=0), None, "float64")}
    assert ("GS-FEW-STEPS" in found) == said
    if said:
        wanted = int(found["GS-FEW-STEPS"].remedy.split("Measure ")[1].split(" steps")[0].replace(" ", ""))
        assert 450 <= wanted <= 1800
        assert "400 steps" in found["GS-FEW-STEPS"].message


def test_a_direction_that_is_not_forgotten():
    """Two directions 0.02 nats per step apart, in 40 steps: e^-0.8 of the beginning is left."""
    growth = lyapunov(JacobianChain.from_arrays(np.tile(np.diag([1.0, np.exp(-0.02)]), (40, 1, 1))), burn=0, seed=3)
    found = {f.code: f for f in trust(growth, None, "float64")}["GS-NOT-CONVERGED"]
    assert found.level == "info"
    assert f"{growth.start_dependence[0]:.2g} nats" in found.message
    unmoved = dataclasses.replace(growth, start_dependence=0 * growth.start_dependence)
    assert "GS-NOT-CONVERGED" not in {f.code for f in trust(unmoved, None, "float64")}


@pytest.mark.parametrize(("rate", "warmup", "left"), [(-0.01, 50, "0.22"), (-0.01, 300, None), (0.01, 0, "2.7")])
def test_a_start_that_is_not_forgotten(rate, warmup, left):
    """h' = e^rate h for 200 steps: half way, e^(rate (warmup + 100)) of a difference is left."""
    growth = lyapunov(JacobianChain.from_arrays(np.full((200, 1, 1), np.exp(rate))), burn=0)
    found = {f.code: f for f in trust(growth, None, "float64", warmup)}
    assert ("GS-NOT-SETTLED" in found) == (left is not None)
    if left:
        assert f"about {left} times" in found["GS-NOT-SETTLED"].message
    assert "GS-NOT-SETTLED" not in {f.code for f in trust(growth, None, "float64")}


def of_numbers(sizes, **options):
    """Return the codes of what is found of a chain of numbers."""
    chain = JacobianChain.from_arrays(np.asarray(sizes, float)[:, None, None])
    return [f.code for f in trust(None, products(chain, **options), "float64")]


@pytest.mark.parametrize("lags", [2, 4, 8, 16, 32])
def test_an_exponential_is_no_power_law_however_few_lags_are_seen(lags):
    assert of_numbers(np.full(200, 0.9), lags=lags) == []


def test_a_power_law():
    t = np.arange(1, 257)
    assert of_numbers((t / (t + 1)) ** 1.5, lags=32) == ["GS-ALGEBRAIC"]


def test_a_product_of_zero_is_determined():
    assert of_numbers(np.r_[np.full(9, 0.5), 0.0, np.full(9, 0.5)]) == []
