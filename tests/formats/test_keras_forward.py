"""Forward steps against the layers of keras 3, in float32, on whatever backend is there."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from forward import H, agree, inputs, made  # noqa: E402

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore")]
SEEDS = pytest.mark.parametrize("seed", range(3))


def built(layer, xs, seed):
    """Return the layer's arrays, all of them random: kernel, recurrent kernel, bias."""
    layer.build(xs.shape)
    rng = np.random.default_rng([seed, 4])
    layer.set_weights([0.3 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()])
    return layer.get_weights()


def ran(layer, xs):
    return keras.ops.convert_to_numpy(layer(xs))


def gates(array, order):
    """Return blocks along the last axis, transposed and in another order."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[k].T for k in order])


@SEEDS
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_simple_rnn(kind, seed):
    xs, layer = inputs(seed), keras.layers.SimpleRNN(H, activation=kind, return_sequences=True)
    W, U, b = built(layer, xs, seed)
    agree(made("rnn", W=W.T, U=U.T / 3, b_ih=b, activation=kind), xs, h=scaled(layer, U, xs))


def scaled(layer, U, xs):
    """Run with a third of the recurrent weights, so that relu does not blow up."""
    W, _, b = layer.get_weights()
    layer.set_weights([W, (U / 3).astype(np.float32), b])
    return ran(layer, xs)


@SEEDS
def test_lstm(seed):
    """Keras has i, f, c, o: ours."""
    xs, layer = inputs(seed), keras.layers.LSTM(H, return_sequences=True, return_state=True)
    W, U, b = built(layer, xs, seed)
    h, last, c = (keras.ops.convert_to_numpy(y) for y in layer(xs))
    assert np.array_equal(last, h[:, -1])
    cell = made("lstm", W=gates(W, range(4)), U=gates(U, range(4)), b_ih=b)
    agree(cell, xs, h=h)
    found = np.zeros((len(xs), 2 * H), np.float32)
    for t in range(xs.shape[1]):
        found = cell.step(xs[:, t], found)
    assert np.abs(found[:, H:] - c).max() < 1e-6 * max(1, np.abs(c).max())


@SEEDS
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru(reset_after, seed):
    """Keras has z, r, h: ours is r, z, n; its z keeps the old state, as ours does."""
    xs, layer = inputs(seed), keras.layers.GRU(H, reset_after=reset_after, return_sequences=True)
    W, U, b = built(layer, xs, seed)
    order = (1, 0, 2)
    b_ih, b_hh = (np.concatenate([np.split(row, 3)[k] for k in order]) for row in (b if reset_after else [b, 0 * b]))
    cell = made("gru", W=gates(W, order), U=gates(U, order), b_ih=b_ih, b_hh=b_hh,
                reset="after" if reset_after else "before")  # fmt: skip
    agree(cell, xs, h=ran(layer, xs))
