"""What a comparison says of several models."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

import gradscope
from gradscope.api import Origin, run_analysis
from gradscope.report.case import Request
from gradscope.report.present import from_document
from gradscope.settings import Settings


def small(name="gru", **settings):
    return gradscope.create(name, hidden_size=4, input_size=3, **settings)


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
    models = {f"m{i}": small(seed=i) for i in range(7)}
    sentence = gradscope.compare(models, steps=20, lags=0).verdict["sentence"]
    assert "the other 2 at most 13" in sentence
    assert sum(f"m{i}" in sentence for i in range(7)) == 5


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
