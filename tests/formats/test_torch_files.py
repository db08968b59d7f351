"""Files that torch itself wrote, and steps against torch itself."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from gradscope.errors import InputError  # noqa: E402
from gradscope.files.checkpoints._base import open_checkpoint  # noqa: E402
from gradscope.files.layouts._load import load, read_checkpoint  # noqa: E402
from gradscope.networks.stack import Direction, Stack  # noqa: E402

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore")]

KINDS = pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
LEGACY = {"_use_new_zipfile_serialization": False}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(3, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.encoder(x)[0])


def save(module, path, **options):
    torch.save(module.state_dict(), path, **options)
    return path


def refused(path):
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    return f"{caught.value.message} | {caught.value.hint}"


def by_layer(state, cell):
    """Reorder torch's (layers, n) states, h then c, as ours: the parts of a layer beside one another."""
    parts = [p.detach().numpy() for p in (state if isinstance(state, tuple) else (state,))]
    layers = len(cell.layers) if isinstance(cell, Stack) else 1
    return np.concatenate([p[k] for k in range(layers) for p in parts])


def agrees(cell, module, dtype, steps=5):
    """Compare all layers' h and c after every one of a few steps."""
    x = torch.randn(steps, module.input_size, dtype=dtype)
    ours, theirs = np.zeros(cell.state_size, cell.dtype), None
    assert cell.input_size == module.input_size and cell.dtype == x.numpy().dtype
    for t in range(steps):
        _, theirs = module(x[t : t + 1], theirs)
        ours = cell.step(x[t].numpy(), ours)
        assert np.abs(ours - by_layer(theirs, cell)).max() < TOLERANCE[dtype]


@KINDS
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, LEGACY])
def test_modules(tmp_path, kind, dtype, layers, bias, options):
    torch.manual_seed(0)
    module = getattr(nn, kind)(5, 7, num_layers=layers, bias=bias, dtype=dtype)
    (cell,) = load(save(module, tmp_path / "net.pt", **options)).values()
    agrees(cell, module, dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("layers", [1, 2])
def test_projections(tmp_path, dtype, layers):
    torch.manual_seed(0)
    module = nn.LSTM(5, 7, num_layers=layers, proj_size=3, dtype=dtype)
    (cell,) = load(save(module, tmp_path / "net.pt")).values()
    agrees(cell, module, dtype)


def test_relu(tmp_path):
    torch.manual_seed(0)
    module = nn.RNN(5, 7, nonlinearity="relu")
    (cell,) = load(save(module, tmp_path / "net.pt"), activation="relu").values()
    agrees(cell, module, torch.float32)


@KINDS
def test_cells(tmp_path, kind):
    torch.manual_seed(0)
    module = getattr(nn, f"{kind}Cell")(5, 7)
    cell = load(save(module, tmp_path / "net.pt"))["net"]
    x, state = torch.randn(5), None
    theirs = module(x, state)
    ours = cell.step(x.numpy(), np.zeros(cell.state_size, "f4"))
    parts = theirs if isinstance(theirs, tuple) else (theirs,)
    assert np.abs(ours - np.concatenate([p.detach().numpy() for p in parts])).max() < 1e-6


@KINDS
@pytest.mark.parametrize("layers", [1, 2])
def test_bidirectional(tmp_path, kind, layers):
    torch.manual_seed(0)
    module = getattr(nn, kind)(5, 7, num_layers=layers, bidirectional=True, dtype=torch.float64)
    cells = load(save(module, tmp_path / "net.pt"))
    assert len(cells) == 2 * layers and all(isinstance(c, Direction) for c in cells.values())
    x = torch.randn(6, 5, dtype=torch.float64)
    output, _ = module(x)
    signal = x.numpy()
    directions = list(cells.values())
    for forward, backward in zip(directions[::2], directions[1::2], strict=True):
        outs = []
        for d in (forward, backward):
            s, rows = np.zeros(d.state_size), []
            for u in signal[::-1] if d.reverse else signal:
                s = d.step(u, s)
                rows.append(s[d.output])
            outs.append(np.array(rows[::-1] if d.reverse else rows))
        signal = np.concatenate(outs, axis=1)
    assert np.abs(signal - output.detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, LEGACY])
def test_half_precision(tmp_path, dtype, options):
    module = nn.LSTM(5, 7, dtype=dtype)
    network = read_checkpoint(save(module, tmp_path / "net.pt", **options))
    cell = network.layers[0].cell
    assert cell.dtype == np.float32
    assert np.array_equal(cell.U, module.weight_hh_l0.detach().float().numpy())
    assert any("bfloat16" in note for note in network.notes) == (dtype is torch.bfloat16)


