"""--drive self: what feeds the output back, what the network reads before, and what is refused."""

import json

import numpy as np
import pytest

SELF = ("--drive", "self")


@pytest.fixture
def generator(checkpoint):
    """Write a GRU of 3 inputs and 8 units with a head that makes 3 numbers."""
    rng = np.random.default_rng(1)

    def write(**more):
        head = {"head.weight": rng.standard_normal((3, 8)), "head.bias": rng.standard_normal(3)}
        return checkpoint(**(head | more))

    return write


def document(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def notes(doc):
    return {w["code"]: w["message"] for w in doc["warnings"]}


@pytest.mark.parametrize("name", ["head", "head.weight"])
def test_checkpoint(run, quick, generator, name):
    steps = quick[2:]
    doc = document(run("analyze", generator(), *SELF, "--readout", name, *steps, "--warmup", "7", "--json"))
    assert doc["model"]["readout"] == "head.weight and head.bias"
    assert doc["model"]["input_size"] == 3
    config = doc["config"]
    assert (config["drive"], config["readout"], config["lead_in"], config["warmup"]) == ("self", name, 50, 7)
    assert "closed loop" in doc["verdict"]["sentence"]
    assert "50 steps of white noise" in notes(doc)["GS-CLOSED-LOOP"]


def test_the_command_measures_what_python_does(run, generator):
    from gradscope import analyze, closed_loop, load

    path = generator()
    doc = document(run("analyze", path, *SELF, "--readout", "head", "--steps", "30", "--lags", "4", "--json"))
    with np.load(path) as arrays:
        loop = closed_loop(load(path)["rnn"], arrays["head.weight"], arrays["head.bias"])
    assert doc["series"] == analyze(loop, steps=30, lags=4).document["series"]


def test_the_bias_counts(run, quick, generator):
    path, steps = generator(), quick[2:]
    with_bias = document(run("analyze", path, *SELF, "--readout", "head", *steps, "--json"))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{k: v for k, v in arrays.items() if k != "head.bias"})
    without = document(run("analyze", path, *SELF, "--readout", "head", *steps, "--json"))
    assert without["model"]["readout"] == "head.weight"
    assert with_bias["series"] != without["series"]


