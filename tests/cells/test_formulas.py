"""Every cell against the textbook, written once more in `reference`."""

import numpy as np
import pytest
import reference

from gradscope import create
from gradscope.errors import InputError
from gradscope.networks.elementwise import ACTIVATIONS, dsigmoid, dtanh, sigmoid
from gradscope.networks.stack import Stack

KINDS = {
    "linear": ("linear", {}),
    "tanh": ("rnn", {}),
    "relu": ("rnn", {"activation": "relu"}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "gru before": ("gru", {"reset": "before"}),
}
EVERY = pytest.mark.parametrize("kind", KINDS)
EPS = np.finfo(float).eps


def make(kind, **sizes):
    name, settings = KINDS[kind]
    return create(name, **({"hidden_size": 5, "input_size": 3, "gain": 1.5} | sizes), **settings)


@EVERY
def test_step(kind):
    cell = make(kind)
    rng = np.random.default_rng(1)
    x, s = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, cell.state_size))
    found = cell.step(x, s)
    for i in np.ndindex(2, 4):
        wanted = reference.step(kind, cell.weights(), x[i], s[i])
        assert np.abs(found[i] - wanted).max() < 1e-14 * max(np.abs(wanted).max(), 1)  # sums of 8 terms


@EVERY
def test_jacobian(kind):
    """Rows are outputs: J[i, j] = d new_i / d old_j."""
    cell = make(kind)
    rng = np.random.default_rng(2)
    x, s = rng.standard_normal(3), rng.standard_normal(cell.state_size)
    wanted = reference.jacobian(lambda x, s: reference.step(kind, cell.weights(), x, s), x, s)
    assert np.abs(cell.jacobian(x, s).dense() - wanted).max() < 1e-14 * np.abs(wanted).max() * 10
    assert np.abs(wanted - wanted.T).max() > 0.01  # a transposed Jacobian would not pass


@EVERY
def test_stack(kind):
    cell = make(kind, layers=3, hidden_size=6)
    rng = np.random.default_rng(3)
    x, s = rng.standard_normal(3), rng.standard_normal(cell.state_size)
    layers = [c.weights() for c in cell.layers.values()]
    advance = lambda x, s: reference.stack_step(kind, layers, x, s)  # noqa: E731
    assert np.abs(cell.step(x, s) - advance(x, s)).max() < 1e-14 * max(np.abs(advance(x, s)).max(), 1)
    wanted = reference.jacobian(advance, x, s)
    J = cell.jacobian(x, s).dense()
    assert np.abs(J - wanted).max() < 1e-13 * np.abs(wanted).max()
    n = cell.state_size // 3
    assert not J[:n, n:].any()  # lower layers do not see upper ones
    assert J[n : 2 * n, :n].any()


def test_lstm_with_projection():
    rng = np.random.default_rng(4)
    shapes = {"W": (20, 2), "U": (20, 3), "b_ih": 20, "b_hh": 20, "W_hr": (3, 5)}
    p = {k: rng.uniform(-0.7, 0.7, n) for k, n in shapes.items()}
    lstm = type(create("lstm", hidden_size=1, input_size=1))(**p)
    x, s = rng.standard_normal(2), rng.standard_normal(8)
    wanted = reference.jacobian(lambda x, s: reference.step("lstm", p, x, s), x, s)
    assert np.abs(lstm.step(x, s) - reference.step("lstm", p, x, s)).max() < 1e-14
    assert np.abs(lstm.jacobian(x, s).dense() - wanted).max() < 1e-14


def test_the_road_around():
    """diag(f) for the LSTM's cell, diag(z) for the GRU, nothing for the RNN."""
    rng = np.random.default_rng(5)
    lstm, gru, rnn = (create(n, hidden_size=4, input_size=3) for n in ("lstm", "gru", "rnn"))
    x = rng.standard_normal((3, 1))
    for cell, gate, part in ((lstm, "f", slice(4, 8)), (gru, "z", slice(0, 4))):
        s = rng.standard_normal((cell.state_size, 1))
        v = np.zeros_like(s)
        v[part] = 1.0
        around = cell.linearise(x, s).jvp_skip(v)
        assert np.array_equal(around[part], cell.gate_values(x, s)[gate])
    assert not rnn.linearise(x, np.ones((4, 1))).jvp_skip(np.ones((4, 1))).any()


