"""What a file does not say: the layer is exact, refused, or says what was assumed; in Python, too."""

import numpy as np
import pytest
from torch_files import lstm

import gradscope
from gradscope.errors import InputError, UsageError
from gradscope.files.layouts._base import find_layers
from gradscope.files.layouts._load import load

KINDS = {1: "an RNN", 3: "a GRU", 4: "an LSTM"}


def one(tensors, **options):
    (layer,) = find_layers(tensors, **options)
    return layer


def norms(prefix, hidden=4):
    sizes = {"ln_ih": 4 * hidden, "ln_hh": 4 * hidden, "ln_ho": hidden}
    return {f"{prefix}{n}.{p}": np.ones(k, "f4") for n, k in sizes.items() for p in ("weight", "bias")}


@pytest.mark.parametrize("prefix", ["", "rnn.", "layers.0.cell."])
@pytest.mark.parametrize("suffix", ["", "_l0"])
def test_parameters_of_the_module_are_unused(prefix, suffix):
    """Those of a subclass with layer normalisation; an embedding and a head beside the module are no part of it."""
    others = {"embedding.weight": np.ones((9, 3), "f4"), "fc.weight": np.ones((2, 4), "f4")} if prefix else {}
    layer = one(lstm(prefix=prefix, suffix=suffix) | norms(prefix) | others)
    assert layer.unused == tuple(norms(""))
    assert "6 parameters of the same module not used: ln_ih.weight, ln_ih.bias" in layer.assumptions[0]
    assert layer.cell.unused == layer.unused and layer.cell.assumptions == tuple(layer.assumptions)
    document = gradscope.analyze(layer.cell, steps=12, batch=2, lags=0).to_dict()
    assert document["model"]["assumptions"] == layer.assumptions and document["model"]["unused"] == list(layer.unused)
    assumed = [w["message"] for w in document["warnings"] if w["code"] == "GS-ASSUME"]
    assert assumed == layer.assumptions[1:] and len(assumed) == (suffix == "")
    first = document["verdict"]["findings"][0]
    assert (first["code"], first["level"]) == ("GS-UNUSED", "warning") and "ln_ho.bias" in first["message"]


def test_an_ordinary_model_says_nothing():
    others = {"embedding.weight": np.ones((9, 3), "f4"), "fc.weight": np.ones((2, 4), "f4"), "fc.bias": np.ones(2)}
    for weights in (lstm(prefix="lstm."), lstm(prefix="lstm.") | lstm(4, prefix="lstm.", suffix="_l1")):
        layer = one(others | weights)
        assert layer.assumptions == [] and layer.unused == () and layer.cell.assumptions == ()
    assert one(lstm()).assumptions == []


@pytest.mark.parametrize("prefix", ["", "cells.0."])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_a_cell_has_a_loop_that_is_in_no_file(gates, prefix):
    sentence = one(lstm(gates=gates, prefix=prefix, suffix="")).assumptions[0]
    assert "names without _l0" in sentence and f"{KINDS[gates]} whose state is fed back unchanged" in sentence


# Shapes of a cell library that writes weight_ih and weight_hh for every cell, I = 3, H = 4: some have just the shapes
# of an RNN or a GRU, some have more beside them, and the rest have rows that fit nothing.
LIBRARY = {
    "ATR": {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,)},
    "coRNN": {"weight_ih": (4, 3), "weight_hh": (4, 4), "weight_ch": (4, 4), "bias_ih": (4,), "bias_hh": (4,),
              "bias_ch": (4,)},
    "FastGRNN": {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (8,), "bias_hh": (8,), "zeta": (1,), "nu": (1,)},
    "FastRNN": {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,), "alpha": (1,),
                "beta": (1,)},
    "JANET": {"weight_ih": (8, 3), "weight_hh": (8, 4), "bias_ih": (8,), "bias_hh": (8,), "beta": ()},
    "MinimalRNN": {"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,), "weight_mm": (4, 4)},
    "MUT2": {"weight_ih": (12, 3), "weight_hh": (12, 4), "bias_ih": (12,), "bias_hh": (12,)},
    "PeepholeLSTM": {"weight_ih": (16, 3), "weight_hh": (16, 4), "weight_ph": (12,), "bias_ih": (16,),
                     "bias_hh": (16,)},
    "STAR": {"weight_ih": (8, 3), "weight_hh": (4, 4), "bias_ih": (8,), "bias_hh": (4,)},
    "UnICORNN": {"weight_ih": (4, 3), "weight_hh": (4,), "weight_ch": (4,), "bias_ih": (4,), "bias_hh": (4,)},
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "cells.0."])
@pytest.mark.parametrize("name", LIBRARY)
def test_other_cells_under_the_same_names_are_refused_or_flagged(name, prefix):
    rng = np.random.default_rng(0)
    tensors = {prefix + k: rng.normal(size=s).astype("f4") for k, s in LIBRARY[name].items()}
    fits = name not in ("FastGRNN", "JANET", "STAR", "UnICORNN")
    if not fits:
        with pytest.raises(InputError):
            find_layers(tensors)
        return
    layer, usual = one(tensors), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert layer.unused == tuple(k for k in LIBRARY[name] if k not in usual)
    assert any("names without _l0" in a for a in layer.assumptions)


