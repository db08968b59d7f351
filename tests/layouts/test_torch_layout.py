"""Which layers are found among named arrays, and what is said about them."""

import numpy as np
import pytest
from torch_files import lstm

from gradscope.cells.gru import GRU
from gradscope.cells.lstm import LSTM
from gradscope.cells.rnn import RNN
from gradscope.errors import InputError, UsageError
from gradscope.files.layouts._base import find_layers
from gradscope.networks.stack import Direction, Stack


def one(tensors, **options):
    (found,) = find_layers(tensors, **options)
    return found


def refused(tensors, error=InputError, **options):
    with pytest.raises(error) as caught:
        find_layers(tensors, **options)
    assert caught.value.exit_code == (4 if error is InputError else 2)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize("suffix", ["_l0", ""])
@pytest.mark.parametrize(("gates", "cls"), [(1, RNN), (3, GRU), (4, LSTM)])
def test_the_kind_is_decided_by_the_rows(gates, cls, suffix):
    tensors = lstm(gates=gates, suffix=suffix, prefix="encoder.rnn.") | {"fc.weight": np.ones((2, 4), "f4")}
    found = one(tensors)
    assert (found.name, found.kind) == ("encoder.rnn", cls.__name__.lower()) and type(found.cell) is cls
    assert (found.input_size, found.hidden_size, found.layers, found.bidirectional) == (3, 4, 1, False)
    assert set(found.parameters) == set(tensors) - {"fc.weight"}
    assert np.array_equal(found.cell.U, tensors[f"encoder.rnn.weight_hh{suffix}"]) and found.cell.dtype == np.float32


def test_layers_make_a_stack():
    tensors = lstm(3, 4, suffix="_l0") | lstm(4, 4, suffix="_l1") | lstm(4, 4, suffix="_l2")
    found = one(tensors)
    assert isinstance(found.cell, Stack) and list(found.cell.layers) == ["l0", "l1", "l2"]
    assert found.layers == 3 and found.cell.input_size == found.input_size == 3


def test_directions():
    tensors = {}
    for k in range(2):
        for suffix in ("", "_reverse"):
            tensors |= lstm(8 if k else 3, 4, suffix=f"_l{k}{suffix}", prefix="a.")
    found = find_layers(tensors)
    assert [f.name for f in found] == ["a.l0", "a.l0.reverse", "a.l1", "a.l1.reverse"]
    assert all(isinstance(f.cell, Direction) and f.bidirectional and f.layers == 2 for f in found)
    assert [f.cell.reverse for f in found] == [False, True] * 2
    assert found[2].cell.below == (found[0].cell, found[1].cell) == found[3].cell.below
    assert found[3].cell.network_input_size == 3
    single = find_layers({k: v for k, v in tensors.items() if "_l0" in k})
    assert [f.name for f in single] == ["a", "a.reverse"]
    assert refused({k: v for k, v in tensors.items() if "l1_reverse" not in k}).startswith(
        "a has no weights of layer 1"
    )


def test_projections():
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 2), "weight_hr_l0": (2, 4), "bias_ih_l0": (16,)}
    shapes |= {"weight_ih_l1": (16, 2), "weight_hh_l1": (16, 2), "weight_hr_l1": (2, 4)}
    tensors = {k: rng.normal(size=s) for k, s in shapes.items()}
    found = one(tensors)
    assert found.hidden_size == 4 and found.cell.sizes == {"l0.h": 2, "l0.c": 4, "l1.h": 2, "l1.c": 4}
    tensors["weight_hr_l1"] = np.ones((3, 4))
    assert "gates" in refused(tensors)


def test_several_networks_in_the_order_of_the_file():
    tensors = lstm(prefix="b.rnn.", gates=3) | lstm(prefix="a.rnn.") | lstm(prefix="b.cell.", suffix="")
    assert [f.name for f in find_layers(tensors)] == ["b.rnn", "a.rnn", "b.cell"]


def test_biases_may_be_absent_or_one():
    tensors = lstm(suffix="")
    bare = {k: v for k, v in tensors.items() if k.startswith("weight")}
    assert one(bare).cell.b_ih is None
    bias = np.arange(16, dtype="f4")
    found = one(bare | {"bias": bias})
    assert np.array_equal(found.cell.b_ih, bias) and found.cell.b_hh is None and "bias" in found.parameters


def test_activation_of_a_vanilla_network():
    tensors = lstm(gates=1, prefix="m.")
    assert "tanh is assumed" in one(tensors).assumptions[0] and "--activation relu" in one(tensors).assumptions[0]
    found = one(tensors, activation="relu")
    assert found.cell.activation == "relu" and not found.assumptions
    assert "relu" in refused(tensors, UsageError, activation="rleu")
    assert not one(lstm()).assumptions


def test_conventions_are_noted():
    assert "i, f, g, o, as PyTorch" in one(lstm()).notes[0]
    notes = " ".join(one(lstm(gates=3)).notes)
    assert "r, z, n" in notes and "reset gate acts after" in notes


@pytest.mark.parametrize(("order", "rows"), [("ifog", "ifog"), ("I,O,F,C", "iofg"), ("gofi", "gofi")])
def test_gate_order(order, rows):
    tensors = lstm()
    cell = one(tensors).cell
    blocks = {g: slice(4 * i, 4 * i + 4) for i, g in enumerate("ifgo")}
    other = {k: np.concatenate([v[blocks[g]] for g in rows]) for k, v in tensors.items()}
    found = one(other, gate_order=order)
    for k, w in cell.weights().items():
        assert np.array_equal(found.cell.weights()[k], w)
    assert "as given" in found.notes[0]


