"""Remedies are computed: every number is that of an independent analysis of the changed cell."""

import dataclasses
import json
import math

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain, analyze, create
from gradscope.analysis.orbits import joined
from gradscope.analysis.reach import rate_change, reach
from gradscope.checking.create import directions
from gradscope.networks.cell import cell_class
from gradscope.report.remedy import Base, Remedy, best, helps
from gradscope.result import Result

SIZES = {"hidden_size": 8, "input_size": 3}
QUICK = {"steps": 60, "batch": 4, "warmup": 5, "lags": 0}


def remedies(result):
    return {r["change"]: r for r in result.document["remedies"]}


def finding(result, code):
    (found,) = (f for f in result.verdict["findings"] if f["code"] == code)
    return found


def agrees(row, alone):
    m = alone.metrics
    assert row["state"] == alone.verdict["state"]
    for key in ("rate", "rate_ci95", "reach", "log10_gain"):
        assert row[key] == m[key], key  # the same operations: the same digits


@pytest.mark.parametrize("loss", ["last", "mean"])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "linear"])
def test_numbers_are_those_of_an_analysis_of_the_changed_cell(name, loss):
    cell = create(name, **SIZES)
    result = analyze(cell, loss=loss, remedies=True, **QUICK)
    missing = math.exp(-result.metrics["rate"])
    changes = cell.changes(missing, 60)
    assert set(remedies(result)) == set(changes)
    for change, make in changes.items():
        agrees(remedies(result)[change], analyze(make(), loss=loss, **QUICK))


def test_numbers_of_a_cell_that_was_built_so():
    """Without the machinery of changes: the weights are written down."""
    cell = create("lstm", **SIZES)
    b = cell.b_ih.copy()
    b[8:16] += 1
    built = cell_class("lstm")(W=cell.W, U=cell.U, b_ih=b, b_hh=cell.b_hh)
    x = np.random.default_rng(0).standard_normal((4, 70, 3))
    gradient = np.random.default_rng(1).standard_normal((4, 8))
    options = {"loss_gradient": gradient, "warmup": 10, "lags": 0}
    agrees(remedies(analyze(cell, x, remedies=True, **options))["forget bias +1"], analyze(built, x, **options))


@pytest.mark.parametrize("reverse", ["l1", "l1.reverse"])
def test_directions_and_their_loss_gradients(reverse):
    cell = directions("gru", layers=2, **SIZES)[reverse]
    gradient = np.random.default_rng(1).standard_normal((4, 60, 8))
    x = np.random.default_rng(0).standard_normal((4, 60, 3))
    result = analyze(cell, x, loss_gradient=gradient, remedies=True, lags=0)
    changed = cell.changes(math.exp(-result.metrics["rate"]), 60)["update bias +1"]()
    agrees(remedies(result)["update bias +1"], analyze(changed, x, loss_gradient=gradient, lags=0))


@pytest.mark.parametrize("name", ["gru", "rnn"])
def test_a_network_that_feeds_itself(name):
    """The lead-in is run anew by the changed network, and there is no input to speak of."""
    cell = gradscope.closed_loop(create(name, **SIZES))
    result = analyze(cell, remedies=True, **QUICK)
    rows = remedies(result)
    changes = cell.changes(math.exp(-result.metrics["rate"]), 60)
    assert set(rows) == set(changes)
    for change, make in changes.items():
        agrees(rows[change], analyze(make(), **QUICK))
    top = result.document["remedies"][0]
    assert top["helps"]
    assert "on the same lead-in" in finding(result, "GS-VANISHING")["remedy"]
    assert "inputs" not in finding(result, "GS-REMEDIES")["message"]


def test_lead_in():
    cell = create("gru", **SIZES)
    x, before = np.random.default_rng(0).standard_normal((2, 4, 60, 3))
    result = analyze(cell, x, lead_in=before, remedies=True, lags=0)
    changed = cell.changes(math.exp(-result.metrics["rate"]), 60)["update bias +1"]()
    agrees(remedies(result)["update bias +1"], analyze(changed, x, lead_in=before, lags=0))


