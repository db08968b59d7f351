"""What a comparison says of several models."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.api import Origin, run_analysis
from gradscope.report.case import Request
from gradscope.report.comparison import series_order
from gradscope.report.present import from_document
from gradscope.settings import Settings


def small(name="gru", **settings):
    return gradscope.create(name, hidden_size=4, input_size=3, **settings)


def reaches(result, names):
    by_name = {r["name"]: r["metrics"]["reach"] for r in result.document["results"]}
    return [by_name[name] for name in names]


def test_findings_of_one_kind_are_told_once():
    models = {n: small(n) for n in ("rnn", "lstm", "gru")}
    report = gradscope.compare(models, steps=100, lags=0).report
    vanishing = [f for f in report.findings if f.code == "GS-VANISHING"]
    assert len(vanishing) == 1
    assert vanishing[0].message.startswith("rnn: Dependencies longer than ")
    assert vanishing[0].message.endswith("Also, with other values: lstm, gru.")


def test_models_that_were_not_run_alike_are_said_to_be():
    models = {
        "short": gradscope.analyze(small(), steps=20, lags=0),
        "long": gradscope.analyze(small(), steps=40, lags=0),
    }
    document = gradscope.compare(models).document
    assert [w["code"] for w in document["warnings"]] == ["GS-UNLIKE"]
    assert "steps 20 and 40" in document["warnings"][0]["message"]
    assert any(f.code == "GS-UNLIKE" for f in from_document(document).findings)
    alike = gradscope.compare({"a": small(), "b": small(seed=1)}, steps=20, lags=0).document
    assert alike["warnings"] == []


def test_more_models_than_a_sentence_holds():
    models = {name: small(seed=i) for i, name in enumerate("abcdefg")}
    result = gradscope.compare(models, steps=20, lags=0)
    sentence, order = result.verdict["sentence"], result.verdict["order"]
    assert "the other 2 at most 12" in sentence
    named = re.findall(r"\b([a-g])(?: keeps 0.1 % of the gradient for)?(?: all)? \d+", sentence)
    assert named == order[:5]
    assert reaches(result, order) == sorted(reaches(result, order), reverse=True)


def test_a_loss_at_every_step_is_drawn_as_it_is_told():
    """The curve is that of the last step's loss, as reach is; and it is said."""
    inputs = np.random.default_rng(0).normal(size=(3, 60, 3))
    result = gradscope.compare({"gru": small(), "lstm": small("lstm")}, inputs, loss="sum", lags=0)
    report = result.report
    assert any(f.code == "GS-LOSS-EVERYWHERE" for f in report.findings)
    curve = report.panels[0].curves[0]
    reached = next(r for r in result.document["results"] if r["name"] == curve.label)["metrics"]["reach"]
    assert curve.y[reached] >= -3 > curve.y[reached + 1]


def test_names_of_a_file_are_words_to_a_shell():
    """A checkpoint names its layers; a command that is offered for pasting must not run what they say."""
    settings = Settings(layer="x; rm -rf ~", data=Path("a/it's.npy"))
    request = Request("my model.pt", settings)
    origin = Origin({"source": "checkpoint", "path": "my model.pt", "layer": "x; rm -rf ~"}, request=request)
    result = run_analysis(small(), None, Settings(steps=60, lags=0), origin=origin)
    (found,) = (f for f in result.verdict["findings"] if f["code"] == "GS-VANISHING")
    words = shlex.split(found["remedy"].partition(": ")[2])
    assert words[2] == "my model.pt"
    assert words[words.index("--layer") + 1] == "x; rm -rf ~"
    assert words[words.index("--data") + 1] == "a/it's.npy"


def test_a_piped_model_has_no_name_to_compare_by():
    request = Request("", Settings(layer="rnn"))
    origin = Origin({"source": "checkpoint", "path": "standard input", "layer": "rnn"}, request=request)
    result = run_analysis(small(), None, Settings(steps=60, lags=0), origin=origin)
    assert not any("compare" in f["remedy"] for f in result.verdict["findings"])


def times(factor):
    """Return a linear cell that multiplies its state, so that the gradient grows by `factor` a step."""
    cell = gradscope.create("linear", hidden_size=2, input_size=1)
    return cell.replace(U=factor * np.eye(2))


def compared(**models):
    return gradscope.compare(models, steps=100, batch=2, warmup=0, lags=0)


def rows(result):
    return [row[0] for row in result.report.tables[0].rows]


def test_what_explodes_is_said_first_and_then_what_is_not_finite():
    broken = times(0.5).replace(U=np.array([[np.nan, 0], [0, 0.5]]))
    result = compared(fades=times(0.5), broken=broken, ten=times(10.0), keeps=times(1.0), two=times(2.0))
    assert result.verdict["sentence"] == (
        "ten (gradient grows 1.0e100-fold) and two (1.3e30-fold) explode; broken is not finite; "
        "keeps keeps 0.1 % of the gradient for all 100 steps, fades 9 (100 steps, seed 0)"
    )
    # the table has the order of the sentence; the order for programs is that of the reach
    assert rows(result) == ["ten", "two", "broken", "keeps", "fades"]
    assert result.verdict["order"] == ["keeps", "ten", "two", "fades", "broken"]
    assert [f.code for f in result.report.findings][:2] == ["GS-NONFINITE", "GS-EXPLODING"]


