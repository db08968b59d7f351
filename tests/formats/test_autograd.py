"""Gradients at every step against torch's automatic differentiation, in float64.

dL/ds_t with the parts of s_t as independent inputs is what autograd gives for a network that is started at s_t;
the total derivative, which also goes through the other parts of the same step, is what `retain_grad` gives.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from gradscope import Norm, create, stack  # noqa: E402
from gradscope.analysis.gradients import gradient_norms  # noqa: E402
from gradscope.dynamics.chain import linearise  # noqa: E402
from gradscope.dynamics.loss import given_loss  # noqa: E402
from gradscope.dynamics.trajectory import run  # noqa: E402
from gradscope.networks.cell import cell_class  # noqa: E402
from gradscope.networks.stack import Stack  # noqa: E402

pytestmark = pytest.mark.formats

T, B, M, H = 40, 3, 4, 6
CLOSE = 1e-10  # relative; 40 steps of sums of two dozen float64 terms come to about 1e-13
LOSSES = pytest.mark.parametrize("shape", [(H,), (B, H), (B, T, H)], ids=["H", "BH", "BTH"])


def weights_of(module, suffix=""):
    """Return the arrays of a torch cell, or of one layer of a torch network, by our names."""
    names = {"W": "weight_ih", "U": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh", "W_hr": "weight_hr"}
    found = {ours: getattr(module, theirs + suffix, None) for ours, theirs in names.items()}
    return {k: w.detach().numpy().copy() for k, w in found.items() if w is not None}


def direct_gradients(gradient):
    """Return dL/dh_t, (T, B, H), for the three shapes that are accepted."""
    if gradient.ndim == 3:
        return torch.from_numpy(gradient.transpose(1, 0, 2).copy())
    full = np.zeros((T, B, gradient.shape[-1]))
    full[-1] = gradient
    return torch.from_numpy(full)


def by_autograd(step, outputs, size, inputs, gradient):
    """Return dL/ds_t for t = 0..T with its parts independent, (T + 1, B, n)."""
    direct = direct_gradients(gradient)
    x = torch.from_numpy(inputs).transpose(0, 1)
    with torch.no_grad():
        states = [torch.zeros(B, size, dtype=torch.float64)]
        for t in range(T):
            states.append(step(x[t], states[-1]))
    independent = []
    for t in range(T + 1):
        start = states[t].clone().requires_grad_()
        s, loss = start, 0
        for k in range(t, T + 1):
            if k:
                loss = loss + (direct[k - 1] * sum(s[:, rows] for rows in outputs)).sum()
            if k < T:
                s = step(x[k], s)
        (g,) = torch.autograd.grad(loss, start)
        independent.append(g.numpy())
    return np.stack(independent)


def agree(cell, step, gradient, seed=0):
    """Compare directions and sizes at every step, in every sequence; return what was measured."""
    inputs = np.random.default_rng(seed).standard_normal((B, T, M))
    chain = linearise(run(cell, inputs))
    found = gradient_norms(chain, given_loss(chain, gradient), keep=True)
    wanted = by_autograd(step, cell.outputs, cell.state_size, inputs, gradient)
    sizes = np.linalg.norm(wanted, axis=-1)
    assert np.abs(np.exp(found.state) / sizes - 1).max() < CLOSE
    ours = found.cotangents.transpose(0, 2, 1) * np.exp(found.state)[..., None]
    assert (np.abs(ours - wanted).max(axis=-1) < CLOSE * sizes).all()
    for part, at in chain.parts.items():
        norms = np.linalg.norm(wanted[..., at], axis=-1)
        there = norms > 0
        assert np.abs(np.exp(found.logs[part])[there] / norms[there] - 1).max(initial=0) < CLOSE
        assert np.isneginf(found.logs[part][~there]).all()
    assert sizes[0].max() < sizes[-1].min() or gradient.ndim == 3  # there was something to get wrong
    return found, inputs


def loss_of(shape):
    return np.random.default_rng(5).standard_normal(shape)


@LOSSES
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_rnn_cell(kind, shape):
    torch.manual_seed(0)
    module = nn.RNNCell(M, H, nonlinearity=kind).double()
    cell = cell_class("rnn")(**weights_of(module), activation=kind)
    agree(cell, module, loss_of(shape))


@LOSSES
def test_gru_cell(shape):
    torch.manual_seed(1)
    module = nn.GRUCell(M, H).double()
    agree(cell_class("gru")(**weights_of(module)), module, loss_of(shape))


def packed(module):
    """Return an LSTMCell as a map of one concatenated state."""
    return lambda x, s: torch.cat(module(x, (s[:, :H], s[:, H:])), dim=1)


@LOSSES
def test_lstm_cell(shape):
    torch.manual_seed(2)
    module = nn.LSTMCell(M, H).double()
    gradient = loss_of(shape)
    found, inputs = agree(cell_class("lstm")(**weights_of(module)), packed(module), gradient)
    direct, x = direct_gradients(gradient), torch.from_numpy(inputs).transpose(0, 1)
    h = c = torch.zeros(B, H, dtype=torch.float64)
    kept, loss = [], 0
    for t in range(T):
        h, c = module(x[t], (h, c))
        c.retain_grad()
        h.retain_grad()
        kept.append((h, c))
        loss = loss + (direct[t] * h).sum()
    loss.backward()
    total_h, total_c = (np.stack([np.linalg.norm(k[i].grad.numpy(), axis=1) for k in kept]) for i in (0, 1))
    assert np.abs(np.exp(found.logs["c_total"][1:]) / total_c - 1).max() < CLOSE
    assert np.abs(np.exp(found.logs["h"][1:]) / total_h - 1).max() < CLOSE  # nothing follows h within the step
    # the two numbers for c are not the same one
    assert np.median(np.abs(found.logs["c_total"][1:-1] - found.logs["c"][1:-1])) > 0.01


def test_lstm_with_projection():
    torch.manual_seed(3)
    module = nn.LSTM(M, H, proj_size=3).double()
    cell = cell_class("lstm")(**weights_of(module, "_l0"))

    def step(x, s):
        out, (_, c) = module(x[None], (s[None, :, :3].contiguous(), s[None, :, 3:].contiguous()))
        return torch.cat([out[0], c[0]], dim=1)

    agree(cell, step, loss_of((B, T, 3)))


@LOSSES
def test_gru_with_reset_before(shape):
    """Written out, since torch has none."""
    cell = create("gru", hidden_size=H, input_size=M, reset="before", gain=1.5, seed=4)
    W, U, b, d = (torch.from_numpy(w) for w in (cell.W, cell.U, cell.b_ih, cell.b_hh))

    def step(x, h):
        wr, wz, wn = (x @ W.T + b).chunk(3, dim=1)
        ur, uz, un = U.chunk(3)
        dr, dz, dn = d.chunk(3)
        r, z = torch.sigmoid(wr + h @ ur.T + dr), torch.sigmoid(wz + h @ uz.T + dz)
        n = torch.tanh(wn + (r * h) @ un.T + dn)
        return (1 - z) * n + z * h

    agree(cell, step, loss_of(shape))


@LOSSES
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_stacked_network(kind, shape):
    """nn.LSTM and nn.GRU of several layers, one step at a time."""
    torch.manual_seed(5)
    layers = 2 if kind == "LSTM" else 3
    module = getattr(nn, kind)(M, H, num_layers=layers).double()
    cells = {f"l{k}": cell_class(kind.lower())(**weights_of(module, f"_l{k}")) for k in range(layers)}
    width = 2 * H if kind == "LSTM" else H

    def step(x, s):
        rows = s.reshape(B, layers, width).transpose(0, 1)
        if kind != "LSTM":
            _, h = module(x[None], rows.contiguous())
            return h.transpose(0, 1).reshape(B, -1)
        _, (h, c) = module(x[None], (rows[..., :H].contiguous(), rows[..., H:].contiguous()))
        return torch.cat([h, c], dim=2).transpose(0, 1).reshape(B, -1)

    agree(Stack(cells), step, loss_of(shape))


@LOSSES
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_norms_and_residual_connections(kind, residual, shape):
    """Three GRUs with nn.LayerNorm or nn.RMSNorm between them, as a module would have them; the loss reads the sum."""
    torch.manual_seed(7)
    modules = [nn.GRUCell(size, H).double() for size in (M, H, H)]
    norms = [getattr(nn, kind)(H, eps=1e-5).double() for _ in modules[1:]]
    for norm in norms:
        for p in norm.parameters():
            nn.init.uniform_(p, 0.5, 1.5)
    ours = [Norm(kind == "LayerNorm", *(p.detach().numpy() for p in norm.parameters())) for norm in norms]
    cells = [cell_class("gru")(**weights_of(m)) for m in modules]
    network = stack(cells, residual=residual, norm={"l1": ours[0], "l2": ours[1]})

    def step(x, s):
        new, given = [], x
        for k, (module, own) in enumerate(zip(modules, s.split(H, dim=1), strict=True)):
            h = module(norms[k - 1](given) if k else given, own)
            given = given + h if residual and k else h
            new.append(h)
        return torch.cat(new, dim=1)

    each = [slice(k * H, (k + 1) * H) for k in range(3)]
    assert list(network.outputs) == (each if residual else each[2:])
    agree(network, step, loss_of(shape))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_total_derivatives_in_a_stack(kind):
    """What `retain_grad` reports for the states of the lower layer: they also feed the upper one in their own step."""
    torch.manual_seed(6)
    modules = [getattr(nn, f"{kind}Cell")(size, H).double() for size in (M, H)]
    cell = Stack({f"l{k}": cell_class(kind.lower())(**weights_of(m)) for k, m in enumerate(modules)})
    gradient = loss_of((B, T, H))
    inputs = np.random.default_rng(0).standard_normal((B, T, M))
    chain = linearise(run(cell, inputs))
    found = gradient_norms(chain, given_loss(chain, gradient)).logs
    direct, x = direct_gradients(gradient), torch.from_numpy(inputs).transpose(0, 1)
    zero = torch.zeros(B, H, dtype=torch.float64)
    states = [(zero, zero) if kind == "LSTM" else zero] * 2
    kept, loss = [], 0
    for t in range(T):
        seen = x[t]
        for k, module in enumerate(modules):
            states[k] = module(seen, states[k])
            seen = states[k][0] if kind == "LSTM" else states[k]
        parts = [p for s in states for p in (s if kind == "LSTM" else (s,))]
        for p in parts:
            p.retain_grad()
        kept.append(parts)
        loss = loss + (direct[t] * seen).sum()
    loss.backward()
    for i, name in enumerate(cell.sizes):
        wanted = np.stack([np.linalg.norm(parts[i].grad.numpy(), axis=1) for parts in kept])
        ours = found.get(f"{name}_total", found[name])
        assert np.abs(np.exp(ours[1:]) / wanted - 1).max() < CLOSE
    assert {n for n in found if n.endswith("_total")} == (
        {"l0.h_total", "l0.c_total", "l1.c_total"} if kind == "LSTM" else {"l0.h_total"}
    )
