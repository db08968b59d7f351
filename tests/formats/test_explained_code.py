"""The lines of `gradscope explain` that apply a remedy, run in their framework: they do what they say."""

import os

import numpy as np
import pytest

from gradscope.report.codes import codes

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore")]
B, T, M, H = 2, 20, 3, 8
BIAS = 3.0


def lines(code, framework, upto=None):
    """Return the lines of an example, up to an alternative that the caller does not want."""
    text = codes()[code].examples[framework]
    return text if upto is None else text.partition(upto)[0]


def spread(u):
    """Check biases that were drawn as log U[1, T - 1]."""
    assert 0 <= u.min() and u.max() <= np.log(T - 1)
    assert np.ptp(u) > 0.1


@pytest.fixture
def torch_names():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    names = {"torch": torch, "T": T, "H": H, "m": M, "x": torch.randn(B, T, H), "norm": torch.nn.LayerNorm(H)}
    names |= {"lstm": torch.nn.LSTM(H, H, batch_first=True), "gru": torch.nn.GRU(M, H)}
    return torch, names


def test_gates_in_torch(torch_names):
    torch, names = torch_names
    lstm, gru = names["lstm"], names["gru"]
    exec(lines("GS-VANISHING", "PyTorch"), names)
    b = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().numpy()
    spread(b[H : 2 * H])  # the gates are i, f, g, o
    assert np.array_equal(b[:H], -b[H : 2 * H])
    for U in lstm.weight_hh_l0.detach().chunk(4):
        assert torch.allclose(U @ U.T, torch.eye(H), atol=1e-5)
    update = (gru.bias_ih_l0 + gru.bias_hh_l0).detach().numpy()[H : 2 * H]  # r, z, n
    assert np.array_equal(update, np.full(H, BIAS))
    assert torch.equal(names["y"], names["x"] + lstm(names["norm"](names["x"]))[0])
    # the forget gate itself, at zero input and state, without the alternative that follows
    names |= {"lstm": torch.nn.LSTM(M, H), "x": torch.randn(B, T, M)}
    exec(lines("GS-VANISHING", "PyTorch", upto="    # or chrono"), names)
    state = torch.zeros(1, 1, H), torch.ones(1, 1, H)
    with torch.no_grad():
        names["lstm"].weight_ih_l0.zero_()
        names["lstm"].bias_ih_l0[2 * H : 3 * H], names["lstm"].bias_hh_l0[2 * H : 3 * H] = 0.0, 0.0  # tanh(0) = 0
        _, (_, c) = names["lstm"](torch.zeros(1, 1, M), state)
    assert torch.allclose(c, torch.sigmoid(torch.tensor(BIAS)))


def test_other_remedies_in_torch(torch_names):
    torch, names = torch_names
    model = torch.nn.Module()
    model.rnn = torch.nn.RNN(M, H, batch_first=True)
    before = model.rnn.weight_hh_l0.detach().clone()
    loss = 1e6 * model.rnn(torch.randn(B, T, M))[0].sum()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    exec(lines("GS-EXPLODING", "PyTorch"), names | {"model": model, "loss": loss, "optimizer": optimizer})
    norm = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
    assert norm == pytest.approx(1, rel=1e-4)
    assert torch.equal(model.rnn.weight_hh_l0.detach(), before / 2)
    exec(lines("GS-DEPTH", "PyTorch"), names)
    layer, x = names["Layer"](H), names["x"]
    assert torch.equal(layer(x), x + layer.rnn(layer.norm(x))[0])
    exec(lines("GS-DEAD", "PyTorch"), names)
    assert names["rnn"].nonlinearity == "relu"
    assert torch.allclose(names["rnn"].bias_ih_l0 + names["rnn"].bias_hh_l0, torch.tensor(0.1))
    train = 800 + 50 * torch.randn(B, T, M)
    names |= {"train": train, "x": train, "lstm": torch.nn.LSTM(M, H)}
    exec(lines("GS-SATURATED", "PyTorch"), names)
    assert torch.allclose(names["x"].mean((0, 1)), torch.zeros(M), atol=1e-3)
    assert torch.allclose(names["x"].std((0, 1)), torch.ones(M), atol=1e-3)


