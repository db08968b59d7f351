"""Files of torch.save, honest and evil, read without torch."""

import io
import os
import pickle
import sys
import warnings
import zipfile

import numpy as np
import pytest
from torch_files import Call, Name, Ordered, Pickler, Tensor, lstm, save_legacy, save_zip

from gradscope.errors import InputError, UsageError
from gradscope.files.checkpoints import _pickle
from gradscope.files.checkpoints._base import open_checkpoint
from gradscope.files.checkpoints._state import choose_state

ORDERED = Name("collections", "OrderedDict")
SAVERS = pytest.mark.parametrize("save", [save_zip, save_legacy])
HOSTILE = (
    "posix.system os.system builtins.eval __builtin__.getattr subprocess.Popen torch.hub.load pip.main "
    "importlib.import_module runpy.run_path collections._sys.exit"
).split()
W = np.arange(12, dtype="f4").reshape(3, 4)


def refused(path):
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
    return f"{caught.value.message} | {caught.value.hint}"


@SAVERS
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i8", "i1", "c8", "b1"])
def test_element_types(tmp_path, save, kind):
    array = np.arange(6).reshape(2, 3).astype(kind)
    read = open_checkpoint(save(tmp_path / "a.pt", {"w": array})).arrays["w"]
    assert read.dtype == array.dtype and np.array_equal(read, array)


@SAVERS
def test_bfloat16_becomes_float32(tmp_path, save):
    values = np.array([1.0, -2.5, np.inf, 3e38], "f4")
    half = (values.view("u4") >> 16).astype("u2")
    read = open_checkpoint(save(tmp_path / "a.pt", {"w": Tensor(half, "BFloat16Storage")}))
    assert np.allclose(read.arrays["w"], values, rtol=2**-7) and read.arrays["w"].dtype == np.float32
    assert any("bfloat16" in note for note in read.notes)


def test_float8_keeps_its_name(tmp_path):
    pid = Pickler().tensor(Tensor(np.zeros(3, "i1"), "UntypedStorage")).args[0]
    args = (pid, 0, (3,), (1,), False, Call(ORDERED), Name("torch", "float8_e4m3fn"))
    tree = {"a": np.zeros(3, "f4"), "w": Call(Name("torch._utils", "_rebuild_tensor_v3"), args)}
    read = open_checkpoint(save_zip(tmp_path / "a.pt", tree)).arrays["w"]
    assert read.dtype.names == ("float8_e4m3fn",) and read.shape == (3,)


@SAVERS
def test_views_of_one_storage(tmp_path, save):
    flat = np.arange(24, dtype="f4")
    lies = {
        "t": {"shape": (4, 3), "strides": (1, 4)},
        "part": {"shape": (2,), "strides": (3,), "offset": 5},
        "scalar": {"shape": (), "strides": (), "offset": 7},
        "empty": {"shape": (0, 5), "strides": (5, 1)},
        "one": {"shape": (1, 24), "strides": (0, 1)},
    }
    read = open_checkpoint(save(tmp_path / "a.pt", {k: Tensor(flat, lies=v) for k, v in lies.items()})).arrays
    assert np.array_equal(read["t"], flat[:12].reshape(3, 4).T)
    assert np.array_equal(read["part"], flat[[5, 8]]) and read["scalar"] == 7
    assert read["empty"].shape == (0, 5) and np.array_equal(read["one"], flat[None])


def test_a_big_endian_file(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"w": W.astype(">f4").view("<f4")}, extra={"archive/byteorder": b"big"})
    assert np.array_equal(open_checkpoint(path).arrays["w"], W)


@SAVERS
def test_a_lightning_checkpoint(tmp_path, save):
    weights = lstm(prefix="model.lstm.")
    tree = {
        "epoch": 3,
        "state_dict": Ordered(weights, {"_metadata": {"": {"version": 1}}}),
        "hyper_parameters": Call(Name("argparse", "Namespace"), (), {"lr": 0.1}),
        "config": Call(Name("mylib.config", "Config"), ("a",)),
        "np": Call(Name("numpy.core.multiarray", "scalar"), (Call(Name("numpy", "dtype"), ("f8",)), "x")),
        "optimizer_states": [{"state": {0: {"exp_avg": W}}, "param_groups": [{"lr": 1e-3}]}],
        "path": Call(Name("pathlib", "PosixPath"), ("/", "tmp")),
        "size": Call(Name("torch", "Size"), ((1, 2),)),
        "device": Call(Name("torch", "device"), ("cuda", 0)),
    }
    read = open_checkpoint(save(tmp_path / "a.ckpt", tree))
    assert read.states == ("state_dict",)
    assert set(choose_state(read)["state_dict"].arrays) == set(weights)
    assert any("optimizer_states" in n for n in read.notes) and any("mylib.config.Config" in n for n in read.notes)


