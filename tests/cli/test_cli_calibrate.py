"""doctor --calibrate: a small file of speeds, and what --dry-run and progress make of it."""

import json
import re

import pytest

from gradscope import __version__
from gradscope.cli import _calibrate
from gradscope.cli._calibrate import calibration_file, read_speeds

RUN = ("analyze", "--cell", "gru", "--hidden", "64", "--steps", "100")
UNKNOWN = "time: not known on this machine; gradscope doctor --calibrate measures how fast it is"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Give a cache of our own, and few small runs to measure."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_calibrate, "RUNS", (("gru", 8, 20, 1, 4), ("gru", 16, 40, 2, 8), ("rnn", 24, 30, 1, None)))
    return tmp_path / "cache" / "gradscope" / "speed.json"


def test_without(run, cache):
    done = run(*RUN, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == UNKNOWN
    assert "calibrated         no: gradscope doctor --calibrate" in run("doctor").out
    assert not cache.exists()


def test_measured_and_used(run, cache):
    done = run("doctor", "--calibrate", "--progress", "plain")
    assert done.code == 0
    assert "calibrating: 0 of 3 runs" in done.err
    assert re.search(rf"^calibrated +\d{{4}}-\d\d-\d\d, in {re.escape(str(cache))}$", done.out, re.MULTILINE)
    assert [p.name for p in cache.parent.iterdir()] == ["speed.json"]
    document = json.loads(cache.read_text())
    assert document["gradscope"] == __version__
    assert all(x >= 0 for row in document["speeds"].values() for x in row)
    out = run(*RUN, "--dry-run").out
    assert UNKNOWN not in out
    whole, parts = re.search(r"  time: about (.+) on a core that is free\n    (.+)$", out, re.MULTILINE).groups()
    each = {name: float(s) for name, s in re.findall(r"(\D[^,]*?) ([\d.e+-]+) s(?:, |$)", parts)}
    assert set(each) >= {"gradients", "products", "Lyapunov exponents", "start and report"}
    assert sum(each.values()) == pytest.approx(float(whole.removesuffix(" s")), rel=0.15, abs=0.15)  # two digits each
    assert list(each.values()) == sorted(each.values(), reverse=True)
    document = json.loads(run("doctor", "--json").out)
    assert document["calibrated"].endswith(str(cache))


@pytest.mark.parametrize(
    "change",
    [
        {"gradscope": "0.0.1"},
        {"machine": "another"},
        {"format": 0},
        {"speeds": 3},
        {"speeds": {"products": ["fast"]}},
        {"when": None, "format": None},
    ],
)
def test_of_another_machine_or_version(run, cache, change):
    good = {
        "format": _calibrate.FORMAT,
        "gradscope": __version__,
        "machine": _calibrate.machine(),
        "when": "2030-01-01",
    }
    good["speeds"] = {"gradients": [1.0, 1.0, 1.0, 1.0]}
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps(good))
    assert read_speeds().speeds == good["speeds"]
    cache.write_text(json.dumps(good | change))
    assert read_speeds() is None
    assert run(*RUN, "--dry-run").out.splitlines()[-1] == UNKNOWN


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_damaged(cache, text):
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert read_speeds() is None


def test_where_nothing_can_be_written(run, refused, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused(5, ["cannot write", "speed.json", "XDG_CACHE_HOME"], "doctor", "--calibrate")
    assert run(*RUN, "--dry-run").out.splitlines()[-1] == UNKNOWN


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    monkeypatch.setenv("HOME", str(tmp_path))
    assert calibration_file() == tmp_path / ".cache" / "gradscope" / "speed.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert calibration_file() == tmp_path / ".cache" / "gradscope" / "speed.json"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert calibration_file() == tmp_path / "c" / "gradscope" / "speed.json"


def test_progress_is_of_the_whole_run(run, cache):
    """Where the machine is known, what is said is of the whole."""
    assert run("doctor", "--calibrate").code == 0
    err = run(*RUN, "--steps", "60", "--progress", "plain").err
    assert re.search(r"^gradients, about \d+ s left in all \.\.\.$", err, re.MULTILINE), err
    assert "of this part" not in err
    err = run("compare", "rnn", "gru", *RUN[3:], "--progress", "plain").err
    assert re.search(r"^rnn: gradients, about \d+ s left in all \.\.\.$", err, re.MULTILINE), err
    assert re.search(r"^gru: products, about \d+ s left in all \.\.\.$", err, re.MULTILINE), err