@pytest.mark.parametrize("options", [{}, LEGACY, {"pickle_protocol": 4}, {"pickle_protocol": 5}])
def test_a_training_checkpoint(tmp_path, options):
    import argparse
    import pathlib

    net = Net()
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    checkpoint = {
        "epoch": 3,
        "global_step": np.int64(7),
        "pytorch-lightning_version": "2.5",
        "state_dict": {f"model.{k}": v for k, v in net.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {
            "ModelCheckpoint": {"best_model_score": torch.tensor(0.3), "dirpath": pathlib.PurePosixPath("x")}
        },
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": argparse.Namespace(lr=np.float64(1e-3), sizes=np.arange(3), device=torch.device("cpu")),
        "rng": torch.get_rng_state(),
        "dtype": torch.float32,
        "shape": torch.Size((1, 2)),
    }
    torch.save(checkpoint, tmp_path / "last.ckpt", **options)
    network = read_checkpoint(tmp_path / "last.ckpt")
    assert [f.name for f in network.layers] == ["model.encoder"] and network.key == "state_dict"
    agrees(network.layers[0].cell, net.encoder, torch.float32)
    assert any("optimizer_states" in note for note in network.notes)


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_shared_and_strided_storages(tmp_path, options):
    base = torch.randn(30, 20)
    tensors = {"t": base.T, "part": base[3:7, ::2], "row": base[4], "scalar": base[2, 3], "empty": base[:0]}
    torch.save(tensors | {"param": nn.Parameter(base)}, tmp_path / "a.pt", **options)
    read = open_checkpoint(tmp_path / "a.pt").arrays
    assert all(np.array_equal(read[k], v.numpy()) for k, v in tensors.items())
    assert np.array_equal(read["param"], base)


def test_every_element_type(tmp_path):
    names = (
        "uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 float32 float64 bfloat16 bool complex64 complex128"
    )
    tensors = {n: torch.ones(3, dtype=getattr(torch, n)) for n in names.split()}
    tensors["float8_e4m3fn"] = torch.ones(3, dtype=torch.float8_e4m3fn)
    torch.save(tensors, tmp_path / "a.pt")
    read = open_checkpoint(tmp_path / "a.pt").arrays
    assert read.keys() == tensors.keys() and all(v.shape == (3,) for v in read.values())
    assert all(np.array_equal(read[n], np.ones(3)) for n in names.split())


def test_files_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        save(nn.LSTM(3, 4), tmp_path / "net.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert load(tmp_path / "net.pt")


def test_prefixes_of_wrappers(tmp_path):
    net = Net()
    torch.save(nn.DataParallel(torch.compile(net)).state_dict(), tmp_path / "a.pt")
    network = read_checkpoint(tmp_path / "a.pt")
    assert [f.name for f in network.layers] == ["encoder"] and len(network.notes) == 2


@pytest.mark.parametrize("new", [True, False])
def test_weight_norm(tmp_path, new):
    torch.manual_seed(0)
    net = Net()
    norm = nn.utils.parametrizations.weight_norm if new else nn.utils.weight_norm
    for name in ("weight_hh_l0", "weight_ih_l0"):
        norm(net.encoder, name)
        parameter = dict(net.encoder.named_parameters())
        magnitude = f"parametrizations.{name}.original0" if new else f"{name}_g"
        parameter[magnitude].data *= 1.5
    network = read_checkpoint(save(net, tmp_path / "a.pt"))
    net(torch.randn(2, 3))
    found = network.layers[0]
    assert np.abs(found.cell.U - net.encoder.weight_hh_l0.detach().numpy()).max() < 1e-6
    assert any("weight_norm" in note for note in found.notes)


def test_pruning(tmp_path):
    net = Net()
    prune.random_unstructured(net.encoder, "weight_hh_l0", amount=0.5)
    cell = load(save(net, tmp_path / "a.pt"))["encoder"]
    assert np.array_equal(cell.U, net.encoder.weight_hh_l0.detach().numpy())


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_a_whole_model_is_refused(tmp_path, options):
    torch.save(Net(), tmp_path / "a.pt", **options)
    text = refused(tmp_path / "a.pt")
    assert "whole model" in text and "Net" in text and "state_dict()" in text


def test_torchscript_is_refused(tmp_path):
    torch.jit.script(Net()).save(tmp_path / "a.pt")
    assert "TorchScript" in refused(tmp_path / "a.pt")


def test_torch_export_is_refused(tmp_path):
    torch.export.save(torch.export.export(Net(), (torch.zeros(5, 3),)), tmp_path / "a.pt2")
    assert ".pt2" in refused(tmp_path / "a.pt2")


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_quantised_weights_are_refused(tmp_path, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.ao.quantization.quantize_dynamic(Net(), {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    torch.save(net.state_dict(), tmp_path / "a.pt", **options)
    assert "quantised" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_safetensors(tmp_path, dtype):
    library = pytest.importorskip("safetensors.torch")
    module = nn.LSTM(5, 7, num_layers=2, dtype=dtype)
    library.save_file(module.state_dict(), tmp_path / "a.safetensors", metadata={"format": "pt"})
    (cell,) = load(tmp_path / "a.safetensors").values()
    assert np.array_equal(cell.weights()["l1.U"], module.weight_hh_l1.detach().to(torch.float64).numpy())
    if dtype in TOLERANCE:
        agrees(cell, module, dtype)
