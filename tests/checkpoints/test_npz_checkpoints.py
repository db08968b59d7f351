"""numpy.savez files, honest and evil."""

import io
import zipfile

import numpy as np
import pytest
from torch_files import lstm

from gradscope.errors import InputError, ResourceError
from gradscope.files.checkpoints._base import open_checkpoint


def refused(path, error=InputError):
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == (4 if error is InputError else 5)
    return f"{caught.value.message} | {caught.value.hint}"


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, raw in members.items():
            file.writestr(name, raw)
    return path


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "f2", "i8", "c8", "?"])
def test_element_types_and_orders(tmp_path, save, kind):
    array = np.arange(6).reshape(2, 3).astype(kind)
    arrays = {"a": array, "f": np.asfortranarray(array), "scalar": array[1, 1], "empty": array[:0], "v": array[0]}
    save(tmp_path / "a.npz", **arrays)
    read = open_checkpoint(tmp_path / "a.npz").arrays
    assert list(read) == list(arrays)
    for key, expected in arrays.items():
        assert (
            np.array_equal(read[key], expected)
            and read[key].dtype.isnative
            and read[key].dtype.kind == expected.dtype.kind
        )


def test_text_is_left_out(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(3), names=np.array(["a", "b"]))
    read = open_checkpoint(tmp_path / "a.npz")
    assert list(read.arrays) == ["w"] and any("names" in n for n in read.notes)


def test_a_zip_bomb_is_over_the_limit(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(8_000_000))
    assert "over the limit" in refused(tmp_path / "a.npz", ResourceError)


def test_small_compressed_zeros_are_fine(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(100_000))
    assert not open_checkpoint(tmp_path / "a.npz").arrays["w"].any()


def test_a_header_that_claims_8_pib(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,), }"
    raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    text = refused(archive(tmp_path / "a.npz", **{"w.npy": raw}))
    assert "array w" in text and "claims 8.0 PiB" in text and "the file holds 0 bytes" in text


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", allow_pickle=True, w=np.array([print, {}], object))
    text = refused(tmp_path / "a.npz")
    assert "array w is an object array" in text


def test_a_path_is_only_a_key(tmp_path):
    path = archive(tmp_path / "a.npz", **{"../../x.npy": npy(np.ones(2)), "/etc/y.npy": npy(np.ones(2))})
    assert list(open_checkpoint(path).arrays) == ["../../x", "/etc/y"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


HEADERS = {
    "structured": "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
    "expression": "{'descr': '<f8', 'fortran_order': False, 'shape': (10**10,), }",
    "call": "__import__('os').system('x')",
    "negative": "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "type": "{'descr': '<f999999', 'fortran_order': False, 'shape': (1,), }",
    "many": "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 70 + "), }",
    "huge and empty": "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999,), }",
    "nothing": "",
}


@pytest.mark.parametrize("what", HEADERS)
def test_odd_headers(tmp_path, what):
    header = HEADERS[what].encode()
    raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    assert "array w" in refused(archive(tmp_path / "a.npz", **{"w.npy": raw}))


def test_damaged_zips(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **lstm())
    whole = path.read_bytes()
    for size in range(4, len(whole), 41):
        path.write_bytes(whole[:size])
        assert "not a complete zip" in refused(path)
    path.write_bytes(whole.replace(b"PK\x03\x04", b"PK\x03\x05").replace(b"PK\x03\x05", b"PK\x03\x04", 1))
    assert "zip" in refused(path)


def test_an_empty_archive(tmp_path):
    assert open_checkpoint(archive(tmp_path / "a.npz")).arrays == {}
