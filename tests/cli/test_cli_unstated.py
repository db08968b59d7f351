"""What a file does not say stands in the first lines of the terminal, before the tables, and in the document."""

import json

import numpy as np
import pytest

from gradscope.render import text
from gradscope.report.present import from_document

QUICK = ("--steps", "20", "--lags", "0", "--batch", "2")
LINES, WIDTH = 24, 80  # of a terminal


def weights(prefix="", inputs=6, hidden=8, gates=4, suffix="_l0", seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden)}
    shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    return {f"{prefix}{k}{suffix}": rng.normal(size=s) / 3 for k, s in shapes.items()}


@pytest.fixture
def first_lines(run, tmp_path):
    """Analyze or compare; return the first lines of a terminal as one, and the document."""

    def call(tensors, *arguments, command="analyze", files=("model.npz",)):
        for name in files:
            np.savez(tmp_path / name, **(tensors[name] if name in tensors else tensors))
        done = run(command, *(tmp_path / name for name in files), *QUICK, "--json", *arguments)
        assert done.code == 0, done.err
        document = json.loads(done.out)
        lines = text.render(from_document(document).brief(), width=WIDTH).splitlines()[:LINES]
        head = [line for line in lines if line[:1] not in "╭│├╰" or not line]
        return " ".join(" ".join(head).split()), document

    return call


def test_layer_normalisation_in_a_subclass_of_a_cell(first_lines, run, tmp_path):
    norms = {"ln_ih": 32, "ln_hh": 32, "ln_ho": 8}
    beside = {f"rnn.{n}.{p}": np.ones(k) for n, k in norms.items() for p in ("weight", "bias")}
    others = {"emb.weight": np.ones((9, 6)), "fc.weight": np.ones((2, 8))}
    head, document = first_lines(weights("rnn.", suffix="") | beside | others)
    assert "(LSTM rnn without 6 of its parameters, 8 units, white noise, 20 steps, seed 0)" in head
    assert "warning (GS-UNUSED): rnn: 6 parameters of the same module not used: ln_ih.weight, ln_ih.bias" in head
    assert "these numbers are of another network" in head and "names without _l0 are those of a cell" in head
    assert any("not used: ln_ih.weight" in a for a in document["model"]["assumptions"])
    assert document["model"]["unused"] == [k.removeprefix("rnn.") for k in beside]
    assert "emb.weight" not in str(document["model"]) and "fc.weight" not in str(document["model"])
    quiet = run("analyze", tmp_path / "model.npz", *QUICK, "-q").out
    assert "without 6 of its parameters" in quiet
    assert "GS-ASSUME" in run("inspect", tmp_path / "model.npz").out


def test_the_loop_of_a_cell_and_its_activation(first_lines):
    head, document = first_lines(weights("cell.", gates=1, suffix=""))
    assert "cell: names without _l0 are those of a cell that a loop in the model's code steps" in head
    assert "tanh is assumed; pass --activation relu otherwise" in head
    assert len(document["model"]["assumptions"]) == 2 and "unused" not in document["model"]


def test_an_ordinary_model_with_data_has_nothing_assumed(first_lines, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2, 20, 6)))
    others = {"emb.weight": np.ones((9, 6)), "fc.weight": np.ones((2, 8))}
    head, document = first_lines(weights("lstm.") | others, "--data", tmp_path / "x.npy")
    assert document["model"]["assumptions"] == [] and "(LSTM lstm, 8 units, 20 steps, seed 0)" in head
    assert not any(code in head for code in ("GS-UNUSED", "GS-ASSUME", "GS-SYNTHETIC-INPUT"))


@pytest.mark.parametrize("drive", ["noise", "sine", "zeros"])
def test_a_checkpoint_measured_on_noise(first_lines, drive):
    head, document = first_lines(weights("lstm."), "--drive", drive)
    assert ("GS-SYNTHETIC-INPUT" in head) == ("white noise, 20 steps" in head) == (drive == "noise")
    assert document["model"]["assumptions"] == []


def test_random_cells_are_always_measured_on_noise(run):
    assert "GS-SYNTHETIC-INPUT" not in run("analyze", "--cell", "gru", "--hidden", "8", *QUICK).out


def test_modules_of_a_list(first_lines):
    tensors = {k: v for i in range(3) for k, v in weights(f"lstms.{i}.", inputs=8, seed=i).items()}
    head, document = first_lines(tensors)
    assert "lstms.1, lstms.2: follows another recurrent module in a list, but is run on the input itself" in head
    assert "lstms.0, lstms.1, lstms.2: Measured on white noise" in head and "(white noise, 20 steps, seed 0)" in head
    assert [len(r["model"]["assumptions"]) for r in document["results"]] == [0, 1, 1]
    head, document = first_lines(tensors, "--layer", "lstms.1")
    assert "lstms.1: follows another recurrent module in a list" in head and len(document["model"]["assumptions"]) == 1


