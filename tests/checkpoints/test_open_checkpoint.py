"""What a person gets who names the wrong file."""

import gzip
import zipfile

import numpy as np
import pytest
from torch_files import lstm, save_legacy, save_zip, tensors

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import open_checkpoint
from gradscope.files.display import printable


def refused(path):
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
    return f"{caught.value.message} | {caught.value.hint}"


def test_a_missing_file_lists_its_neighbours(tmp_path):
    save_zip(tmp_path / "weights_best.pt", {})
    text = refused(tmp_path / "weights_bets.pt")
    assert "no file" in text and "weights_best.pt" in text
    assert "no file" in refused(tmp_path / "nowhere" / "x.pt")


def test_a_directory(tmp_path):
    save_zip(tmp_path / "a.pt", {})
    text = refused(tmp_path)
    assert "is a directory" in text and "a.pt" in text


def test_no_permission_says_why(tmp_path, monkeypatch):
    path = save_zip(tmp_path / "a.pt", {})

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gradscope.files.opening.os.open", denied)
    assert "Permission denied" in refused(path)


def test_an_empty_file(tmp_path):
    (tmp_path / "a.pt").touch()
    assert "the file is empty" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["x" * 300 + ".pt", "a\0b.pt"])
def test_impossible_names(tmp_path, name):
    assert "cannot read" in refused(tmp_path / name)


RECOGNISED = {
    "html": (b"\n<!DOCTYPE html><html>404", "is an HTML page.*the download failed"),
    "xml": (b"<?xml version='1.0'?><Error/>", "XML"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file.*cannot be read as a checkpoint.*numpy.savez.*zrn"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a", "an ONNX file.*torch.save"),
    "msgpack": (b"\x81\xa6params\x81\xa3cell", "flax msgpack.*numpy.savez"),
    "npy": (b"\x93NUMPY\x01\x00", "npy"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "tar"),
    "gzip": (gzip.compress(b"x"), "compressed"),
    "text": (b"hello, world", "no supported format.*supported: .*safetensors"),
}


@pytest.mark.parametrize("what", RECOGNISED)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_files_are_recognised(tmp_path, what, suffix):
    content, expected = RECOGNISED[what]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    text = refused(path)
    if not (what == "text" and suffix == ".safetensors"):
        parts = expected.split(".*")
        assert all(part in text for part in parts), text


def test_a_keras_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    text = refused(tmp_path / "a.keras")
    assert "Keras" in text and "savez" in text


def test_the_content_decides_not_the_suffix(tmp_path):
    weights = lstm()
    for path in (
        tensors(tmp_path / "a.pt", weights),
        save_zip(tmp_path / "b.safetensors", weights),
        save_legacy(tmp_path / "c.npz", weights),
    ):
        read = open_checkpoint(path)
        assert any("despite its suffix" in note for note in read.notes)
        assert all(np.array_equal(read.arrays[k], v) for k, v in weights.items())


@pytest.mark.parametrize("name", ["with space.pt", "[WIP].pt", "new\nline.pt", "\N{SNAKE}.pt", "e" * 240 + ".pt"])
def test_odd_file_names(tmp_path, name):
    assert open_checkpoint(save_zip(tmp_path / name, lstm())).arrays
    (tmp_path / name).write_bytes(b"<html>")
    assert "\n" not in refused(tmp_path / name)


def test_printable_escapes_and_cuts():
    assert printable("\x1b]0;x\x07") == "\\x1b]0;x\\x07"
    assert printable("a\u202eb\ud800") == "a\\u202eb\\ud800"
    assert len(printable("x" * 1000)) == 120 and len(printable("\0" * 120)) == 120