def test_nothing_else_of_the_document_changes():
    cell = create("gru", **SIZES)
    plain, asked = (analyze(cell, remedies=r, **QUICK).document for r in (False, True))
    for key in ("metrics", "series", "model", "nonfinite", "warnings"):
        assert plain[key] == asked[key]
    assert "remedies" not in plain
    assert "remedies" not in plain["config"]
    assert asked["verdict"]["sentence"] == plain["verdict"]["sentence"]


def test_without_being_asked_nothing_is_run_again(monkeypatch):
    monkeypatch.setattr("gradscope.api.try_changes", lambda *_: pytest.fail("a change was tried"))
    analyze(create("gru", **SIZES), **QUICK)


def test_a_linear_cell_in_closed_form():
    """J = U: times k moves the rate by log k in every sequence, and an orthogonal U keeps every gradient as it is."""
    cell = create("linear", **SIZES)
    result = analyze(cell, remedies=True, **QUICK)
    rate = result.metrics["rate"]
    rows = remedies(result)
    for change, row in rows.items():
        if "times" in change:
            k = float(change.rsplit(" ", 1)[1])
            assert row["rate"] == pytest.approx(rate + math.log(k), abs=1e-12)
            assert row["rate_change_ci95"] == pytest.approx([math.log(k)] * 2, abs=1e-12)
            assert row["helps"] == (abs(rate + math.log(k)) < abs(rate) and row["state"] != "exploding")
    orthogonal = rows["orthogonal recurrent weights"]
    # 60 products of 8 terms: a few hundred roundings over 60 steps
    assert orthogonal["rate"] == pytest.approx(0, abs=1e-14)
    assert (orthogonal["state"], orthogonal["reach"], orthogonal["helps"]) == ("stable", 60, True)


def test_an_exploding_linear_cell_is_brought_back():
    result = analyze(create("linear", gain=4, **SIZES), remedies=True, **QUICK)
    assert result.verdict["state"] == "exploding"
    assert all(float(c.rsplit(" ", 1)[1]) < 1 for c in remedies(result) if "times" in c)
    top = result.document["remedies"][0]
    assert top["helps"]
    assert top["state"] == "stable"
    assert "the gain over the run from" in finding(result, "GS-EXPLODING")["remedy"]


def test_the_forget_bias_helps_a_default_lstm():
    """The road around the weights is f: about 1/2 as drawn, sigmoid(1) = 0.73 and sigmoid(3) = 0.95 after a change."""
    result = analyze(create("lstm"), remedies=True, lags=0)
    rows = remedies(result)
    for change, f in (("forget bias +1", 1 / (1 + math.exp(-1))), ("forget bias +3", 1 / (1 + math.exp(-3)))):
        assert rows[change]["helps"]
        assert rows[change]["rate_change_ci95"][0] > 0.1
        # the gradient shrinks no faster than what goes around the weights alone
        assert rows[change]["rate"] > math.log(f)
    assert rows["forget bias +1"]["reach"] > 2 * result.metrics["reach"]
    top = result.document["remedies"][0]
    said = finding(result, "GS-VANISHING")["remedy"]
    assert said.startswith(
        f"With {top['change']} the rate changes from {result.metrics['rate']:.3g} to {top['rate']:.3g}"
    )
    assert f"the reach from {result.metrics['reach']} to {top['reach']} steps" in said
    assert "same inputs" in said
    assert "--remedies" not in said


def test_best_first():
    rows = analyze(create("lstm"), remedies=True, lags=0).document["remedies"]
    keys = [(not r["helps"], abs(r["rate"])) for r in rows]
    assert keys == sorted(keys)


def test_overshooting_does_not_help():
    """A linear cell that lacks 1.7 at each step: times 1.7 is level, times 2.9 explodes."""
    rows = analyze(create("linear"), remedies=True, lags=0).document["remedies"]
    overshot = [r for r in rows if r["state"] == "exploding"]
    assert overshot
    assert not any(r["helps"] for r in overshot)


