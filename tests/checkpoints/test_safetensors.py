"""safetensors files, honest and evil."""

import json

import numpy as np
import pytest
from torch_files import lstm, save_safetensors, tensors

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import open_checkpoint


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refused(path):
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i1", "c8", "i8"])
def test_element_types(tmp_path, kind):
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(kind),
        "empty": np.zeros((0, 3), kind),
        "b": np.array(2).astype(kind),
    }
    read = open_checkpoint(tensors(tmp_path / "a.safetensors", arrays)).arrays
    assert list(read) == list(arrays)
    assert all(read[k].dtype == v.dtype and np.array_equal(read[k], v) for k, v in arrays.items())


def test_bfloat16_becomes_float32(tmp_path):
    read = open_checkpoint(tensors(tmp_path / "a.safetensors", {"w": np.array([0x3F80, 0xC000], "u2")}))
    assert read.arrays["w"].tolist() == [1, -2] and read.arrays["w"].dtype == np.float32
    assert any("bfloat16" in note for note in read.notes)


EVIL = {
    "hole": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12, "hole of 4 bytes before the tensor b"),
    "hole at the start": ({"a": entry([1], 4, 8)}, 8, "hole"),
    "overlap": ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, 8, "a and b overlap"),
    "past the end": ({"a": entry([4], 0, 16)}, 8, "tensor a ends at byte 16, past the end"),
    "trailing": ({"a": entry([1], 0, 4)}, 9, "5 bytes follow the last tensor, a"),
    "wrong shape": ({"a": entry([3], 0, 8)}, 8, "tensor a.*needs 12 bytes"),
    "backwards": ({"a": entry([1], 4, 0)}, 4, "tensor a"),
    "negative": ({"a": entry([-1], 0, 4)}, 4, "tensor a"),
    "huge": ({"a": entry([2**59, 2**59], 0, 4)}, 4, "tensor a"),
    "huge and empty": ({"a": entry([2**50, 2**50, 0], 0, 0)}, 0, "tensor a"),
    "bool": ({"a": entry([True], 0, 4)}, 4, "tensor a"),
    "dtype": ({"a": entry([1], 0, 4, "F31")}, 4, "tensor a has the type F31"),
    "no fields": ({"a": {}}, 4, "tensor a"),
    "no table": ({"a": 3}, 4, "tensor a"),
    "control characters": ({"\x1b]0;x\x07": 3}, 4, "\\x1b]0;x"),
    "twice": (b'{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}, "a": 1}', 4, "names a twice"),
    "bad JSON": (b'{"a": ', 4, "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', 4, "not JSON"),
    "a list": (b"[]", 0, "not a JSON object"),
    "nesting": (b'{"a":' * 100_000, 0, "not JSON"),
}


@pytest.mark.parametrize("what", EVIL)
def test_evil_headers(tmp_path, what):
    header, size, expected = EVIL[what]
    text = refused(save_safetensors(tmp_path / "a.safetensors", header, bytes(size)))
    assert all(part in text for part in expected.split(".*")), text


@pytest.mark.parametrize("length", [2**40, 2**63, 10**8, 100])
def test_a_header_longer_than_the_file(tmp_path, length):
    (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
    assert f"claims {length} bytes, the file holds 2" in refused(tmp_path / "a.safetensors")


def test_every_truncation(tmp_path):
    path = tensors(tmp_path / "a.safetensors", lstm())
    whole = path.read_bytes()
    for size in range(1, len(whole), 11):
        path.write_bytes(whole[:size])
        refused(path)


def test_several_parts(tmp_path):
    weights = lstm()
    names = list(weights)
    parts = {"m-1.safetensors": names[:2], "m-2.safetensors": names[2:]}
    for file, own in parts.items():
        tensors(tmp_path / file, {n: weights[n] for n in own})
    index = tmp_path / "m.safetensors.index.json"

    def write(table):
        index.write_text(json.dumps({"weight_map": table}))

    write({n: file for file, own in parts.items() for n in own})
    assert set(open_checkpoint(index).arrays) == set(weights)
    for evil in ("../m-1.safetensors", "/etc/passwd", "a\\b.safetensors", "m.npz"):
        write({"a": evil})
        assert "refused" in refused(index)
    write({"a": "m-3.safetensors"})
    assert "missing" in refused(index)
    index.write_text("{}")
    assert "weight_map" in refused(index)
