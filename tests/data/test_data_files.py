"""Files that are missing, closed to us or of another kind; and a fuzz: only our errors may come out."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradscope.errors import GradscopeError, InputError, ResourceError, UsageError
from gradscope.files.data._load import load_inputs
from gradscope.files.display import amount, printable
from gradscope.plugins import load, names


def refused(path, *words, exit_code=4, **options):
    with pytest.raises(GradscopeError) as caught:
        load_inputs(path, **{"input_size": 3, **options})
    text = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == exit_code, text
    for word in words:
        assert word in text, text
    assert text.isprintable()


def test_the_room():
    assert set(names("data")) >= {"csv", "npy", "npz"}
    for name in names("data"):
        module = load("data", name)
        assert module.__doc__
        assert callable(module.read)
        assert all(s.startswith(".") for s in module.SUFFIXES)


def test_missing(tmp_path):
    (tmp_path / "train.npy").touch()
    refused(tmp_path / "trian.npy", "no file", "did you mean train.npy")
    refused(tmp_path / "no" / "x.npy", "no file")
    refused(tmp_path / "a\nb\x1b.npy", "a\\nb\\x1b.npy")
    refused("x\0.npy", "cannot read", "x\\x00.npy")
    refused(tmp_path / ("x" * 300), "too long")


def test_not_a_plain_file(tmp_path):
    refused(tmp_path, "is a directory")
    (tmp_path / "x.npy").touch()
    refused(tmp_path / "x.npy", "is empty")
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    refused(tmp_path / "loop.npy", "cannot read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    refused(tmp_path / "x.csv", "not a regular file")


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((2, 3)))

    def closed(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("gradscope.files.opening.os.open", closed)
    refused(path, "Permission denied")


def test_formats(tmp_path):
    path = tmp_path / "x.xyz"
    path.write_bytes(b"hello")
    refused(path, "no supported format", ".npy", ".npz", ".csv", ".tsv")
    np.save(tmp_path / "y.npy", np.eye(3))
    wrong = (tmp_path / "y.npy").rename(tmp_path / "y.csv")
    inputs = load_inputs(wrong, input_size=3)
    assert np.array_equal(inputs.values[0], np.eye(3))
    assert "recognised as npy" in inputs.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.parquet", b"PAR1\x15\x04", ["a Parquet file", "cannot be read as data", "read_parquet"]),
        ("x.csv", b"PAR1\x15\x04", ["Parquet"]),
        ("x.csv", b"<!DOCTYPE html><p>404", ["HTML page"]),
        ("x.npy", b"version https://git-lfs.github.com/spec/v1\n", ["git lfs pull"]),
        ("x.csv.gz", b"\x1f\x8b\x08", ["compressed"]),
        ("x.npy", b"1,2,3\n", [".npy", "first bytes"]),
        ("x.npz", b"1,2,3\n", ["zip"]),
    ],
)
def test_other_kinds(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, *words)


def test_memory_error(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.eye(3))

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("gradscope.files.data._load.prepare", full)
    refused(tmp_path / "x.npy", "not enough memory", exit_code=5)
    refused(tmp_path / "x.npy", "input size", exit_code=2, input_size=0)


def test_messages():
    assert printable("a\x1b[0m\u202e\ud800b") == "a\\x1b[0m\\u202e\\ud800b"
    assert printable("x" * 200) == "x" * 117 + "..."
    assert [amount(n) for n in (17, 1536, 1 << 53)] == ["17 bytes", "1.5 KiB", "8.0 PiB"]
    assert "YiB" in amount(10**400)


def seed_files():
    array = np.arange(12.0).reshape(4, 3)
    npy, npz, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    np.savez(npz, a=array, b=array[:, 0])
    np.savez_compressed(packed, a=array)
    table = b"date,b,c\n1,2.5,3\n4,5,6e1\n7,,nan\n"
    return [("npy", npy.getvalue()), ("npz", npz.getvalue()), ("npz", packed.getvalue()), ("csv", table),
            ("tsv", table.replace(b",", b"\t"))]  # fmt: skip


EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "swap"]), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.sampled_from(seed_files()), edits=EDITS, columns=st.sampled_from([None, None, "b,c", "0"]))
def test_only_our_errors_come_out(tmp_path, seed, edits, columns):
    suffix, content = seed
    for kind, share, new in edits:
        place = int(share * len(content))
        if kind == "cut":
            content = content[:place]
        elif kind == "insert":
            content = content[:place] + new + content[place:]
        elif kind == "swap":
            content = content[place:] + content[:place]
        else:
            content = content[:place] + new + content[place + len(new) :]
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    try:
        inputs = load_inputs(path, input_size=3, columns=columns)
    except (InputError, UsageError, ResourceError) as error:
        assert f"{error.message}{error.hint}".isprintable()
        return
    assert inputs.values.ndim == 3
    assert inputs.values.shape[2] == 3
    assert all(sentence.isprintable() for sentence in (*inputs.notes, *inputs.columns))