def test_stable_has_nothing_to_remedy():
    result = analyze(create("linear", init="orthogonal", **SIZES), remedies=True, **QUICK)
    assert result.verdict["state"] == "stable"
    assert result.document["remedies"] == []
    assert "neither vanishes nor explodes" in finding(result, "GS-REMEDIES")["message"]
    assert "Remedies, best first" not in result.render("text")
    assert "neither vanishes nor explodes" in result.render("text")


def test_what_is_not_settled_is_not_remedied():
    short = analyze(create("gru", **SIZES), steps=5, remedies=True)
    assert short.verdict["state"] == "inconclusive"
    assert "not determined" in finding(short, "GS-REMEDIES")["message"]
    U = create("gru", **SIZES).U.copy()
    U[0, 0] = np.nan
    broken = analyze(create("gru", **SIZES).replace(U=U), remedies=True, **QUICK)
    assert broken.verdict["state"] == "nonfinite"
    assert "fixed first" in finding(broken, "GS-REMEDIES")["message"]
    assert short.document["remedies"] == broken.document["remedies"] == []


def test_models_without_weights_have_no_known_change():
    J = JacobianChain.from_arrays(np.full((60, 4, 1, 1), 0.5))
    step = gradscope.from_step(lambda x, s: 0.5 * s + x, state_size=2, input_size=2)
    for result in (analyze(J, remedies=True), analyze(step, remedies=True, steps=30, batch=2)):
        assert result.verdict["state"] == "vanishing"
        assert result.document["remedies"] == []
        assert "none is known for this model" in finding(result, "GS-REMEDIES")["message"]
        assert "--remedies" not in finding(result, "GS-VANISHING")["remedy"]


def dead():
    n = 4
    return cell_class("rnn")(
        W=np.eye(n), U=0.5 * np.eye(n), b_ih=np.full(n, -100.0), b_hh=np.zeros(n), activation="relu"
    )


def test_a_gradient_of_zero_that_nothing_brings_back():
    result = analyze(dead(), remedies=True, steps=30, batch=3)
    rows = result.document["remedies"]
    assert rows
    assert not any(r["helps"] for r in rows)
    assert finding(result, "GS-VANISHING")["remedy"] == f"None of the {len(rows)} changes tried helps."
    assert finding(result, "GS-REMEDIES")["message"].startswith(f"0 of {len(rows)} changes tried help. ")
    assert "Changes tried: none helps" in result.render("text")


def test_a_cell_may_know_its_own_change():
    class Revived(cell_class("rnn")):
        def changes(self, missing_factor, steps):
            assert missing_factor == math.inf
            return {"hidden bias 0": lambda: self.with_bias("h", 1)}

    cell = Revived(**{k: getattr(dead(), k) for k in ("W", "U", "b_ih", "b_hh", "activation")})
    result = analyze(cell, remedies=True, steps=30, batch=3)
    (row,) = result.document["remedies"]
    assert row["helps"]
    assert row["rate_change_ci95"] is None
    assert "With hidden bias 0 the gradient is no longer zero" in finding(result, "GS-VANISHING")["remedy"]
    assert "nonzero in every sequence" in finding(result, "GS-REMEDIES")["message"]


# --- what counts as help


@pytest.mark.parametrize(
    ("base", "state", "rate", "change", "expected"),
    [
        (Base("vanishing", -0.5, False), "vanishing", -0.2, (0.2, 0.4), True),
        (Base("vanishing", -0.5, False), "stable", 0.01, (0.5, 0.52), True),
        (Base("vanishing", -0.5, False), "vanishing", -0.49, (-0.01, 0.03), False),
        (Base("vanishing", -0.5, False), "vanishing", -0.6, (-0.12, -0.08), False),
        (Base("vanishing", -0.5, False), "exploding", 0.1, (0.5, 0.7), False),
        (Base("vanishing", -0.5, False), "inconclusive", 0.6, (1.0, 1.2), False),
        (Base("vanishing", -0.5, False), "nonfinite", None, None, False),
        (Base("vanishing", -0.5, False), "vanishing", -0.2, None, False),
        (Base("vanishing", None, True), "vanishing", -0.2, None, True),
        (Base("vanishing", None, True), "vanishing", None, None, False),
        (Base("vanishing", None, False), "vanishing", -0.2, None, False),
        (Base("exploding", 0.3, False), "exploding", 0.1, (-0.3, -0.1), True),
        (Base("exploding", 0.3, False), "vanishing", -0.1, (-0.5, -0.3), False),
        (Base("exploding", 0.3, False), "exploding", 0.29, (-0.03, 0.01), False),
        (Base("stable", 0.0, False), "stable", 0.0, (0.1, 0.2), False),
    ],
)
def test_help(base, state, rate, change, expected):
    assert helps(base, state, rate, change) is expected