@SAVERS
@pytest.mark.parametrize("name", HOSTILE)
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, save, name):
    module, attribute = name.rsplit(".", 1)
    mark = tmp_path / "ran"
    text = refused(save(tmp_path / "a.pt", {"w": W, "x": Call(Name(module, attribute), (f"touch {mark}",))}))
    assert f"refused: asks to import {name}" in text and not mark.exists()


def test_a_malicious_pickle_of_pickle_itself(tmp_path):
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.pt").write_bytes(pickle.dumps(Evil(), protocol))
        assert f"refused: asks to import {os.system.__module__}.system" in refused(tmp_path / "a.pt")
    assert not mark.exists()


def test_other_pickles(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}))
    assert "torch.save did not write" in refused(tmp_path / "a.pt")


@SAVERS
def test_a_whole_model(tmp_path, save):
    model = Call(Name("mylib", "Net"), (), {"_modules": {}, "_parameters": {"w": W}})
    for tree in (model, {"model": model}, {"model": model, "optimizer": {"state": {0: W}}}):
        text = refused(save(tmp_path / "a.pt", tree))
        assert "whole model (mylib.Net)" in text and "state_dict()" in text


@pytest.mark.parametrize("member", ["archive/code/__torch__.py", "archive/constants.pkl"])
def test_torchscript(tmp_path, member):
    text = refused(save_zip(tmp_path / "a.pt", {}, extra={member: b""}))
    assert "TorchScript" in text and "torch.jit.load" in text


def test_torch_export(tmp_path):
    text = refused(save_zip(tmp_path / "a.pt2", {}, extra={"archive/archive_format": b"pt2"}))
    assert ".pt2" in text and "state_dict()" in text


@SAVERS
@pytest.mark.parametrize("name", ["torch.ScriptObject", "torch._utils._rebuild_qtensor", "torch.QInt8Storage"])
def test_quantised_weights_are_named(tmp_path, save, name):
    assert name in refused(save(tmp_path / "a.pt", {"w": Call(Name(*name.rsplit(".", 1)), ())}))


LIES = {
    "larger than its storage": {"shape": (1_000_000, 1_000_000), "strides": (1_000_000, 1)},
    "overlapping": {"shape": (1_000_000, 1_000_000), "strides": (0, 0)},
    "overlapping by one": {"shape": (6, 6), "strides": (1, 1)},
    "stride 0": {"shape": (100, 4), "strides": (0, 1)},
    "negative stride": {"strides": (-4, 1)},
    "negative offset": {"offset": -1},
    "offset past the end": {"offset": 1},
    "huge": {"shape": (2**62, 2**62), "strides": (1, 1)},
    "huge and empty": {"shape": (2**47, 2**47, 0), "strides": (1, 1, 1)},
    "many dimensions": {"shape": (1,) * 100, "strides": (1,) * 100},
    "not numbers": {"shape": ("a", 2.0)},
    "not a tuple": {"shape": 3},
    "bool": {"shape": (True, 1)},
    "too few strides": {"strides": (1,)},
    "storage larger than the file": {"numel": 10**9},
    "negative storage": {"numel": -1},
}


@SAVERS
@pytest.mark.parametrize("lie", LIES)
def test_geometry_is_compared_with_the_bytes(tmp_path, save, lie):
    text = refused(save(tmp_path / "a.pt", {"lstm.w": Tensor(W, lies=LIES[lie])}))
    assert "lstm.w" in text or "damaged" in text, text
    if lie == "stride 0":
        assert "stride 0" in text


def test_a_missing_storage(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"w": W})
    with zipfile.ZipFile(path) as archive:
        main = archive.read("archive/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", main)
    assert "storage 0 is missing" in refused(path)


def test_a_compressed_member(tmp_path):
    assert "compressed" in refused(save_zip(tmp_path / "a.pt", {"w": W}, compress=zipfile.ZIP_DEFLATED))


