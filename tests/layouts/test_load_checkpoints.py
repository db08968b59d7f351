"""From a file to its cells."""

import hashlib

import numpy as np
import pytest
from torch_files import lstm, save_legacy, save_zip, tensors

from gradscope.errors import InputError, UsageError
from gradscope.files.layouts._load import load, read_checkpoint


def test_one_network_is_named_after_its_file(tmp_path):
    path = save_zip(tmp_path / "best model.v2.pt", lstm())
    network = read_checkpoint(path)
    assert [f.name for f in network.layers] == ["best model"] and network.others == {}
    assert network.layers[0].notes[0].startswith("best model: ")
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert network.size_bytes == path.stat().st_size and network.format == "torch_zip"


@pytest.mark.parametrize("save", [save_zip, save_legacy, tensors, lambda path, arrays: np.savez(path, **arrays)])
def test_every_container(tmp_path, save):
    weights = lstm(prefix="encoder.lstm.") | {"fc.weight": np.ones((2, 4), "f4")}
    path = tmp_path / "a.npz"
    save(path, weights)
    network = read_checkpoint(path)
    assert network.others == {"fc.weight": ((2, 4), "float32")}
    cell = load(path)["encoder.lstm"]
    assert np.array_equal(cell.U, weights["encoder.lstm.weight_hh_l0"])
    assert cell.U.flags.writeable and cell.U.flags.aligned


def test_layers_are_chosen_by_name(tmp_path):
    weights = lstm(prefix="encoder.lstm.") | lstm(prefix="decoder.lstm.") | lstm(prefix="gru.", gates=3)
    path = tensors(tmp_path / "a.safetensors", weights)
    assert list(load(path)) == ["encoder.lstm", "decoder.lstm", "gru"]
    assert list(load(path, layer="gru")) == ["gru"]
    assert list(load(path, layer="encoder")) == ["encoder.lstm"]
    assert list(load(path, layer="encoder.lstm")) == ["encoder.lstm"]
    for wrong, expected in (("lstm", "several layers"), ("encodr.lstm", "did you mean encoder.lstm")):
        with pytest.raises(UsageError) as caught:
            load(path, layer=wrong)
        assert expected in f"{caught.value.message} | {caught.value.hint}" and "decoder.lstm" in caught.value.hint


def test_directions_are_chosen_by_name(tmp_path):
    weights = lstm(prefix="a.") | lstm(prefix="a.", suffix="_l0_reverse")
    weights |= {f"b.{k}_l{i}": v for i in (0, 1) for k, v in lstm(8 if i else 3, suffix="").items()}
    weights |= {f"b.{k}_l{i}_reverse": v for i in (0, 1) for k, v in lstm(8 if i else 3, suffix="").items()}
    path = tensors(tmp_path / "a.safetensors", weights)
    assert list(load(path, layer="a.reverse")) == ["a.reverse"]
    assert list(load(path, layer="b")) == ["b.l0", "b.l0.reverse", "b.l1", "b.l1.reverse"]
    assert list(load(path, layer="l1.reverse")) == ["b.l1.reverse"]


def test_several_state_dicts_need_a_key(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"model": lstm(seed=1), "ema": lstm(seed=2), "step": 1})
    with pytest.raises(InputError, match="several state dicts.*model, ema") as caught:
        load(path)
    assert "--key model" in caught.value.hint
    assert np.array_equal(load(path, key="ema")["a"].U, lstm(seed=2)["weight_hh_l0"])
    with pytest.raises(UsageError, match="nothing in the file lies under"):
        load(path, key="emma")


def test_one_state_dict_needs_none(tmp_path):
    tree = {"state_dict": lstm(prefix="model.lstm."), "ema": {"decay": np.ones(1, "f4")}}
    network = read_checkpoint(save_zip(tmp_path / "a.ckpt", tree))
    assert [f.name for f in network.layers] == ["model.lstm"] and network.key == "state_dict"


def test_modules_saved_apart_are_one_file(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"encoder": lstm(prefix="lstm."), "decoder": {"lstm": lstm()}})
    assert list(load(path)) == ["encoder.lstm", "decoder.lstm"]


def test_prefixes_of_wrappers_are_noted(tmp_path):
    network = read_checkpoint(save_zip(tmp_path / "a.pt", lstm(prefix="module._orig_mod.rnn.")))
    assert [f.name for f in network.layers] == ["rnn"] and len(network.notes) == 2


def test_errors_name_the_file(tmp_path):
    path = save_zip(tmp_path / "a.pt", {"w": np.ones(3, "f4")})
    with pytest.raises(InputError, match=r"a.pt: no recurrent layers: it holds w \(3,\)"):
        load(path)


def test_options_reach_the_layout(tmp_path):
    path = tensors(tmp_path / "a.safetensors", lstm(gates=1))
    cell = load(path, activation="relu", dtype=np.float64)["a"]
    assert cell.activation == "relu" and cell.dtype == np.float64