@pytest.mark.parametrize(
    ("base", "state", "rate", "reach", "expected"),
    [
        (Base("vanishing", -0.5, False, 8), "vanishing", -0.5, 40, True),
        (Base("vanishing", -0.5, False, 8), "vanishing", -0.6, 16, True),  # farther at first, and then a steeper fall
        (Base("vanishing", -0.5, False, 8), "vanishing", -0.6, 15, False),
        (Base("vanishing", -0.5, False, 2), "vanishing", -0.6, 6, False),  # four steps more
        (Base("vanishing", -0.5, False, 2), "vanishing", -0.6, 7, True),
        (Base("vanishing", -0.5, False, 8), "inconclusive", 0.6, 200, False),  # grows faster than it shrank
        (Base("vanishing", -0.5, False, 8), "inconclusive", 0.1, 200, True),
        (Base("vanishing", -0.5, False, 8), "exploding", 0.1, 200, False),
        (Base("vanishing", -0.5, False, 8), "nonfinite", None, None, False),
        (Base("vanishing", None, False, 8), "vanishing", None, 40, True),  # some gradients are zero, before and after
        (Base("vanishing", -0.5, False, None), "vanishing", -0.5, 40, False),
        (Base("vanishing", -0.5, False, 8), "stable", -0.01, 12, True),
        (Base("exploding", 0.5, False, 200), "stable", 0.01, 200, True),
        (Base("exploding", 0.5, False, 20), "exploding", 0.5, 200, False),
    ],
)
def test_a_clearly_larger_reach_or_a_better_verdict_helps(base, state, rate, reach, expected):
    """Without an interval of the change of the rate."""
    assert helps(base, state, rate, None, reach) is expected


def test_a_larger_reach_is_what_sentence_and_table_say():
    """Relu units that one input shuts: the gradient is zero beyond, and before that it falls by U a step.

    The rate over the run is not determined with either U; 0.5^9 and 0.9^59 are the last powers above 0.001, for the
    input at step 60 of 120 shuts the units.
    """
    n = 4

    class Shut(cell_class("rnn")):
        def changes(self, missing_factor, steps):
            return {"slower decay": lambda: self.replace(U=0.9 * np.eye(n))}

    weights = {"W": np.eye(n), "U": 0.5 * np.eye(n), "b_ih": np.ones(n), "b_hh": np.zeros(n)}
    inputs = np.random.default_rng(0).random((4, 120, n))
    inputs[:, 60] = -1e3
    result = analyze(Shut(**weights, activation="relu"), inputs, remedies=True, lags=0)
    (row,) = result.document["remedies"]
    assert (result.metrics["reach"], row["reach"], row["rate"], row["helps"]) == (9, 59, None, True)
    said = finding(result, "GS-VANISHING")["remedy"]
    assert said.startswith("With slower decay the reach changes from 9 to 59 steps: still vanishing")
    note = finding(result, "GS-REMEDIES")["message"]
    assert note.startswith("1 of 1 changes tried helps: it, alone and on the same inputs, at least doubles the reach.")
    assert "yes" in next(line for line in result.render("text").splitlines() if line.startswith("slower decay"))


def test_order():
    def row(name, rate, good):
        return Remedy(name, "vanishing", rate, None, None, 1, -1.0, good)

    rows = (row("a", None, False), row("b", 0.001, False), row("c", -0.3, True), row("d", 0.1, True))
    assert [r.change for r in best(rows, "vanishing")] == ["d", "c", "b", "a"]
    far = dataclasses.replace(row("e", -0.5, True), reach=40)
    assert [r.change for r in best((*rows, far), "vanishing")] == ["e", "d", "c", "b", "a"]
    assert [r.change for r in best((*rows, far), "exploding")] == ["d", "c", "e", "b", "a"]