def test_gate_order_of_a_gru():
    tensors = lstm(gates=3)
    swapped = {k: np.concatenate([v[4:8], v[:4], v[8:]]) for k, v in tensors.items()}
    for order in ("zrn", "zrh"):
        assert np.array_equal(one(swapped, gate_order=order).cell.U, one(tensors).cell.U)


def test_wrong_gate_orders():
    assert "i f g o" in refused(lstm(), UsageError, gate_order="ifgg")
    assert "r z n" in refused(lstm(), UsageError, gate_order="zr")
    assert "fits no layer; the file holds lstm" in refused(lstm(), UsageError, gate_order="zrn")


@pytest.mark.parametrize("new", [True, False])
def test_weight_norm_is_combined(new):
    tensors = lstm(prefix="a.")
    v = tensors.pop("a.weight_hh_l0")
    g = np.linspace(1, 2, 16, dtype="f4")[:, None]
    names = [f"a.parametrizations.weight_hh_l0.original{i}" for i in (0, 1)]
    names = names if new else ["a.weight_hh_l0_g", "a.weight_hh_l0_v"]
    found = one(tensors | dict(zip(names, (g, v), strict=True)))
    assert np.allclose(np.linalg.norm(found.cell.U, axis=1), g[:, 0])
    assert np.allclose(found.cell.U, v / np.linalg.norm(v, axis=1, keepdims=True) * g)
    assert any("weight_norm" in n for n in found.notes) and set(names) < set(found.parameters)


def test_pruning_is_combined_and_others_are_refused():
    tensors = lstm()
    w = tensors.pop("weight_hh_l0")
    mask = (np.arange(64).reshape(16, 4) % 2).astype("f4")
    assert np.array_equal(one(tensors | {"weight_hh_l0_orig": w, "weight_hh_l0_mask": mask}).cell.U, w * mask)
    assert "unknown parts" in refused(tensors | {"parametrizations.weight_hh_l0.original": w})
    assert "do not fit" in refused(tensors | {"weight_hh_l0_g": w, "weight_hh_l0_v": w[:3]})
    assert "weight_ih without weight_hh" in refused(tensors | {"weight_hh_l0_g": w})


def test_precision():
    assert one(lstm(), dtype=np.float64).cell.dtype == np.float64
    assert one({k: v.astype("f8") for k, v in lstm().items()}).cell.dtype == np.float64
    half = {k: v.astype("f2") for k, v in lstm().items()}
    half["weight_hh_l0"][0, 0] = np.inf
    cell = one(half).cell
    assert cell.dtype == np.float32 and cell.U[0, 0] == np.inf


@pytest.mark.parametrize("kind", ["i1", "c8", "?"])
def test_weights_that_are_no_numbers_of_that_kind(kind):
    tensors = {k: v.astype(kind) for k, v in lstm(prefix="a.").items()}
    assert f"weights of a are {np.dtype(kind).name}" in refused(tensors)


def test_float8_is_named():
    tensors = lstm() | {"weight_hh_l0": np.zeros((16, 4), np.dtype([("float8_e4m3fn", "u1")]))}
    assert "float8_e4m3fn" in refused(tensors)


def test_missing_weights():
    tensors = lstm(prefix="a.")
    del tensors["a.weight_hh_l0"]
    text = refused(tensors)
    assert "weight_ih without weight_hh" in text and "a.weight_ih_l0 (16, 3)" in text
    del tensors["a.weight_ih_l0"]
    tensors["a.weight_hh_l0"] = np.ones((16, 4))
    assert "weight_hh without weight_ih" in refused(tensors)


def test_shapes_that_disagree():
    text = refused(lstm() | {"weight_ih_l0": np.ones((12, 3), "f4")})
    assert "(12, 3)" in text and "(16, 4)" in text
    assert "biases" in refused(lstm() | {"bias_hh_l0": np.ones(12, "f4")})
    assert "transposed" in refused({k: v.T for k, v in lstm(gates=4).items() if k.startswith("weight_hh")} | {
        "weight_ih_l0": np.ones((4, 3), "f4")})  # fmt: skip
    assert "matrices" in refused(lstm() | {"weight_hh_l0": np.ones((16, 4, 1), "f4")})
    assert "matrices" in refused({"weight_ih_l0": np.ones((0, 3)), "weight_hh_l0": np.ones((0, 0))})
    text = refused(lstm() | lstm(5, 4, suffix="_l1"))
    assert "layer 1 has 5 inputs, layer 0 has 4 outputs" in text
    assert "several kinds" in refused(lstm() | lstm(4, 4, gates=3, suffix="_l1"))
    assert "no weights of layer 0" in refused(lstm(suffix="_l1"))


def test_no_recurrent_layers_lists_what_there_is():
    text = refused({f"conv{i}.weight\x1b[31m": np.ones((3, i)) for i in range(12)})
    assert "conv0.weight\\x1b[31m (3, 0)" in text and "and 2 more" in text
    assert "no tensors at all" in refused({})


def test_strangers_beside_the_weights_are_mentioned():
    found = one(lstm(suffix="", prefix="a.") | {"a.weight_ci": np.ones(4)})
    assert "weight_ci" in found.assumptions[0]