def test_one_that_explodes_among_many():
    models = {f"m{'abcdefgh'[i]}": times(2.0 if i == 5 else 0.5) for i in range(8)}
    sentence = compared(**models).verdict["sentence"]
    assert sentence.startswith(
        "mf explodes (its gradient grows 1.3e30-fold); ma keeps 0.1 % of the gradient for 9 steps,"
    )
    everything = compared(a=times(2.0), b=times(3.0), c=times(4.0), d=times(5.0), e=times(6.0))
    assert everything.verdict["sentence"] == (
        "e (gradient grows 6.5e77-fold), d (7.9e69-fold), c (1.6e60-fold) and 2 others explode (100 steps, seed 0)"
    )


def test_checkpoints_of_a_run_stand_in_its_order():
    factors = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 1.0, 1.5, 0.95, 0.9, 0.8]
    steps = [200, 1000, 400, 600, 800, 1200, 1400, 1600, 1800, 2000, 2200, 2400]
    in_order = dict(zip(sorted(steps), factors, strict=True))
    result = compared(**{f"step{step}": times(in_order[step]) for step in steps})
    lags = [int(np.log(1e-3) / np.log(f)) if f < 1 else 100 for f in factors]
    far = ["exploding" if f > 1 else "all 100" if k >= 100 else str(k) for f, k in zip(factors, lags, strict=True)]
    assert far[:4] == ["9", "13", "19", "30"]
    assert result.verdict["sentence"] == (
        "step1800 explodes (its gradient grows 4.1e17-fold); "
        f"step200 to step2400 keep 0.1 % of the gradient for {', '.join(far)} steps (100 steps, seed 0)"
    )
    assert rows(result) == [f"step{step}" for step in sorted(steps)]
    assert [c.label for c in result.report.panels[0].curves] == rows(result)
    (vanishing,) = (f for f in result.report.findings if f.code == "GS-VANISHING")
    assert vanishing.message.startswith("step200: ") and "step400, step600, step800, " in vanishing.message
    more = compared(**{f"epoch{i}": times(0.5 if i else 0.7) for i in range(14)}, epoch14=times(0.9))
    assert more.verdict["sentence"].startswith(
        "epoch0 to epoch14 keep 0.1 % of the gradient for 19 steps at first, at most 65, 65 at the end"
    )
    peak = compared(**{f"epoch{i}": times(0.9 if i == 3 else 2.0 if i == 9 else 0.5) for i in range(14)})
    assert peak.verdict["sentence"].endswith("9 steps at first, at most 65 (epoch3), 9 at the end (100 steps, seed 0)")
    rising = compared(**{f"gain={i}": times(f) for i, f in enumerate((0.5, 0.9, 2.0, 3.0))})
    assert rising.verdict["sentence"].endswith(
        "; gain=0 to gain=3 keep 0.1 % of the gradient for 9, 65 steps, exploding, exploding (100 steps, seed 0)"
    )
    alike = compared(a1=times(0.5), a2=times(0.5), a3=times(0.5))
    assert alike.verdict["sentence"].startswith("a1 to a3 keep 0.1 % of the gradient for 9 steps each (")


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["epoch10", "epoch9", "epoch1"], [2, 1, 0]),
        (["gru:gain=1.5", "gru:gain=0.5", "gru:gain=10"], [1, 0, 2]),
        (["run2-step20", "run2-step3", "run2-step100"], [1, 0, 2]),
        (["enc.l0", "enc.l2", "enc.l1"], [0, 2, 1]),
        (["gru", "gru (2)", "gru (3)"], None),
        (["a1", "a2"], None),  # two are compared
        (["a1", "b2", "a3"], None),
        (["a1b1", "a2b2", "a3b3"], None),  # two numbers: more than one thing differs
        (["a1", "a1.0", "a2"], None),
        (["x", "y", "z"], None),
        ([], None),
    ],
)
def test_what_a_series_is(names, order):
    assert series_order(names) == order


def test_a_reach_that_is_not_determined():
    """No loss at the last step: there is nothing that a reach could be relative to."""
    gradient = np.zeros((2, 30, 4))
    gradient[:, :10] = 1
    models = {"gru": small(), "lstm": small("lstm")}
    inputs = np.random.default_rng(0).normal(size=(2, 30, 3))
    result = gradscope.compare(models, inputs, loss_gradient=gradient, lags=0)
    assert result.verdict["sentence"] == "the reach of gru and lstm is not determined (30 steps, seed 0)"
