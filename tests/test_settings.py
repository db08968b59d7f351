"""The table of settings, and what is made from it."""

import math
import sys
from pathlib import Path

import pytest

from gradscope.errors import UsageError
from gradscope.options import Choice, Count, Pairs, Real, Size, table
from gradscope.settings import Settings, command_options, config_schema, footer_parts, from_keywords


@pytest.mark.parametrize("text", ["1000", "1e3", "1k", "1_000", " 1000 ", 1000, "+1000"])
def test_whole_numbers(text):
    assert Count()("steps", text) == 1000


@pytest.mark.parametrize("text", ["1.5", "nan", "inf", "many", "", True, None, 0, -1, "0"])
def test_what_is_no_count(text):
    with pytest.raises(UsageError, match="steps must be"):
        Count()("steps", text)


def test_words_that_are_numbers():
    count = Count(1, {"all": sys.maxsize, "auto": None})
    assert (count("n", "all"), count("n", "auto"), count("n", 3)) == (sys.maxsize, None, 3)
    with pytest.raises(UsageError, match="an integer or all or auto, not 'al'"):
        count("n", "al")


@pytest.mark.parametrize("text", [math.nan, math.inf, "nan", "x", 0, 1, -0.5])
def test_what_is_no_fraction(text):
    with pytest.raises(UsageError, match="threshold must"):
        Real(0, 1)("threshold", text)


def test_sizes():
    assert [Size()("m", s) for s in ("500M", "2GiB", "1.5k", "7")] == [500_000_000, 2 << 30, 1500, 7]
    with pytest.raises(UsageError, match="not a memory size"):
        Size()("m", "lots")


def test_choices_are_suggested():
    with pytest.raises(UsageError) as caught:
        Choice("last", "mean")("loss", "lst")
    assert "did you mean last?" in caught.value.hint


def test_pairs():
    assert Pairs()("set", ["a=1", " b = x=y"]) == {"a": "1", "b": "x=y"}
    assert Pairs()("set", {"a": 1}) == {"a": 1}
    for text in ("a", "=1"):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            Pairs()("set", [text])


def test_every_default_is_what_its_parser_returns():
    for name, row in table(Settings).items():
        assert getattr(Settings(), name) == row.default
        assert row.parsed(name, row.default) == row.default


def test_every_option_says_what_it_is():
    for row in table(Settings).values():
        assert row.text.endswith("."), row.name
        assert "{" not in row.text


def test_keywords():
    assert from_keywords({}) == Settings()
    assert from_keywords({"steps": 20, "step_spectra": "all", "max_memory": "1GiB"}).max_memory == 1 << 30
    with pytest.raises(UsageError, match="takes no setting 'stepz'") as caught:
        from_keywords({"stepz": 3})
    assert "did you mean steps?" in caught.value.hint
    with pytest.raises(UsageError, match="takes no setting 'hidden'"):
        from_keywords({"hidden": 3})
    for wrong in ({"steps": 0}, {"threshold": 2}, {"loss": "lst"}, {"seed": -1}, {"lags": 1.5}):
        with pytest.raises(UsageError):
            from_keywords(wrong)


def test_what_is_recorded():
    config = Settings(cell="gru", set={"forget_bias": "1", "activation": "relu"}).config({"cell"})
    assert config["set"] == {"forget_bias": 1.0, "activation": "relu"}
    assert (config["cell"], config["hidden"], config["drive"], config["seed"]) == ("gru", 128, "noise", 0)
    assert not {"norm", "residual", "data", "nan", "threads", "max_memory", "remedies", "layer", "key"} & set(config)
    config = Settings(data=Path("/somewhere/x.npy"), layer="rnn", norm="layer").config({"checkpoint"})
    assert (config["data"], config["nan"], config["layer"]) == ("x.npy", "keep", "rnn")
    assert not {"cell", "hidden", "norm", "gain", "drive", "input_scale", "set"} & set(config)
    assert set(Settings().config(python=True)) == {"loss", "spectrum", "lags", "threshold", "seed"}


@pytest.mark.parametrize(
    ("name", "kind", "given", "reason"),
    [
        ("hidden", "checkpoint", {}, "applies only to cells with random weights"),
        ("nan", "cell", {}, "applies only to real input"),
        ("input_scale", "cell", {"data": Path("x.npy")}, "applies only to synthetic input"),
        ("drive", "cell", {"data": Path("x.npy"), "drive": "self"}, ""),
        ("readout", "cell", {"data": Path("x.npy"), "drive": "self"}, "applies only to checkpoints"),
    ],
)
def test_where_an_option_has_no_effect(name, kind, given, reason):
    unmet = table(Settings)[name].unmet(Settings(**given), {kind})
    assert (unmet is None) == (not reason)
    assert unmet is None or unmet.reason.startswith(reason)


def test_a_command_that_repeats_settings():
    def repeated(kind, **given):
        return command_options(Settings(**given), {kind})

    assert repeated("cell", cell="gru", steps=200) == ""
    given = {"steps": 100, "layers": 2, "residual": True, "gain": 0.5, "dtype": "float32", "lags": 3, "threads": 4}
    words = " --layers 2 --residual --gain 0.5 --steps 100 --lags 3 --dtype float32"
    assert repeated("cell", cell="gru", **given) == words
    files = {"data": Path("a/my data.npy"), "layer": "rnn.0", "embedding": "E"}
    expected = " --layer rnn.0 --data 'a/my data.npy' --embedding E --steps 100 --lags 3 --dtype float32"
    assert repeated("checkpoint", **given, **files) == expected
    # of data, every number of steps is some choice; and a number that has a name is typed by it
    files = {
        "data": Path("x.npy"),
        "steps": 200,
        "spectrum": sys.maxsize,
        "loss": "mean",
        "loss_gradient": Path("g.npy"),
    }
    assert repeated("cell", **files) == " --data x.npy --steps 200 --loss-gradient g.npy --spectrum full"


def test_the_footer_leaves_out_what_is_usual():
    config = Settings(cell="gru", residual=True, gain=2.0, set={"forget_bias": "1"}).config({"cell"})
    assert footer_parts(config | {"step_spectra": 9, "unknown": 3}) == [
        "cell gru",
        "hidden 128",
        "residual",
        "gain 2",
        "forget_bias 1",
        "drive noise",
        "loss last",
        "dtype float64",
        "seed 0",
        "unknown 3",
    ]


def test_the_schema_describes_what_may_be_recorded():
    schema = config_schema()
    assert set(schema) == {name for name, row in table(Settings).items() if row.record}
    assert schema["hidden"] == ("Hidden units of a layer.", {"type": "integer", "minimum": 1})