def test_keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    x = np.random.default_rng(0).standard_normal((B, T, H)).astype(np.float32)
    lstm, gru = keras.layers.LSTM(H, return_sequences=True), keras.layers.GRU(H)
    lstm.build(x.shape), gru.build(x.shape)
    U = lstm.get_weights()[1]
    assert np.allclose(U @ U.T, np.eye(H), atol=1e-5)  # (H, 4 H) with orthonormal rows
    assert np.array_equal(lstm.get_weights()[2][H : 2 * H], np.ones(H))
    names = {"keras": keras, "numpy": np, "H": H, "T": T, "x": keras.ops.convert_to_tensor(x), "lstm": lstm, "gru": gru}
    names["norm"] = keras.layers.LayerNormalization()
    exec(lines("GS-VANISHING", "Keras"), names)
    b = lstm.get_weights()[2]
    spread(b[H : 2 * H])  # i, f, c, o
    assert np.array_equal(b[:H], -b[H : 2 * H])
    assert np.array_equal(gru.get_weights()[2].sum(axis=0)[:H], np.full(H, BIAS))  # z, r, h
    assert names["y"].shape == names["x"].shape
    for code in ("GS-EXPLODING", "GS-DEPTH", "GS-DEAD"):
        exec(lines(code, "Keras"), names)
    assert names["optimizer"].global_clipnorm == 1.0
    assert names["x"].shape == (B, T, H)
    names |= {"train": 800 + 50 * x, "x": 800 + 50 * x}
    exec(lines("GS-SATURATED", "Keras"), names)
    rows = keras.ops.convert_to_numpy(names["x"])
    assert np.abs(rows.mean((0, 1))).max() < 1e-3 and np.abs(rows.std((0, 1)) - 1).max() < 1e-2


@pytest.fixture
def jax():
    """JAX in single precision, its default; other tests of the same process ask for double."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield jax
    jax.config.update("jax_enable_x64", before)


def test_flax(jax):
    flax = pytest.importorskip("flax")
    optax = pytest.importorskip("optax")
    nn, jnp = flax.linen, jax.numpy
    x = jax.random.normal(jax.random.key(0), (B, T, H))

    def parameters(cell):
        carry = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
        return flax.core.unfreeze(cell.init(jax.random.key(1), carry, x[:, 0]))["params"]

    cell = nn.OptimizedLSTMCell(H)
    p, q = parameters(cell), parameters(nn.GRUCell(H))
    U = np.asarray(p["hf"]["kernel"])
    assert np.allclose(U @ U.T, np.eye(H), atol=1e-5)
    rnn = nn.RNN(cell)
    names = {"jax": jax, "jnp": jnp, "nn": nn, "optax": optax, "flax": flax, "H": H, "T": T, "p": p, "q": q, "x": x}
    names |= {"key": jax.random.key(2), "norm": lambda v: v}
    names["lstm"] = lambda v: rnn.init_with_output(jax.random.key(3), v)[0]
    exec(lines("GS-VANISHING", "Flax"), names)
    spread(np.asarray(p["hf"]["bias"]))
    assert np.array_equal(p["hi"]["bias"], -p["hf"]["bias"])
    assert np.array_equal(q["iz"]["bias"], np.full(H, BIAS))
    # z multiplies the old state: with weights of zero, h' = sigmoid(3) h
    zero = jax.tree.map(jnp.zeros_like, q) | {"iz": {"kernel": jnp.zeros((H, H)), "bias": q["iz"]["bias"]}}
    h, _ = nn.GRUCell(H).apply({"params": zero}, jnp.ones((1, H)), jnp.zeros((1, H)))
    assert np.allclose(h, 1 / (1 + np.exp(-BIAS)))
    for code in ("GS-EXPLODING", "GS-DEPTH", "GS-DEAD"):
        exec(lines(code, "Flax"), names)
        if code == "GS-EXPLODING":
            U = np.asarray(parameters(names["cell"])["h"]["kernel"])
            assert np.allclose(U @ U.T, np.eye(H) / 4, atol=1e-5)
    layer = names["Layer"]()
    assert layer.apply(layer.init(jax.random.key(4), x), x).shape == x.shape
    assert np.allclose(parameters(names["cell"])["i"]["bias"], 0.1)
    big = {"w": jnp.full(4, 1e6)}
    updates, _ = names["optimizer"].update(big, names["optimizer"].init(big))
    assert np.isfinite(np.asarray(updates["w"])).all()
    names |= {"train": 800 + 50 * x, "x": 800 + 50 * x}
    exec(lines("GS-SATURATED", "Flax"), names)
    assert float(jnp.abs(names["x"].mean((0, 1))).max()) < 1e-3