def test_modules_that_share_the_input(first_lines):
    head, document = first_lines(weights("encoder.") | weights("decoder.", seed=1))
    assert "decoder: run on the input itself, as encoder is, not on the output of another module" in head
    assert [len(r["model"]["assumptions"]) for r in document["results"]] == [0, 1]
    _, document = first_lines(weights("encoder.") | weights("decoder.", seed=1), "--layer", "decoder")
    assert document["model"]["assumptions"] == []
    both = weights("a.") | weights("a.", suffix="_l0_reverse", seed=1)  # directions of one module share it by design
    _, document = first_lines(both)
    assert [r["model"]["assumptions"] for r in document["results"]] == [[], []]


def test_what_is_assumed_of_each_of_several_files(first_lines):
    """One entry of GS-ASSUME for each text: the first would otherwise hide the others."""
    files = {
        "a.npz": weights("rnn.", gates=1),
        "b.npz": weights("rnn.", suffix="") | {"rnn.peephole": np.ones(8)},
        "c.npz": weights("rnn.", gates=1),
    }
    head, _ = first_lines(files, command="compare", files=tuple(files))
    assert "a, c: the file does not state the activation, tanh is assumed" in head
    assert "b: names without _l0" in head and "b: 1 parameter of the same module not used: peephole" in head
    assert "Measured on white noise" in head


@pytest.mark.parametrize("home", ["rnns.0.module.", "rnns.0."])
def test_raw_weights(first_lines, run, tmp_path, home):
    tensors = weights("rnns.0.module.")
    raw = tensors["rnns.0.module.weight_hh_l0"]
    _, expected = first_lines(tensors)
    stale = tensors | {"rnns.0.module.weight_hh_l0": 2 * raw, f"{home}weight_hh_l0_raw": raw}
    head, document = first_lines(stale)
    assert document["metrics"] == expected["metrics"] and document["model"]["assumptions"] == []
    assert f"{home}weight_hh_l0_raw read as the weights" in run("analyze", tmp_path / "model.npz", *QUICK, "-v").out


@pytest.mark.parametrize("option", [("--activation", "relu"), ("--gate-order", "rzn")])
def test_options_without_effect(refused, run, tmp_path, option):
    np.savez(tmp_path / "lstm.npz", **weights("lstm."))
    np.savez(tmp_path / "rnn.npz", **weights("rnn.", gates=1))
    np.savez(tmp_path / "gru.npz", **weights("gru.", gates=3))
    lstm = tmp_path / "lstm.npz"
    for command in (("analyze", lstm), ("inspect", lstm), ("compare", lstm, "gru"), ("compare", lstm, lstm)):
        refused(2, "fits no layer; the file holds lstm", *command, *option)
    other = tmp_path / ("rnn.npz" if option[0] == "--activation" else "gru.npz")
    done = run("compare", lstm, other, *option, *QUICK)
    assert f"note (GS-NO-EFFECT): lstm: {option[0]} has no effect: it fits no layer of this file." in done.out
    document = json.loads(run("compare", lstm, other, *option, *QUICK, "--json").out)
    name = option[0][2:].replace("-", "_")
    assert [name in r["config"] for r in document["results"]] == [False, True]


@pytest.mark.parametrize("option", [("--spectrum", "4"), ("--step-spectra", "all")])
def test_spectra_that_are_left_out(refused, option):
    refused(2, f"{option[0]} has no effect with --lags 0", "analyze", "--cell", "gru", *QUICK, *option)


@pytest.mark.parametrize("option", [("--columns", "0"), ("--delimiter", ";"), ("--decimal", ","), ("--nan", "zero")])
def test_options_for_numbers_are_refused_with_tokens(refused, tmp_path, option):
    np.savez(tmp_path / "m.npz", **weights("lstm."), **{"emb.weight": np.ones((9, 6))})
    np.savetxt(tmp_path / "ids.csv", np.arange(18).reshape(2, 9) % 9, fmt="%d", delimiter=",")
    line = ("analyze", tmp_path / "m.npz", "--embedding", "emb", "--data", tmp_path / "ids.csv")
    refused(2, [option[0], "the data are token ids"], *line, *option)


def test_a_layout_of_one_sequence_has_no_effect(first_lines, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 6)))
    np.save(tmp_path / "ids.npy", np.arange(20) % 9)
    tensors = weights("lstm.") | {"emb.weight": np.random.default_rng(0).normal(size=(9, 6))}
    head, _ = first_lines(tensors, "--data", tmp_path / "x.npy", "--layout", "tbf")
    assert "--layout has no effect on an array with 2 axes: it is one sequence" in head
    line = ("--embedding", "emb", "--data", tmp_path / "ids.npy")
    head, document = first_lines(tensors, *line, "--layout", "tbf")
    assert "--layout has no effect on one sequence" in head
    assert document["metrics"] == first_lines(tensors, *line)[1]["metrics"]
