"""Arrays: .npy and .npz, good and bad. Row numbers are those of the table of bad inputs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradscope.errors import GradscopeError
from gradscope.files.data._load import load_array, load_inputs, split_key
from gradscope.numerics.nonfinite import NonFinite


def refused(path, exit_code, *words, size=3, **options):
    with pytest.raises(GradscopeError) as caught:
        load_inputs(path, input_size=size, **options)
    text = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == exit_code, text
    for word in words:
        assert word in text, text
    assert text.isprintable()
    return text


def save(tmp_path, array, name="x.npy", **keywords) -> Path:
    path = tmp_path / name
    np.save(path, array, **keywords)
    return path


def header_of(shape, descr="<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


NOISE = np.random.default_rng(0).standard_normal((4, 7, 3))


def test_one_sequence(tmp_path):
    inputs = load_inputs(save(tmp_path, NOISE[0]), input_size=3)
    assert inputs.values.shape == (1, 7, 3)
    assert inputs.values.flags.c_contiguous
    assert np.array_equal(inputs.values[0], NOISE[0])
    assert (inputs.notes, inputs.nonfinite, inputs.warnings) == ((), (), ())


def test_row_55_header_lies(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(header_of((1 << 50,)))
    refused(path, 4, "header claims 8.0 PiB", "file holds 0 bytes")
    path.write_bytes(header_of((10**19, 10**19, 10**19)))
    refused(path, 4, "header claims")
    path.write_bytes(header_of((4, 3)) + bytes(95))
    refused(path, 4, "header claims 96 bytes", "file holds 95 bytes")


def test_header_too_long_and_cut_off(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff")
    refused(path, 4, "header claims 4.0 GiB")
    path.write_bytes(b"\x93NUMPY\x01\x00\x76")
    refused(path, 4, "not a complete .npy")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_header_version(tmp_path, version):
    path = tmp_path / "x.npy"
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, NOISE[0], version=version)
    assert np.array_equal(load_inputs(path, input_size=3).values[0], NOISE[0])


def test_bytes_after_the_array_are_noted(tmp_path):
    path = save(tmp_path, NOISE[0])
    path.write_bytes(path.read_bytes() + b"12345")
    assert "5 bytes after the end" in load_inputs(path, input_size=3).notes[0]


def test_memory_limit(tmp_path):
    refused(save(tmp_path, NOISE[0]), 5, "limit", max_bytes=100)
    refused(save(tmp_path, NOISE[0].astype(np.float16)), 5, "limit", max_bytes=100)  # grows when converted


def test_row_54_zip_bomb(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(70 << 20))
    refused(path, 5, "200:1")


def test_row_54_total_over_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("gradscope.files.npy.MAX_UNPACKED_BYTES", 1000)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(200))
    refused(path, 5, "unpack", "limit")


def test_row_56_objects_never_run(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (ran,))

    array = np.array([Trap()], dtype=object)
    refused(save(tmp_path, array, allow_pickle=True), 4, "object array")
    np.savez(tmp_path / "x.npz", a=array)
    refused(tmp_path / "x.npz", 4, "object array")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array(["a"]), ["text"]),
        (np.array(["2020-01-01"], "M8[D]"), ["dates"]),
        (np.zeros(3, [("a", "f8"), ("b", "i4")]), ["records"]),
        (np.zeros(3, "V2"), ["bfloat16"]),
    ],
)
def test_not_numbers(tmp_path, array, words):
    refused(save(tmp_path, array), 4, *words)


def test_row_57_odd_member_names_are_plain_keys(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{"../../x": NOISE, "\x1b]0;y\x07": np.zeros(5)})
    inputs = load_inputs(path, input_size=3)
    assert inputs.values.shape == (4, 7, 3)
    assert "'../../x' was used" in inputs.notes[0]
    assert "\x1b" not in inputs.notes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npz"]
    refused(path, 4, "\\x1b]0;y", size=9)


def test_npz_choice(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=NOISE, b=NOISE[0], labels=np.arange(4))
    refused(path, 4, "2 of its arrays fit", "a (4, 7, 3)", "b (7, 3)", "x.npz:KEY")
    assert load_inputs(path, input_size=3, key="b").values.shape == (1, 7, 3)
    assert load_inputs(f"{path}:b", input_size=3).values.shape == (1, 7, 3)
    refused(path, 2, "no array 'bb'", "did you mean b", key="bb")
    refused(path, 4, "none of its arrays fit", size=5)


def test_split_key(tmp_path):
    assert split_key("d/x.npz:a:b") == (Path("d/x.npz"), "a:b")
    assert split_key("x.npz") == (Path("x.npz"), None)
    assert split_key("x.npy:a") == (Path("x.npy:a"), None)
    odd = tmp_path / "x.npz:a"
    odd.touch()
    assert split_key(odd) == (odd, None)


def test_key_of_another_format(tmp_path):
    refused(save(tmp_path, NOISE), 2, "is npy, which has no arrays to choose from", key="a")


def test_npz_damage(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=NOISE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    refused(path, 4, "not a complete zip")
    path.write_bytes(whole[:300] + b"\xff" + whole[301:])
    refused(path, 4, "not a complete zip", "CRC")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "x")
    refused(path, 4, "no .npy arrays")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header_of((1 << 50,)))
    refused(path, 4, "header claims 8.0 PiB")


def test_row_58_width(tmp_path):
    refused(save(tmp_path, NOISE), 4, "3 features", "input size is 5", size=5)
    refused(save(tmp_path, NOISE[0].T), 4, "7 features", "input size is 3", "transpose")
    refused(save(tmp_path, NOISE.transpose(0, 2, 1)), 4, "moveaxis(x, 1, -1)")


def test_row_59_one_axis(tmp_path):
    path = save(tmp_path, NOISE[0, :, 0])
    assert load_inputs(path, input_size=1).values.shape == (1, 7, 1)
    refused(path, 4, "one column", "input size is 3")
    refused(save(tmp_path, NOISE[:, :, 0]), 4, "4 sequences", "(4, 7, 1)", size=1)


def test_row_60_axes(tmp_path):
    refused(save(tmp_path, NOISE[None]), 4, "4 axes")
    refused(save(tmp_path, np.array(1.0)), 4, "0 axes")


def test_row_61_layout(tmp_path):
    path = save(tmp_path, NOISE)
    default = load_inputs(path, input_size=3)
    assert "--layout tbf" in default.notes[0]
    said = load_inputs(path, input_size=3, layout="btf")
    assert said.notes == ()
    assert np.array_equal(default.values, said.values)
    swapped = load_inputs(path, input_size=3, layout="tbf").values
    assert swapped.flags.c_contiguous
    assert np.array_equal(swapped, NOISE.swapaxes(0, 1))
    refused(path, 2, "btf or tbf", layout="bft")


def test_row_62_tokens(tmp_path):
    refused(save(tmp_path, np.arange(9)), 4, "needs their embeddings")
    refused(save(tmp_path, np.arange(8).reshape(2, 4)), 4, "needs their embeddings")
    inputs = load_inputs(save(tmp_path, np.arange(6).reshape(2, 3)), input_size=3)
    assert inputs.values.dtype == np.float64
    assert "converted from int64" in inputs.notes[0]
    assert load_inputs(save(tmp_path, np.arange(6)), input_size=1).values.shape == (1, 6, 1)


def test_row_63_length(tmp_path):
    refused(save(tmp_path, np.zeros((0, 3))), 4, "length zero")
    (tmp_path / "x.npy").write_bytes(header_of((0, 1 << 60, 1 << 60)))
    refused(tmp_path / "x.npy", 4, "length zero")
    assert load_inputs(save(tmp_path, np.ones((1, 3))), input_size=3).values.shape == (1, 1, 3)


def spoilt():
    array = NOISE.copy()
    array[1, 2, 0] = array[3, 2, 1] = np.nan
    array[0, 5, 2] = -np.inf
    return array


def test_row_64_records(tmp_path):
    inputs = load_inputs(save(tmp_path, spoilt()), input_size=3)
    assert inputs.nonfinite == (
        NonFinite("data", "nan", 2, (1, 2, 0)),
        NonFinite("data", "-inf", 1, (0, 5, 2)),
    )


def test_row_64_policies(tmp_path):
    path = save(tmp_path, spoilt())
    refused(path, 4, "2 nan and 1 -inf", "sequence 0, step 5, column 2", nan="error")
    zero = load_inputs(path, input_size=3, nan="zero")
    assert zero.nonfinite == ()
    assert zero.values[1, 2, 0] == 0
    assert zero.warnings[0][0] == "GS-DATA-NONFINITE"
    refused(path, 4, "cannot be dropped", nan="drop")
    alike = NOISE.copy()
    alike[:, 2, 1] = np.nan
    dropped = load_inputs(save(tmp_path, alike), input_size=3, nan="drop")
    assert np.array_equal(dropped.values, np.delete(NOISE, 2, axis=1))
    assert dropped.values.flags.c_contiguous
    assert "1 of 7 steps" in dropped.warnings[0][1]
    refused(save(tmp_path, np.full((2, 3), np.nan)), 4, "no step is left", nan="drop")
    refused(path, 2, "--nan", nan="skip")


def test_odd_bits(tmp_path):
    """Signalling NaNs and infinities raise no floating-point warning anywhere."""
    odd = NOISE[0].copy()
    odd.view(np.uint64)[2, 1] = 0x7FF0000000000001
    assert load_inputs(save(tmp_path, odd), input_size=3).nonfinite[0].kind == "nan"
    path = tmp_path / "x.csv"
    path.write_text("inf,1\ninf,2\n")
    refused(path, 4, "2 features", size=1)


def test_row_65_no_drive(tmp_path):
    for array, word in ((np.zeros((5, 3)), "zero everywhere"), (np.tile([1.0, 2, 3], (5, 1)), "constant")):
        ((code, message),) = load_inputs(save(tmp_path, array), input_size=3).warnings
        assert code == "GS-NO-DRIVE"
        assert word in message
    assert load_inputs(save(tmp_path, np.ones((1, 3))), input_size=3).warnings == ()


@pytest.mark.parametrize("dtype", [">f8", "<f2", ">f4", ">i2", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_row_66_dtypes_and_orders(tmp_path, dtype, order):
    array = np.asarray(np.round(3 * NOISE) % 2, dtype=dtype, order=order)
    inputs = load_inputs(save(tmp_path, array), input_size=3, layout="btf")
    assert inputs.values.dtype == np.dtype(np.float64)
    assert inputs.values.dtype.isnative
    assert inputs.values.flags.c_contiguous
    assert np.array_equal(inputs.values, array)


def test_row_67_complex(tmp_path):
    refused(save(tmp_path, NOISE + 1j), 4, "complex")


def test_float32_that_overflows(tmp_path):
    inputs = load_inputs(save(tmp_path, np.array([[1e300, 1, 2]])), input_size=3, dtype=np.float32)
    assert inputs.values.dtype == np.float32
    assert any("overflow float32" in note for note in inputs.notes)
    assert inputs.nonfinite[0].kind == "inf"
    refused(save(tmp_path, NOISE), 2, "float32 or float64", dtype=np.int32)


def test_columns_of_an_array(tmp_path):
    path = save(tmp_path, NOISE)
    assert np.array_equal(load_inputs(path, input_size=2, columns="2,0").values, NOISE[..., [2, 0]])
    refused(path, 2, "no column 'a'", "0 to 2", columns="a")
    refused(path, 2, "no column '3'", columns="3")
    refused(path, 2, "twice", columns="1,1")
    refused(save(tmp_path, NOISE[0, 0]), 2, "two or more axes", columns="0", size=1)


def test_load_array(tmp_path):
    path = save(tmp_path, np.asfortranarray(NOISE[0].astype(">f4")))
    array = load_array(path)
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    assert np.array_equal(array, NOISE[0].astype(np.float32))
    np.savez(tmp_path / "x.npz", a=array)
    for bad, words in (
        (tmp_path / "x.npz", "not a .npy"),
        (save(tmp_path, NOISE * 1j, "c.npy"), "complex"),
        (save(tmp_path, spoilt(), "n.npy"), "2 nan"),
        (save(tmp_path, np.zeros((0, 3)), "z.npy"), "length zero"),
    ):
        with pytest.raises(GradscopeError, match=words) as caught:
            load_array(bad)
        assert caught.value.exit_code == 4


def test_npz_of_other_writers(tmp_path):
    """Another order of the header's keys, double quotes, and no padding are all allowed by the format."""
    text = b'{"shape": (2, 3), "fortran_order": True, "descr": "<f4"}\n'
    body = io.BytesIO()
    body.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    body.write(np.arange(6, dtype="<f4").tobytes())
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", body.getvalue())
    assert load_inputs(path, input_size=3).values[0].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_the_shape_is_checked_before_elements_are_read(tmp_path, monkeypatch):
    def unexpected(*_):
        raise AssertionError("elements are read")

    monkeypatch.setattr("gradscope.files.data.npy.read_values", unexpected)
    refused(save(tmp_path, NOISE), 4, "3 features per step", "input size is 5", size=5)
    np.savez(tmp_path / "x.npz", a=NOISE)
    monkeypatch.setattr("gradscope.files.data.npz.read_member", unexpected)
    refused(tmp_path / "x.npz", 4, "3 features per step", "input size is 5", size=5)
