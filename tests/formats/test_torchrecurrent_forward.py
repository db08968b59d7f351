"""Forward steps against torchrecurrent, a second opinion on cells that torch itself does not have, in float32.

Where it differs from the paper, the difference is made good here and said: the cell is held against what the paper
has, and the library's own step against what it has instead.
"""

import inspect

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.files.layouts._base import find_layers

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torchrecurrent")

from forward import B, H, M, T, agree, inputs, made  # noqa: E402

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore")]
SEEDS = pytest.mark.parametrize("seed", range(3))


def drawn(kind, seed, **options):
    """Return a cell of theirs with random parameters, and these."""
    torch.manual_seed(seed)
    cell = getattr(theirs, kind)(M, H, **options)
    with torch.no_grad():
        for name, w in cell.named_parameters():
            if w.numel() > 1:
                w.copy_(0.3 * torch.randn_like(w)) if "weight_hh" not in name else w.copy_(0.2 * torch.randn_like(w))
    return cell, {n: w.detach().numpy() for n, w in cell.named_parameters()}


def ran(cell, xs):
    """Return every part of the state after each step, (B, T, H)."""
    state, rows = None, []
    with torch.no_grad():
        for x in torch.from_numpy(xs).unbind(dim=1):
            state = cell(x, state)
            rows.append(state if isinstance(state, tuple) else (state,))
    return [torch.stack(part, dim=1).numpy() for part in zip(*rows, strict=True)]


def usual(p):
    return {"W": p["weight_ih"], "U": p["weight_hh"], "b_ih": p["bias_ih"], "b_hh": p["bias_hh"]}


@SEEDS
@pytest.mark.parametrize(("kind", "name"), [("MGUCell", "mgu"), ("UGRNNCell", "ugrnn"), ("JANETCell", "janet")])
def test_cells_of_the_usual_arrays(kind, name, seed):
    xs = inputs(seed)
    cell, p = drawn(kind, seed)
    agree(made(name, **usual(p)), xs, h=ran(cell, xs)[0])


@SEEDS
def test_peephole_lstm(seed):
    xs = inputs(seed)
    cell, p = drawn("PeepholeLSTMCell", seed)
    h, c = ran(cell, xs)
    agree(made("peephole_lstm", **usual(p), p=p["weight_ph"].reshape(3, H)), xs, h=h, c=c)


@SEEDS
def test_minimal_rnn(seed):
    xs = inputs(seed)
    cell, p = drawn("MinimalRNNCell", seed)
    ours = made(
        "minimal_rnn", W=p["weight_ih"], b_z=p["bias_ih"], U=p["weight_hh"], U_z=p["weight_mm"], b_hh=p["bias_hh"]
    )
    agree(ours, xs, h=ran(cell, xs)[0])


@SEEDS
def test_fastgrnn(seed):
    """Its gate is tanh unless asked; sigma in the paper."""
    xs = inputs(seed)
    cell, p = drawn("FastGRNNCell", seed, nonlinearity="sigmoid", zeta_init=1.0, nu_init=-4.0)
    b = (p["bias_ih"] + p["bias_hh"]).reshape(2, H)
    agree(made("fastgrnn", W=p["weight_ih"], U=p["weight_hh"], b=b), xs, h=ran(cell, xs)[0])


@SEEDS
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_indrnn(kind, seed):
    xs = inputs(seed)
    cell, p = drawn("IndRNNCell", seed, nonlinearity=kind)
    ours = made("indrnn", W=p["weight_ih"], u=p["vector_u"], b_ih=p["bias_ih"] + p["bias_hh"], activation=kind)
    agree(ours, xs, h=ran(cell, xs)[0])


@SEEDS
def test_antisymmetric(seed):
    xs = inputs(seed)
    cell, p = drawn("AntisymmetricRNNCell", seed, epsilon=0.1, gamma=0.05)
    agree(made("antisymmetric", **usual(p), epsilon=0.1, gamma=0.05), xs, h=ran(cell, xs)[0])


@SEEDS
def test_gated_antisymmetric(seed):
    """Its rows are gate, candidate; its recurrent bias enters the candidate only."""
    xs = inputs(seed)
    cell, p = drawn("GatedAntisymmetricRNNCell", seed, epsilon=0.1, gamma=0.05)
    (W_z, W), (b_z, b) = p["weight_ih"].reshape(2, H, M), p["bias_ih"].reshape(2, H)
    ours = made("antisymmetric", W=W, U=p["weight_hh"], b_ih=b, b_hh=p["bias_hh"], W_z=W_z, b_z=b_z,
                gate="input", epsilon=0.1, gamma=0.05)  # fmt: skip
    agree(ours, xs, h=ran(cell, xs)[0])


