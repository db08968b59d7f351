"""Files: by suffix, whole or not at all, and never over another one unasked."""

import errno
import json
import os
import re
import resource
import stat
from pathlib import Path

import pytest

GRU = ("analyze", "--cell", "gru", "--hidden", "8", "--steps", "20", "--lags", "4")
LONG = ("analyze", "--cell", "gru", "--steps", "20000")  # takes minutes: refusals come before the work


def parts(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".gradscope")]


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("json", b'{\n  "schema_version"'),
        ("png", b"\x89PNG"),
        ("svg", b"<?xml"),
        ("pdf", b"%PDF"),
        ("csv", b"timestep,"),
    ],
)
def test_every_suffix(run, tmp_path, suffix, start):
    path = tmp_path / f"r.{suffix.upper()}"
    done = run(*GRU, "-o", path)
    assert (done.code, done.err) == (0, "")
    assert path.read_bytes().startswith(start)
    assert parts(tmp_path) == []


def test_several_at_once(run, tmp_path):
    paths = [tmp_path / f"r.{s}" for s in ("json", "csv", "tsv", "md")]
    assert run(*GRU, *[x for p in paths for x in ("-o", p)]).code == 0
    assert all(p.stat().st_size > 100 for p in paths)


def test_mode_of_a_new_file(run, tmp_path):
    before = os.umask(0o027)
    try:
        run(*GRU, "-o", tmp_path / "r.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o640


def test_unknown_suffix(refused, tmp_path):
    refused(2, ["suffix .xyz", "supported: .csv, .json"], *LONG, "-o", tmp_path / "r.xyz")
    refused(2, ["has no suffix", "supported"], *LONG, "-o", tmp_path / "r")


def test_existing(run, refused, tmp_path):
    path = tmp_path / "r.json"
    path.write_text("precious")
    refused(2, ["exists", "--force"], *LONG, "-o", path)
    assert path.read_text() == "precious"
    path.chmod(0o600)
    assert run(*GRU, "-o", path, "--force").code == 0
    assert json.loads(path.read_text())["kind"] == "analysis"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_target_of_a_link_is_replaced(run, tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    assert run(*GRU, "-o", link, "--force").code == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["kind"] == "analysis"


def test_missing_directory(run, refused, tmp_path):
    path = tmp_path / "a" / "b" / "r.json"
    refused(4, ["no directory", "--mkdir"], *LONG, "-o", path)
    assert run(*GRU, "-o", path, "--mkdir").code == 0
    assert path.exists()


def test_a_second_output_that_cannot_be_leaves_nothing_of_the_first(refused, tmp_path):
    refused(4, "no directory", *LONG, "-o", tmp_path / "r.json", "-o", tmp_path / "no" / "r.csv")
    assert parts(tmp_path) == []


def test_directory(refused, tmp_path):
    (tmp_path / "r.json").mkdir()
    refused(2, "is a directory", *LONG, "-o", tmp_path / "r.json")


@pytest.mark.parametrize(
    "name", ["with spaces.json", "[WIP] it's.json", "new\nline.json", "\N{CHART WITH UPWARDS TREND}.json"]
)
def test_names_of_files(run, refused, tmp_path, name):
    path = tmp_path / name
    assert run(*GRU, "-o", path).code == 0
    assert path.exists()
    err = refused(2, "exists", *GRU, "-o", path)
    assert len(err.splitlines()) == 2
    assert "[WIP]" in err or "WIP" not in name
    assert run("report", path).code == 0


def test_a_name_of_300_characters(refused, tmp_path):
    refused(5, "File name too long", *LONG, "-o", tmp_path / ("x" * 300 + ".json"))
    refused(5, "File name too long", *LONG, "-o", tmp_path / ("x" * 253 + ".json"))
    refused(4, "name too long", "analyze", tmp_path / ("x" * 300 + ".pt"))
    refused(4, "name too long", "compare", tmp_path / ("x" * 300 + ".pt"), "gru")
    refused(4, "name too long", "report", tmp_path / ("x" * 300 + ".json"))
    assert parts(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_output_that_may_not_be_written(refused, tmp_path, monkeypatch, code):
    def deny(**options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.mkstemp", deny)
    refused(5, ["cannot write", os.strerror(code)], *LONG, "-o", tmp_path / "r.json")


def test_read_only_file(refused, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")
    monkeypatch.setattr("os.access", lambda p, mode: False)
    refused(5, ["cannot write", "Permission denied"], *LONG, "-o", path, "--force")
    assert path.read_text() == "old"


def test_full_disk_when_the_file_is_flushed(refused, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    refused(5, ["cannot write", "No space left on device"], *GRU, "-o", tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_limit_of_the_file_size(finished, tmp_path):
    """The system itself refuses in the middle of the file."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = finished(*GRU, "-o", tmp_path / "r.json", preexec_fn=limit)
    assert (done.code, done.out) == (5, "")
    assert "File too large" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_that_is_full(refused, tmp_path):
    (tmp_path / "r.json").symlink_to("/dev/full")
    refused(5, "No space left on device", *GRU, "-o", tmp_path / "r.json")


def test_the_same_bytes_twice(run, tmp_path):
    line = (*GRU, "--reproducible")
    first, second = (run(*line, "--json", "-o", tmp_path / f"{i}.json").out for i in range(2))
    assert first == second == (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert "run" not in json.loads(first)
    for i in range(2):
        assert run(*line, *[x for s in ("png", "pdf") for x in ("-o", tmp_path / f"{i}.{s}")]).code == 0
    for s in ("png", "pdf"):
        assert (tmp_path / f"0.{s}").read_bytes() == (tmp_path / f"1.{s}").read_bytes()


@pytest.mark.parametrize("name", ["csv", "tsv", "md", "json", "text"])
def test_formats_of_standard_output(run, name):
    done = run(*GRU, "--format", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\n")
    assert not done.out.endswith("\n\n")


def test_picture_to_standard_output(run):
    done = run(*GRU, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("<?xml")


def test_quiet_is_one_line(run):
    assert len(run(*GRU, "--quiet").out.splitlines()) == 1


def test_dry_run_writes_nothing(run, tmp_path):
    done = run(*GRU, "--dry-run", "-o", tmp_path / "r.json")
    assert (done.code, done.err) == (0, "")
    assert "70 steps with warm-up, 8 sequences" in done.out
    assert "total: about" in done.out
    assert re.search(r"  floating-point operations: about \d\.\de\+\d\d \(", done.out)
    assert list(tmp_path.iterdir()) == []
