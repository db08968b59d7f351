"""--remedies on the command line."""

import json

import numpy as np
import pytest

from gradscope import create


def documents(done):
    document = json.loads(done.out)
    return document.get("results", [document])


def test_only_when_asked(run, quick):
    plain, asked = (
        run("analyze", "--cell", "gru", *quick, *extra, "--json", "--reproducible") for extra in ((), ("--remedies",))
    )
    assert (plain.code, asked.code) == (0, 0)
    (a,), (b,) = documents(plain), documents(asked)
    assert "remedies" not in a
    assert b["remedies"]
    assert b["config"]["remedies"] is True
    assert a["metrics"] == b["metrics"]


@pytest.fixture
def checkpoint(tmp_path):
    """A GRU in an npz, by PyTorch's names."""
    cell = create("gru", hidden_size=6, input_size=3)
    names = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    np.savez(tmp_path / "m.npz", **{f"rnn.{n}": getattr(cell, k) for k, n in names.items()})
    return tmp_path / "m.npz"


def test_a_checkpoint_with_the_change_in_it(run, checkpoint):
    """The number in the table is that of a file whose biases were written so."""
    options = ("--steps", "40", "--lags", "0", "--json", "--reproducible")
    (asked,) = documents(run("analyze", checkpoint, "--remedies", *options))
    arrays = dict(np.load(checkpoint))
    arrays["rnn.bias_hh_l0"][6:12] += 3
    changed = checkpoint.with_name("changed.npz")
    np.savez(changed, **arrays)
    (alone,) = documents(run("analyze", changed, *options))
    (row,) = (r for r in asked["remedies"] if r["change"] == "update bias +3")
    assert row["state"] == alone["verdict"]["state"]
    assert row["reach"] == alone["metrics"]["reach"]
    # the same numbers added in another order: a rounding in every pre-activation
    for key in ("rate", "log10_gain"):
        assert row[key] == pytest.approx(alone["metrics"][key], rel=1e-10)
    assert row["rate_ci95"] == pytest.approx(alone["metrics"]["rate_ci95"], rel=1e-10)


def test_directions(run, quick):
    done = run("analyze", "--cell", "gru", "--bidirectional", *quick, "--remedies", "--json", "--lags", "0")
    assert all(d["remedies"] for d in documents(done))


def test_compare(run, quick):
    done = run("compare", "rnn", "gru", *quick, "--remedies")
    assert done.code == 0
    assert "Best change of each model" in done.out
    assert "Remedies, best first" not in run("compare", "rnn", "gru", *quick).out


def test_saved_results_are_not_run_again(run, refused, quick, tmp_path):
    for name in ("rnn", "gru"):
        run("analyze", "--cell", name, *quick, "-o", tmp_path / f"{name}.json")
    saved = (tmp_path / "rnn.json", tmp_path / "gru.json")
    refused(2, ["--remedies", "saved result"], "compare", *saved, "--remedies")
    assert "lstm" in run("compare", *saved, "lstm", *quick, "--remedies").out


def test_dry_run_says_so(run, quick):
    line = ("analyze", "--cell", "gru", *quick, "--dry-run")
    assert "--remedies" not in run(*line).out
    assert "one run per change" in run(*line, "--remedies").out


def test_config(run, quick, tmp_path):
    (tmp_path / "c.toml").write_text("remedies = true\n")
    (document,) = documents(run("analyze", "--cell", "gru", *quick, "--config", tmp_path / "c.toml", "--json"))
    assert document["remedies"]


def test_progress_names_the_changes(run, quick):
    done = run("analyze", "--cell", "gru", *quick, "--remedies", "--progress", "plain")
    assert "remedies: update bias +1" in done.err


def test_fail_on_is_about_the_model_as_it_is(run):
    line = ("analyze", "--cell", "gru", "--hidden", "8", "--steps", "60", "--lags", "0", "--fail-on", "vanishing")
    assert run(*line).code == run(*line, "--remedies").code == 3


def test_the_memory_for_orthogonal_weights_is_asked_for(refused, run):
    short = ("--steps", "5", "--warmup", "0", "--batch", "1", "--lags", "0")
    line = ("analyze", "--cell", "rnn", "--hidden", "1200", *short)
    # 1200 x 1200 numbers are 11 MiB: 8 of them, beside 2 sets of weights and 200 MiB for the libraries
    refused(5, ["orthogonal weights", "without --remedies"], *line, "--remedies", "--max-memory", "260MiB")
    assert run(*line, "--max-memory", "260MiB").code == 0
    assert "orthogonal weights: 87.9 MiB" in run(*line, "--remedies", "--dry-run").out
    assert "orthogonal weights" not in run("analyze", "--cell", "gru", *short, "--remedies", "--dry-run").out