def test_data_come_first(run, quick, generator, tmp_path):
    """All steps of the data are read; sequences can be fewer."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((5, 33, 3)))
    line = ["analyze", generator(), *SELF, "--readout", "head", "--data", tmp_path / "x.npy", *quick[2:], "--json"]
    doc = document(run(*line, "--batch", "4"))
    config = doc["config"]
    assert [config[k] for k in ("lead_in", "steps", "batch", "warmup")] == [33, 20, 4, 50]
    assert (config["data"], config["drive"]) == ("x.npy", "self")
    assert "input_scale" not in config
    assert "33 steps of 'x.npy'" in notes(doc)["GS-CLOSED-LOOP"]
    other = document(run(*line, "--batch", "4", "--warmup", "0"))
    assert other["series"] != doc["series"]


def test_tokens_come_first(run, quick, generator, tmp_path):
    path = generator(**{"embedding.weight": np.random.default_rng(2).standard_normal((11, 3))})
    np.save(tmp_path / "ids.npy", np.arange(22).reshape(2, 11) % 11)
    doc = document(
        run("analyze", path, *SELF, "--readout", "head", "--data", tmp_path / "ids.npy", "--embedding",
            "embedding.weight", *quick[2:], "--json")
    )  # fmt: skip
    assert [doc["config"][k] for k in ("lead_in", "steps", "batch")] == [11, 20, 2]


@pytest.mark.parametrize("more", [[], ["--layers", "2"]])
def test_random_weights_have_a_random_readout(run, quick, more):
    doc = document(run("analyze", "--cell", "lstm", *SELF, *quick, *more, "--json"))
    assert doc["model"]["readout"] == "random"
    assert "U(-1/sqrt(H), 1/sqrt(H))" in doc["model"]["assumptions"][0]
    assert "GS-ASSUME" in notes(doc)
    other = document(run("analyze", "--cell", "lstm", *SELF, *quick, *more, "--json", "--seed", "1"))
    assert other["series"] != doc["series"]


def test_a_loss_gradient_of_every_step(run, quick, generator, tmp_path):
    """(B, T, H) for the measured steps, with or without those of the warm-up."""
    g = np.random.default_rng(0).standard_normal((8, 25, 8))
    path, found = generator(), []
    for name, array in (("all.npy", g), ("measured.npy", g[:, 5:])):
        np.save(tmp_path / name, array)
        line = ["--readout", "head", *quick[2:], "--warmup", "5", "--loss-gradient", tmp_path / name, "--json"]
        found.append(document(run("analyze", path, *SELF, *line))["series"])
    assert found[0] == found[1]


def test_compared(run, quick, generator):
    line = ["compare", generator(), "gru", "gru:update_bias=2", *SELF, "--readout", "head", *quick, "--json"]
    doc = document(run(*line))
    assert [r["model"]["readout"] for r in doc["results"]] == ["head.weight and head.bias", "random", "random"]


def test_the_remedy_keeps_the_loop(run, generator):
    line = ["--readout", "head", "--steps", "120", "--lags", "4", "--json"]
    doc = document(run("analyze", generator(**{"head.weight": np.zeros((3, 8))}), *SELF, *line))
    remedy = next(f["remedy"] for f in doc["verdict"]["findings"] if f["code"] == "GS-VANISHING")
    assert "--drive self --readout head" in remedy


def test_dry_run(run, generator):
    done = run("analyze", generator(), *SELF, "--readout", "head", "--dry-run")
    assert "250 steps with warm-up, 8 sequences" in done.out


def test_without_a_readout(refused, generator):
    err = refused(2, ["--drive self needs --readout", "matrices that fit: head.weight, other"], "analyze",
                  generator(other=np.ones((3, 8)), wide=np.ones((4, 8))), *SELF)  # fmt: skip
    assert "wide" not in err


def test_nothing_fits(refused, checkpoint):
    refused(2, ["--readout", "no other matrix has its shape, (3, 8)"], "analyze", checkpoint(), *SELF)


def test_a_vocabulary(refused, generator):
    path = generator(**{"head.weight": np.ones((97, 8)), "head.bias": np.ones(97)})
    words = ["has 97 outputs", "3 inputs", "sampling or argmax, which has no derivative"]
    refused(4, words, "analyze", path, *SELF, "--readout", "head")


@pytest.mark.parametrize(
    ("code", "words", "name", "more"),
    [
        (4, "takes 9 units; the network output has 8", "wide", {"wide": np.ones((3, 9))}),
        (4, "transpose it", "kernel", {"kernel": np.ones((8, 3))}),
        (4, "not a readout", "flat", {"flat": np.ones(3)}),
        (4, "not a readout", "whole", {"whole": np.ones((3, 8), int)}),
        (2, "did you mean head.weight?", "haed.weight", {}),
        (2, "matches several tensors", "a", {"a.x": np.ones((3, 8)), "a.y": np.ones((3, 8))}),
    ],
)
def test_readouts_that_are_none(refused, generator, code, words, name, more):
    refused(code, words, "analyze", generator(**more), *SELF, "--readout", name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["m.npz", "--readout", "head"], "--readout applies only to closed-loop operation"),
        (["--cell", "gru", *SELF, "--readout", "head"], "--readout applies only to checkpoints"),
        (
            ["m.npz", *SELF, "--readout", "h", "--data", "x.npy", "--input-scale", "2"],
            "--input-scale applies only to synthetic",
        ),
        (["m.npz", "--data", "x.npy", "--drive", "zeros"], "--drive applies only to synthetic input"),
        (["--cell", "gru", *SELF, "--bidirectional"], "a bidirectional network cannot run in a closed loop"),
    ],
)
def test_options_that_do_not_go_together(refused, options, words):
    refused(2, words, "analyze", *options)


def test_bidirectional_checkpoint(refused, checkpoint):
    rng = np.random.default_rng(0)
    more = {
        f"rnn.{k}_l0_reverse": rng.standard_normal(shape)
        for k, shape in (("weight_ih", (24, 3)), ("weight_hh", (24, 8)), ("bias_ih", 24), ("bias_hh", 24))
    }
    path = checkpoint(**more, **{"head.weight": np.ones((3, 8))})
    refused(2, "bidirectional", "analyze", path, *SELF)
    refused(2, "bidirectional", "analyze", path, *SELF, "--readout", "head")


def test_one_of_two_networks(refused, run, quick, generator):
    rng = np.random.default_rng(0)
    more = {"enc.weight_ih_l0": rng.standard_normal((24, 5)), "enc.weight_hh_l0": rng.standard_normal((24, 8))}
    path = generator(**more)
    refused(4, ["enc: the readout", "--layer chooses one network"], "analyze", path, *SELF, "--readout", "head")
    done = run("analyze", path, *SELF, "--readout", "head", "--layer", "rnn", *quick[2:], "-q")
    assert (done.code, "closed loop" in done.out) == (0, True)


def test_zeros_do_not_rest_at_an_unstable_point(run):
    """Gaussian weights of gain 3 without a bias are at rest at zero, where the rate is log 3; on the attractor of
    large networks it is 0.31, and each sequence comes to it from a start of its own."""
    line = ["--hidden", "128", "--init", "gaussian", "--gain", "3", "--drive", "zeros", "--lags", "0", "--json"]
    doc = document(run("analyze", "--cell", "rnn", *line))
    assert 0.2 < doc["metrics"]["rate"] < 0.4  # 128 units: finite size moves it by some hundredths
    assert "50 steps of white noise" in notes(doc)["GS-NO-DRIVE"]
    assert "GS-ONE-ORBIT" not in notes(doc)
    assert doc["config"]["lead_in"] == 50