@SEEDS
def test_cornn(seed):
    xs = inputs(seed)
    cell, p = drawn("coRNNCell", seed, dt=0.1, gamma=1.5, epsilon=2.0)
    b = p["bias_hh"] + p["bias_ch"]
    ours = made("cornn", W=p["weight_ih"], U=p["weight_hh"], U_z=p["weight_ch"], b_ih=p["bias_ih"], b_hh=b,
                dt=0.1, gamma=1.5, epsilon=2.0)  # fmt: skip
    y, z = ran(cell, xs)
    agree(ours, xs, y=y, z=z)


@SEEDS
def test_unicornn(seed):
    xs = inputs(seed)
    cell, p = drawn("UnICORNNCell", seed, dt=0.5, alpha=0.8)
    b, own = p["bias_ih"] + cell.bias_hh.detach().numpy(), {"w": p["weight_hh"].ravel(), "c": p["weight_ch"].ravel()}
    ours = made("unicornn", W=p["weight_ih"], b_ih=b, **own, dt=0.5, alpha=0.8)
    y, z = ran(cell, xs)
    agree(ours, xs, y=y, z=z)


def lem_by(p, xs, new):
    """Return y of every step; y' is made from the new z, as in the paper, or from the old one."""
    y, z, rows = np.zeros((B, H)), np.zeros((B, H)), []
    W = (p["weight_ih"], p["bias_ih"])
    sigma = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    for t in range(T):
        x1, x2, x3, x4 = np.split(xs[:, t] @ W[0].T + W[1], 4, axis=1)
        h1, h2, h3 = np.split(y @ p["weight_hh"].T + p["bias_hh"], 3, axis=1)
        d = sigma(x2 + h2)
        after = (1 - d) * z + d * np.tanh(x3 + h3)
        d = sigma(x1 + h1)
        y = (1 - d) * y + d * np.tanh(x4 + (after if new else z) @ p["weight_ch"].T + p["bias_ch"])
        z = after
        rows.append(y)
    return np.stack(rows, axis=1)


@SEEDS
def test_lem(seed):
    """Rusch et al. (2022), eq. (3), have y' from the new z, and so has their code; torchrecurrent takes the old one."""
    xs = inputs(seed)
    cell, p = drawn("LEMCell", seed)
    order = [1, 0, 2, 3]  # theirs: the step of y first
    W, b = p["weight_ih"].reshape(4, H, M)[order], p["bias_ih"].reshape(4, H)[order]
    U, d = p["weight_hh"].reshape(3, H, H)[order[:3]], p["bias_hh"].reshape(3, H)[order[:3]]
    ours = made("lem", W=W.reshape(-1, M), b_ih=b.ravel(), U=np.concatenate([*U, p["weight_ch"]]),
                b_hh=np.concatenate([*d, p["bias_ch"]]))  # fmt: skip
    agree(ours, xs, y=lem_by(p, xs, new=True).astype(np.float32))
    assert np.abs(ran(cell, xs)[0] - lem_by(p, xs, new=False)).max() < 1e-6
    assert np.abs(lem_by(p, xs, new=True) - lem_by(p, xs, new=False)).max() > 0.01


@SEEDS
def test_context_of_scrn(seed):
    """Mikolov et al. (2015) feed the hidden units back; torchrecurrent feeds back the output, tanh(V h + ...) of them.

    So only the context is the same cell: the hidden units are held against the paper in `test_papers`.
    """
    xs = inputs(seed)
    cell, p = drawn("SCRNCell", seed, alpha=0.7)
    B_x, W = p["weight_ih"].reshape(2, H, M)
    with torch.no_grad():
        cell.bias_ih[:H] = 0  # ours has no bias in the context
    _, c = ran(cell, xs)
    agree(made("scrn", W=W, U=p["weight_hh"][:H], B=B_x, P=p["weight_ch"][:H], alpha=0.7), xs, c=c)


USUAL = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
CELLS = sorted(n for n, c in vars(theirs).items() if inspect.isclass(c) and n.endswith("Cell"))


@pytest.mark.parametrize("name", CELLS)
def test_a_state_dict_of_theirs_is_refused_or_flagged(name):
    """They write every cell under the names of nn.LSTMCell: rows alone would make an RNN, GRU or LSTM of many."""
    square = name == "IntersectionRNNCell"  # it has as many inputs as units
    tensors = {k: w.numpy() for k, w in getattr(theirs, name)(H if square else M, H).state_dict().items()}
    for prefix in ("", "cells.0."):
        try:
            (layer,) = find_layers({prefix + k: w for k, w in tensors.items()})
        except InputError:
            continue
        assert any("names without _l0" in a for a in layer.assumptions)
        assert set(layer.unused) == set(tensors) - USUAL
