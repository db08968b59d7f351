"""Forward steps against the cells of flax, linen and nnx, in float32."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
flax = pytest.importorskip("flax")

from flax import linen, nnx  # noqa: E402
from forward import B, H, M, T, agree, inputs, made  # noqa: E402

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore")]
SEEDS = pytest.mark.parametrize("seed", range(3))


def ran(cell, xs, seed):
    """Return (parameters, carries after each step) of a linen cell whose parameters are all random."""
    carry = cell.initialize_carry(jax.random.key(0), xs[:, 0].shape)
    params = cell.init(jax.random.key(seed), carry, xs[:, 0])
    rng = np.random.default_rng([seed, 4])
    params = jax.tree.map(lambda w: 0.3 * rng.standard_normal(w.shape).astype(np.float32), params)
    carries = []
    for t in range(T):
        carry, _ = cell.apply(params, carry, xs[:, t])
        carries.append([np.asarray(c) for c in (carry if isinstance(carry, tuple) else (carry,))])
    return params["params"], [np.stack(part, axis=1) for part in zip(*carries, strict=True)]


def joined(params, names, what):
    return np.concatenate([np.asarray(params[n][what]).T for n in names])


@SEEDS
def test_simple_cell(seed):
    xs = inputs(seed)
    p, (h,) = ran(linen.SimpleCell(H), xs, seed)
    agree(made("rnn", W=p["i"]["kernel"].T, U=p["h"]["kernel"].T, b_ih=p["i"]["bias"]), xs, h=h)


@SEEDS
@pytest.mark.parametrize("kind", [linen.LSTMCell, linen.OptimizedLSTMCell])
def test_lstm_cell(kind, seed):
    """The carry is (c, h); biases are on the recurrent side."""
    xs = inputs(seed)
    p, (c, h) = ran(kind(H), xs, seed)
    W = joined(p, ["ii", "if", "ig", "io"], "kernel")
    U, b = (joined(p, ["hi", "hf", "hg", "ho"], what) for what in ("kernel", "bias"))
    agree(made("lstm", W=W, U=U, b_hh=b), xs, h=h, c=c)


@SEEDS
def test_gru_cell(seed):
    """Reset after the product; a bias of the candidate on either side."""
    xs = inputs(seed)
    p, (h,) = ran(linen.GRUCell(H), xs, seed)
    W, b_ih = (joined(p, ["ir", "iz", "in"], what) for what in ("kernel", "bias"))
    U = joined(p, ["hr", "hz", "hn"], "kernel")
    b_hh = np.concatenate([np.zeros(2 * H), p["hn"]["bias"]])
    agree(made("gru", W=W, U=U, b_ih=b_ih, b_hh=b_hh), xs, h=h)


def test_mgu_cell_is_another_cell():
    """Flax resets after the product and keeps f h: h' = (1 - f) n + f h, n = tanh(W x + f (U h + b)).

    Zhou et al. (2016) have (1 - f) h + f n, n = tanh(W x + U (f h)). Both are held against their own formulas.
    """
    xs = inputs()
    p, (h,) = ran(linen.MGUCell(H), xs, 0)
    state = np.zeros((B, H))
    for t in range(T):
        f = 1 / (1 + np.exp(-(xs[:, t] @ p["if"]["kernel"] + p["if"]["bias"] + state @ p["hf"]["kernel"])))
        n = np.tanh(xs[:, t] @ p["in"]["kernel"] + p["in"]["bias"] + f * (state @ p["hn"]["kernel"] + p["hn"]["bias"]))
        state = (1 - f) * n + f * state
        assert np.abs(state - h[:, t]).max() < 1e-6


@SEEDS
def test_nnx_cells(seed):
    """The newer interface computes the same."""
    xs = inputs(seed)
    lstm = nnx.LSTMCell(M, H, rngs=nnx.Rngs(seed))
    gru = nnx.GRUCell(M, H, rngs=nnx.Rngs(seed))
    plain = nnx.SimpleCell(M, H, rngs=nnx.Rngs(seed))

    def carries(cell):
        carry, rows = cell.initialize_carry(xs[:, 0].shape, nnx.Rngs(0)), []
        for t in range(T):
            carry, _ = cell(carry, xs[:, t])
            rows.append(carry if isinstance(carry, tuple) else (carry,))
        return [np.stack([np.asarray(c) for c in part], axis=1) for part in zip(*rows, strict=True)]

    def kernels(cell, names):
        return np.concatenate([np.asarray(getattr(cell, n).kernel[...]).T for n in names])

    c, h = carries(lstm)
    W, U = kernels(lstm, ["ii", "if_", "ig", "io"]), kernels(lstm, ["hi", "hf", "hg", "ho"])
    agree(made("lstm", W=W, U=U), xs, h=h, c=c)
    (h,) = carries(plain)
    agree(made("rnn", W=kernels(plain, ["dense_i"]), U=kernels(plain, ["dense_h"])), xs, h=h)
    (h,) = carries(gru)
    agree(made("gru", W=np.asarray(gru.dense_i.kernel[...]).T, U=np.asarray(gru.dense_h.kernel[...]).T), xs, h=h)
