"""Checkpoints that cannot be read, each with exit 4 and what to do; what can be read is read."""

import io
import os

import numpy as np
import pytest


@pytest.mark.parametrize("command", ["analyze", "inspect"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04" + bytes(200), ""),
        (b"<!DOCTYPE html><html>404</html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x00" * 64, "download or save it again"),
        ((1 << 40).to_bytes(8, "little") + b"{" + bytes(60), ""),
        (b"\x93NUMPY\x01\x00", "numpy.savez"),
    ],
    ids=["empty", "truncated", "html", "lfs", "hdf5", "zeros", "terabyte-header", "npy"],
)
def test_damaged(refused, tmp_path, command, content, words):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(4, words, command, path)


def test_missing(refused, tmp_path, checkpoint):
    checkpoint("model.npz")
    refused(4, ["there is no file", "model.npz"], "analyze", tmp_path / "modle.npz")


def test_directory(refused, tmp_path):
    refused(4, "is a directory", "analyze", tmp_path)


def test_not_allowed(refused, checkpoint, monkeypatch):
    path, usual = checkpoint(), os.open

    def deny(name, *arguments, **options):
        if name == path:
            raise PermissionError(13, "Permission denied")
        return usual(name, *arguments, **options)

    monkeypatch.setattr("os.open", deny)
    monkeypatch.setattr("os.access", lambda *arguments, **options: False)
    refused(4, "Permission denied", "analyze", path)


@pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])
def test_malicious(refused, evil, zipped):
    path, mark = evil(zipped)
    refused(4, ["refused", "system"], "analyze", path)
    refused(4, ["refused", "system"], "inspect", path)
    assert not mark.exists()


def test_truncated_zip(refused, checkpoint):
    path = checkpoint()
    path.write_bytes(path.read_bytes()[:-40])
    refused(4, "download", "analyze", path)


def test_no_recurrent_layer(refused, tmp_path):
    np.savez(tmp_path / "cnn.npz", **{"conv.weight": np.ones((4, 3)), "conv.bias": np.ones(4)})
    refused(4, "conv", "analyze", tmp_path / "cnn.npz")


def test_wrong_suffix_is_said_only_when_asked(run, checkpoint, quick):
    path = checkpoint()
    path = path.rename(path.with_suffix(".pt"))
    usual, verbose = run("analyze", path, *quick[2:]), run("analyze", path, *quick[2:], "-v")
    assert (usual.code, usual.err, verbose.code) == (0, "", 0)
    assert len(verbose.out) > len(usual.out)


def test_unknown_layer(refused, checkpoint):
    refused(2, ["not a layer", "known: rnn"], "analyze", checkpoint(), "--layer", "decoder")


def test_two_networks_are_a_comparison(run, checkpoint, quick):
    one = np.load(checkpoint())
    path = checkpoint("two.npz", prefix="enc", **{k: one[k] for k in one})
    done = run("analyze", path, *quick[2:])
    assert (done.code, done.err) == (0, "")
    assert " keeps 0.1 % of the gradient for " in done.out.splitlines()[0]
    assert "enc" in done.out.splitlines()[0]
    assert run("analyze", path, "--layer", "enc", *quick[2:]).out.startswith("VANISHING")


def test_standard_input(finished, checkpoint):
    with checkpoint().open("rb") as f:
        done = finished("analyze", "-", "--steps", "20", "--lags", "4", stdin=f)
    assert (done.code, done.err) == (0, "")
    assert "GRU rnn, 8 units" in done.out


def test_standard_input_inspected(finished, checkpoint):
    with checkpoint().open("rb") as f:
        assert "rnn" in finished("inspect", "-", stdin=f).out


def test_empty_standard_input(finished):
    done = finished("analyze", "-")
    assert (done.code, done.out) == (4, "")
    assert "standard input is empty" in done.err


def test_standard_input_is_a_terminal(refused, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    refused(2, ["standard input is a terminal", "pipe a file into it"], "analyze", "-")
    refused(2, ["standard input is a terminal", "| gradscope report -"], "report", "-")