@pytest.mark.parametrize("prefix", ["", "rnns.0."])
@pytest.mark.parametrize("home", ["within", "above", "beside its copy", "above its copy"])
def test_raw_weights_are_those_of_the_network(home, prefix):
    """AWD-LSTM keeps the raw matrix in the module, fastai one level above, with a stale copy in the module."""
    weights, raw = lstm(prefix=f"{prefix}module."), np.arange(64, dtype="f4").reshape(16, 4)
    if "copy" not in home:
        del weights[f"{prefix}module.weight_hh_l0"]
    where = "module." * (home in ("within", "beside its copy"))
    others = {"encoder.weight": np.ones((9, 3), "f4")}
    layer = one(others | weights | {f"{prefix}{where}weight_hh_l0_raw": raw})
    assert layer.name == f"{prefix}module" and np.array_equal(layer.cell.U, raw)
    assert layer.assumptions == [] and "weight_hh_l0_raw read as the weights" in layer.notes[-1]
    assert set(layer.parameters) == {*weights, f"{prefix}{where}weight_hh_l0_raw"}


def test_raw_input_weights_too():
    tensors = {f"{k}_raw" if ".weight" in k else k: v for k, v in lstm(prefix="a.").items()}
    layer = one(tensors)
    assert np.array_equal(layer.cell.W, tensors["a.weight_ih_l0_raw"]) and set(layer.parameters) == set(tensors)


def test_plain_weights_beside_their_pieces_are_flagged():
    weights = lstm(prefix="a.")
    pieces = {"a.weight_hh_l0_g": np.ones((16, 1), "f4"), "a.weight_hh_l0_v": weights["a.weight_hh_l0"]}
    layer = one(weights | pieces)
    assert layer.unused == ("weight_hh_l0",)
    assert np.allclose(np.linalg.norm(layer.cell.U, axis=1), 1)


def test_the_inner_bias_of_a_gru_of_equinox():
    """n = tanh(W x + bias + r (U h + bias_n)), r and z without a second bias."""
    cell, rng = lstm(gates=3, suffix=""), np.random.default_rng(3)
    bias, inner = rng.normal(size=12).astype("f4"), rng.normal(size=4).astype("f4")
    tensors = {k: v for k, v in cell.items() if "weight" in k} | {"bias": bias, "bias_n": inner}
    layer = one(tensors)
    assert np.array_equal(layer.cell.b_ih, bias) and np.array_equal(layer.cell.b_hh, [*np.zeros(8), *inner])
    assert layer.unused == () and set(layer.parameters) == set(tensors) and len(layer.assumptions) == 1
    with pytest.raises(InputError, match="biases do not fit"):
        one({k: v for k, v in lstm(suffix="").items() if "weight" in k} | {"bias": bias, "bias_n": inner})


def test_modules_of_a_list_are_run_on_the_input():
    tensors = {k: v for i in range(3) for k, v in lstm(4, prefix=f"lstms.{i}.").items()}
    first, *later = find_layers(tensors | {"fc.weight": np.ones((2, 4), "f4")})
    assert first.assumptions == []
    for layer in later:
        assert layer.assumptions[0].startswith(f"{layer.name}: follows another recurrent module in a list")
    towers = {k: v for i in range(2) for k, v in lstm(4, prefix=f"{i}.rnns.0.module.").items()}
    assert [len(layer.assumptions) for layer in find_layers(towers)] == [0, 1]
    unrelated = lstm(prefix="encoder.0.") | lstm(prefix="decoder.1.")
    assert not any(layer.assumptions for layer in find_layers(unrelated))


def test_names_of_both_kinds_are_not_mixed():
    """No module of PyTorch has them; one kind would silently overwrite the other."""
    cell, layer = lstm(suffix="", seed=1), lstm(seed=2)
    both = one(cell | layer)
    assert np.array_equal(both.cell.U, layer["weight_hh_l0"]) and both.unused == tuple(cell)
    padded = one(layer | {"weight_hh_l00": cell["weight_hh"]})
    assert np.array_equal(padded.cell.U, layer["weight_hh_l0"]) and padded.unused == ("weight_hh_l00",)
    del layer["weight_ih_l0"]
    with pytest.raises(InputError, match="weight_hh without weight_ih"):
        find_layers(layer | {"weight_ih": cell["weight_ih"]})


@pytest.mark.parametrize("suffix", ["_l0", ""])
def test_a_missing_bias_is_zero_and_said(suffix):
    tensors = lstm(prefix="a.", suffix=suffix)
    del tensors[f"a.bias_hh{suffix}"]
    layer = one(tensors)
    assert f"a: bias_hh{suffix} not in the file, zero is assumed" in layer.assumptions
    bare = {k: v for k, v in tensors.items() if "weight" in k}
    assert not any("zero is assumed" in a for a in one(bare).assumptions)
    stack = lstm(prefix="a.") | {k: v for k, v in lstm(4, prefix="a.", suffix="_l1").items() if "weight" in k}
    assert one(stack).assumptions == ["a: bias_ih_l1, bias_hh_l1 not in the file, zero is assumed"]


def test_options_without_effect_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **lstm(prefix="lstm."), **lstm(prefix="rnn.", gates=1))
    assert load(path, activation="relu")["rnn"].activation == "relu"
    for options, word in (({"activation": "relu"}, "activation 'relu'"), ({"gate_order": "rzn"}, "gate order 'rzn'")):
        with pytest.raises(UsageError, match=f"{word} fits no layer; the file holds lstm"):
            load(path, layer="lstm", **options)
        with pytest.raises(UsageError, match=word):
            find_layers(lstm(), **options)
    with pytest.raises(UsageError, match="fits no layer; the file holds rnn"):
        load(path, layer="rnn", gate_order="ifog")