@SAVERS
def test_every_truncation(tmp_path, save):
    path = save(tmp_path / "a.pt", {"w": W})
    whole = path.read_bytes()
    for size in range(4, len(whole), 7):
        path.write_bytes(whole[:size])
        text = refused(path)
        if save is save_zip:
            assert "not a complete zip" in text and "again" in text


def test_a_damaged_storage(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"w": W})
    path.write_bytes(path.read_bytes().replace(W.tobytes(), W[::-1].tobytes()))
    assert "checksum" in refused(path)


def test_an_encrypted_member(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"w": W})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert "encrypted" in refused(path)


def test_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "")
    assert "not one of torch.save; it holds readme.txt" in refused(tmp_path / "a.pt")


DEEP = 400_000
BOMBS = {
    "too many": b"]" * 1_100_000,
    "lists": b"]" * DEEP + b"a" * (DEEP - 1),
    "tuples": b")" + b"\x85" * DEEP,
    "tuple as a key": b"}" + b")" + b"\x85" * DEEP + b"K\x01s",
    "dicts": b"}" + b"U\x01a}" * 100_000 + b"s" * 100_000,
    "memo": b"]q\x00" + b"".join(b"]q%c(" % i + b"h%c" % (i - 1) * 50 + b"e" for i in range(1, 200)),
    "cycle": b"}q\x00U\x01ah\x00s",
    "long text": b"\x8d" + (2**62).to_bytes(8, "little"),
    "memo index": b"]r\xff\xff\xff\xff",
    "frame": b"\x95" + (2**62).to_bytes(8, "little") + b"]",
    "long number": b"\x8b" + (2**31 - 1).to_bytes(4, "little"),
    "decimal": b"I" + b"9" * 100_000 + b"\n",
    "setitem on a list": b"]U\x01aK\x01s",
    "append to a dict": b"}K\x01a",
    "extension": b"\x82\x01",
    "persistent text": b"Pabc\n",
    "persistent number": b"K\x01Q",
    "persistent short": b"U\x07storage\x85Q",
    "many names": b"".join(b"ca%d\nb\n" % i for i in range(20_000)),
    "no stack": b"0000",
    "no mark": b"t",
    "odd items": b"}(K\x01u",
    "no memo": b"h\x09",
    "name of numbers": b"K\x01K\x02\x93",
    "tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNt R".replace(b" ", b""),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_hostile_pickles_end_in_a_sentence(tmp_path, bomb):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + BOMBS[bomb] + b".")
    before = sys.getrecursionlimit()
    try:
        assert open_checkpoint(path).arrays == {}
    except InputError as error:
        assert error.exit_code == 4
    assert sys.getrecursionlimit() == before


def test_odd_escapes_do_not_warn(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"S'\\d'\n.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_checkpoint(tmp_path / "a.pt").arrays == {}


def test_the_machine_reads_what_pickle_writes():
    class Plain(_pickle.World):
        def name(self, name):
            pass

        def call(self, name, args):
            return (str(name), *args)

        def persistent(self, pid):
            return pid

    value = {"a": [1, -2, 2**70, 1.5, None, True, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "b": "\N{SNAKE}", "c": {}}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        stream = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
        assert _pickle.unpickle(stream, Plain()) == value and stream.read() == b"rest"


@SAVERS
def test_state_dicts(tmp_path, save):
    tree = {"model": lstm(prefix="module."), "ema": lstm(prefix="_orig_mod."), "step": 3, "loss": W}
    read = open_checkpoint(save(tmp_path / "a.pt", tree))
    assert read.states == ("model", "ema", "")
    chosen = choose_state(read)
    assert set(chosen["model"].arrays) == set(chosen["ema"].arrays) == set(lstm())
    assert any("module." in n for n in chosen["model"].notes) and any("_orig_mod." in n for n in chosen["ema"].notes)
    assert set(chosen[""].arrays) == {"loss"}
    assert set(choose_state(read, "ema")) == {"ema"}
    with pytest.raises(UsageError, match="emma"):
        choose_state(read, "emma")


def test_wrappers_inside_names(tmp_path):
    read = open_checkpoint(save_zip(tmp_path / "a.pt", lstm(prefix="module.net._orig_mod.lstm.")))
    assert set(choose_state(read)[""].arrays) == set(lstm(prefix="net.lstm."))