def test_gate_values_are_the_gates():
    lstm = create("lstm", hidden_size=4, input_size=3)
    x, s = np.ones((3, 1)), np.ones((8, 1))
    v, a = reference.gates(lstm.weights(), x[:, 0], s[:4, 0], 4)
    f = {"i": reference.sigmoid, "f": reference.sigmoid, "g": np.tanh, "o": reference.sigmoid}
    for k, gate in enumerate("ifgo"):
        assert np.allclose(lstm.gate_values(x, s)[gate][:, 0], f[gate](v[k] + a[k]), rtol=1e-14, atol=0)
    gru = create("gru", hidden_size=4, input_size=3, reset="before")
    x, h = np.ones((3, 1)), np.full((4, 1), 0.5)
    old = reference.step("gru before", gru.weights(), x[:, 0], h[:, 0])
    y = gru.gate_values(x, h)
    assert list(y) == ["r", "z", "n"]
    assert np.allclose((1 - y["z"]) * y["n"] + y["z"] * h, old[:, None], rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_derivatives_keep_their_digits_when_saturated(dtype):
    """1 - tanh(a)^2 is 0 from a = 19 on; the derivative is 4 exp(-2a)."""
    eps = np.finfo(dtype).eps
    for a in (20.0, 40.0):
        e = np.exp(-a)
        # rounding 2a in exp costs a factor exp(2 a eps)
        for value, wanted in ((dtanh, 4 * e**2), (dsigmoid, e / (1 + e) ** 2)):
            for sign in (1, -1):
                found = value(np.array(sign * a, dtype))
                assert found.dtype == dtype
                assert abs(float(found) / wanted - 1) < (2 * a + 8) * eps
    assert sigmoid(np.array(-50.0)) == pytest.approx(np.exp(-50.0), rel=4 * EPS)
    assert sigmoid(np.array([-np.inf, 0, np.inf])).tolist() == [0, 0.5, 1]
    assert dtanh(np.array([-np.inf, 0, np.inf])).tolist() == [0, 1, 0]
    assert dsigmoid(np.array([-np.inf, 0, np.inf])).tolist() == [0, 0.25, 0]
    assert np.isnan([sigmoid(np.array(np.nan)), dtanh(np.array(np.nan)), dsigmoid(np.array(np.nan))]).all()


def test_relu_at_its_kink():
    relu = ACTIVATIONS["relu"]
    a = np.array([-1.0, -0.0, 0.0, 2.0])
    assert relu.f(a).tolist() == [0, 0, 0, 2]
    assert relu.df(a).tolist() == [0, 0, 0, 1]


def test_wrong_shapes_are_refused():
    cell = create("gru", hidden_size=4, input_size=3)
    with pytest.raises(InputError, match="input has shape"):
        cell.step(np.zeros(4), np.zeros(4))
    with pytest.raises(InputError, match="state has shape"):
        cell.jacobian(np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match="its last axis must be 3"):
        cell.step(np.float64(1.0), np.zeros(4))


def test_stack_sizes_and_names():
    cell = create("lstm", hidden_size=4, input_size=3, layers=2)
    assert isinstance(cell, Stack)
    assert cell.sizes == {"l0.h": 4, "l0.c": 4, "l1.h": 4, "l1.c": 4}
    assert (cell.output, cell.state_size, cell.input_size) == (slice(8, 12), 16, 3)
    assert set(cell.gate_ranges) == {f"l{k}.{g}" for k in (0, 1) for g in "ifgo"}
    assert set(cell.weights()) == {f"l{k}.{w}" for k in (0, 1) for w in ("W", "U", "b_ih", "b_hh")}