def test_sequences_are_paired():
    """Inputs that differ widely, and a change that does the same to each: the interval is that of the change alone."""
    rng = np.random.default_rng(0)
    slopes = -0.3 + 0.2 * rng.standard_normal(8)
    before = np.linspace(1, 0, 101)[:, None] * slopes * 100
    noise = 0.001 * np.array([-1, -1, -1, -1, 1, 1, 1, 1])
    after = before + np.linspace(1, 0, 101)[:, None] * (0.05 + noise) * 100
    half = 2.364624 * 0.001 * np.sqrt(8 / 7) / np.sqrt(8)  # Student's t, 7 degrees of freedom
    assert rate_change(before, after) == pytest.approx((0.05 - half, 0.05 + half), rel=1e-6)
    apart = [np.ptp(reach(x).interval) for x in (before, after)]
    assert min(apart) > 0.1  # unpaired, the difference would drown
    assert rate_change(before, before) == (0, 0)


def test_sequences_that_run_together_in_either_run_count_once():
    assert joined(np.arange(4), np.arange(4)).tolist() == [0, 1, 2, 3]
    assert joined(np.array([0, 0, 2, 3]), np.array([0, 1, 1, 3])).tolist() == [0, 0, 0, 3]
    assert len(set(joined(np.array([0, 1, 2, 2]), np.array([0, 1, 0, 1])))) == 1
    rng = np.random.default_rng(0)
    before, after = rng.standard_normal((2, 101, 4)).cumsum(axis=1)
    pairs = np.array([0, 0, 2, 2])
    means = [x.reshape(101, 2, 2).mean(axis=2) for x in (before, after)]
    assert rate_change(before, after, pairs) == pytest.approx(rate_change(*means), rel=1e-12)


def test_a_change_that_cannot_be_told():
    zero = np.full((50, 3), -np.inf)
    assert rate_change(zero, np.zeros((50, 3))) is None


# --- showing it


@pytest.fixture(scope="module")
def shown():
    return analyze(create("gru", **SIZES), remedies=True, **QUICK)


@pytest.mark.parametrize("width", [40, 80, 200, None])
def test_text_at_any_width(shown, width):
    text = shown.render("text", width=width)
    words = " ".join(text.replace("│", " ").split())
    assert "Remedies, best first" in words
    if width:
        assert max(map(len, text.splitlines())) <= width
    for row in shown.document["remedies"]:
        assert f"{row['rate']:.3g}" in words
        assert width == 80 or row["change"] in words  # there the column is folded


def test_markdown_has_the_table_and_csv_has_not(shown):
    change = shown.document["remedies"][0]["change"]
    assert f"| {change} |" in shown.render("md")
    assert change not in shown.render("csv")


def test_a_saved_result_shows_the_same(shown):
    again = Result(json.loads(shown.to_json()))
    assert again.render("text") == shown.render("text")


def test_a_comparison_has_the_best_of_each():
    cells = {n: create(n, **SIZES) for n in ("rnn", "gru")}
    cells["flat"] = create("linear", init="orthogonal", **SIZES)
    result = gradscope.compare(cells, remedies=True, **QUICK)
    (table,) = (t for t in result.report.tables if t.title.startswith("Best change of each model"))
    rows = {r[0]: r for r in table.rows}
    assert list(rows) == result.verdict["order"]
    for r in result.document["results"]:
        if r["name"] != "flat":
            top = r["remedies"][0]
            assert rows[r["name"]][1:4] == (top["change"], top["state"], top["rate"])
    assert rows["flat"][1] == "none needed"
    (vanishing,) = (f for f in result.report.findings if f.code == "GS-VANISHING")
    assert vanishing.remedy.startswith("rnn: With ")
    assert len(gradscope.compare(cells, **QUICK).report.tables) == 1
