"""What arrives in each layer, against chains whose gradients are known."""

from types import SimpleNamespace

import numpy as np
import pytest

import gradscope
from gradscope import create, stack
from gradscope.analysis.depth import LayerGradient, depth
from gradscope.networks.cell import cell_class
from gradscope.report.case import Case
from gradscope.report.present import from_document
from gradscope.report.sections import depth as section

OUTPUTS = {"l0": "l0.h", "l1": "l1.h"}
LN10 = np.log(10.0)


def linear(U, W):
    return cell_class("linear")(W=np.full((1, 1), W), U=np.full((1, 1), U), b_ih=np.zeros(1), b_hh=None)


@pytest.mark.parametrize("residual", [False, True])
def test_two_scalar_layers(residual):
    """h0 <- a h0 + x, h1 <- b h1 + w h0: dL/dh0 sums w b^j a^(k - j) over ways of k steps; a^k more with a residual."""
    a, b, w, T = 0.5, 0.8, 0.01, 40
    network = stack([linear(a, 1.0), linear(b, w)], residual=residual)
    document = gradscope.analyze(network, steps=T, batch=2, lags=0).document
    lower, upper = document["metrics"]["layers"]
    k = np.arange(T)  # the first state has no total
    total = w * sum(np.where(j <= k, b**j * a ** np.maximum(k - j, 0), 0) for j in range(T)) + residual * a**k
    assert (lower["name"], upper["name"]) == ("l0", "l1")
    assert lower["log10_last"] == pytest.approx(np.log10(total[0]), abs=1e-12)
    assert lower["log10_largest"] == pytest.approx(np.log10(total.max()), abs=1e-12)
    assert lower["lag_of_largest"] == total.argmax()
    assert lower["reach"] == np.flatnonzero(total >= 1e-3).max()
    assert upper["reach"] == np.flatnonzero(b**k >= 1e-3).max() and upper["log10_last"] == 0


def flat(*logs):
    return {f"l{i}.h": np.tile(np.array(values)[:, None], (1, 3)) for i, values in enumerate(logs)}


def test_what_is_not_known_is_not_said():
    some = [-3.0, -2.0, -1.0]
    assert depth(flat(some, some), {}, 1e-3) == ()
    assert depth(flat(some, [0.0, 0.0, -np.inf]), OUTPUTS, 1e-3) == ()  # the loss gives the top layer nothing
    assert depth(flat([np.nan, 0.0, 0.0], some), OUTPUTS, 1e-3) == ()
    assert depth(flat([np.inf, 0.0, 0.0], some), OUTPUTS, 1e-3) == ()


def test_nothing_and_all():
    lower, upper = depth(flat([-np.inf] * 3, [0.0, 0.0, 0.0]), OUTPUTS, 1e-3)
    assert lower.reach is None and np.isneginf(lower.log_largest) and lower.lag == 0
    assert (upper.reach, upper.log_last) == (2, 0.0)


def test_totals_are_taken_where_they_are_there():
    logs = flat([-9.0] * 3, [0.0] * 3) | {"l0.h_total": np.full((3, 2), -1.0)}
    assert depth(logs, OUTPUTS, 1e-3)[0].log_last == -1.0


def test_said_of_layers_below_the_threshold_and_of_no_others():
    """Input weights a hundredth as large: each layer down is two decades or so further from the loss."""
    network = create("lstm", hidden_size=6, input_size=3, layers=4)
    thin = {n: c if n == "l0" else c.replace(W=c.W / 100) for n, c in network.layers.items()}
    result = gradscope.analyze(network.over(thin), steps=20, batch=2, lags=0)
    reaches = {x["name"]: x["reach"] for x in result.metrics["layers"]}
    never = [name for name, reach in reaches.items() if reach is None]
    assert 1 < len(never) < 4
    (finding,) = [f for f in result.verdict["findings"] if f["code"] == "GS-DEPTH"]
    assert finding["message"].startswith(f"Layers {never[0]} to {never[-1]} receive less than 0.1 %")
    (table,) = [t for t in from_document(result.document).tables if t.title.startswith("Gradient per layer")]
    assert [row[0] for row in table.rows] == ["l3", "l2", "l1", "l0"]
    assert [row[-1] == "never" for row in table.rows] == [reaches[row[0]] is None for row in table.rows]
    through = gradscope.analyze(stack(thin, residual=True), steps=20, batch=2, lags=0)
    assert not [f for f in through.verdict["findings"] if f["code"] == "GS-DEPTH"]


@pytest.mark.parametrize(
    ("between", "words", "others"),
    [
        ({}, ["Residual", "; normalisation"], []),
        ({"norm": "layer norm"}, ["Residual"], ["ormalisation"]),
        ({"residual": True}, ["Normalisation"], ["esidual"]),
        ({"residual": True, "norm": "layer norm"}, ["fewer layers"], ["esidual", "ormalisation"]),
    ],
)
def test_only_what_the_network_has_not_is_advised(between, words, others):
    layers = tuple(LayerGradient(name, -9.0, -9.0, 0, far) for name, far in (("l0", None), ("l1", 5)))
    case = Case({"reach": SimpleNamespace(threshold=1e-3)}, model={"source": "init", **between})
    (finding,) = section.findings(layers, case)
    assert all(word in finding.remedy for word in words)
    assert not any(word in finding.remedy for word in others)


def test_a_layer_that_gets_nothing_at_all():
    network = create("rnn", hidden_size=4, input_size=3, layers=2)
    cut = {n: c if n == "l0" else c.replace(W=np.zeros_like(c.W)) for n, c in network.layers.items()}
    result = gradscope.analyze(network.over(cut), steps=20, batch=2, lags=0)
    assert result.metrics["layers"][0]["log10_largest"] is None
    (table,) = [t for t in result.report.tables if t.title.startswith("Gradient per layer")]
    assert table.rows[-1] == ("l0", "zero", "zero", 0, "never")
    assert [f["message"] for f in result.verdict["findings"] if f["code"] == "GS-DEPTH"][0].startswith(
        "Layer l0 receives"
    )


def test_a_loss_that_ends_before_the_run():
    """Where the gradient is exactly zero, so is the total: not nan."""
    network = create("gru", hidden_size=4, input_size=3, layers=2)
    gradient = np.zeros((2, 200, 4))
    gradient[:, :100] = 1.0
    document = gradscope.analyze(network, np.ones((2, 200, 3)), loss_gradient=gradient, lags=0).document
    assert not [r for r in document["nonfinite"] if r["kind"] == "nan"]
    totals = document["series"]["log10_gradient_norm"]["l0.h_total"]["median"]
    assert all(x is None for x in totals[101:]) and all(x is not None for x in totals[:101])
