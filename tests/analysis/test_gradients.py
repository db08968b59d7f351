"""Gradient norms at every step, against backpropagation written out by hand and against closed forms."""

import numpy as np
import pytest
import reference

from gradscope import JacobianChain, create
from gradscope.analysis.gradients import gradient_norms
from gradscope.dynamics import chain as chain_module
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import Loss, given_loss, random_loss
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.networks.cell import cell_class

KINDS = {
    "linear": ("linear", {}),
    "tanh": ("rnn", {}),
    "relu": ("rnn", {"activation": "relu"}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "gru before": ("gru", {"reset": "before"}),
}
EVERY = pytest.mark.parametrize("kind", KINDS)
T, B, M = 30, 3, 2
LN2 = np.log(2.0)
EPS = np.finfo(float).eps
CLOSE = 1e-10  # log error: 30 steps of sums of ten terms err by 1e-13; a wrong formula by far more


def chain_of(cell, seed=0, steps=T):
    inputs = np.random.default_rng(seed).standard_normal((B, steps, M))
    return linearise(run(cell, inputs)), inputs


def truth(kind, cell, inputs, loss, b):
    direct = np.stack([np.zeros(cell.output.stop) if d is None else d[:, b] for d in directs(loss, inputs.shape[1])])
    return reference.backpropagate(kind, cell.weights(), inputs[b], np.zeros(cell.state_size), direct)


def directs(loss, steps):
    return [loss.at(t, steps) for t in range(1, steps + 1)]


def norms(rows):
    return np.log([np.linalg.norm(r) for r in rows])


@EVERY
@pytest.mark.parametrize("name", ["last", "mean", "sum"])
def test_every_step_of_every_cell(kind, name):
    cell = create(KINDS[kind][0], hidden_size=5, input_size=M, gain=1.5, seed=3, **KINDS[kind][1])
    chain, inputs = chain_of(cell)
    loss = random_loss(chain, name, seed=5)
    found = gradient_norms(chain, loss, keep=True)
    for b in range(B):
        wanted, totals = truth(kind, cell, inputs, loss, b)
        assert np.abs(found.state[:, b] - norms(wanted)).max() < CLOSE
        assert np.abs(found.logs["h"][:, b] - norms([w[chain.parts["h"]] for w in wanted])).max() < CLOSE
        directions = found.cotangents[:, :, b] * np.exp(found.state[:, b])[:, None]
        assert np.allclose(directions, wanted, rtol=CLOSE, atol=CLOSE * np.abs(wanted).max(axis=1)[:, None])
        if kind == "lstm":
            assert np.abs(found.logs["c_total"][1:, b] - norms(totals[1:])).max() < CLOSE
            assert found.logs["c_total"][0, b] == found.logs["c"][0, b]
            # dL/dc_T as an independent input is zero: the loss sees h only
            assert found.logs["c"][T, b] == -np.inf
            assert np.abs(found.logs["c"][:T, b] - norms([w[5:] for w in wanted[:T]])).max() < CLOSE
    assert ("c_total" in found.logs) == (kind == "lstm")


def test_projected_lstm():
    rng = np.random.default_rng(0)
    shapes = {"W": (20, M), "U": (20, 3), "b_ih": 20, "b_hh": 20, "W_hr": (3, 5)}
    cell = cell_class("lstm")(**{k: rng.uniform(-0.9, 0.9, n) for k, n in shapes.items()})
    chain, inputs = chain_of(cell)
    loss = random_loss(chain, "sum")
    found = gradient_norms(chain, loss)
    for b in range(B):
        wanted, totals = truth("lstm", cell, inputs, loss, b)
        assert np.abs(found.state[:, b] - norms(wanted)).max() < CLOSE
        assert np.abs(found.logs["c_total"][1:, b] - norms(totals[1:])).max() < CLOSE


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_stack(kind):
    """dL/ds_t of a rollout that starts at s_t, by complex steps."""
    steps, layers = 6, 2
    cell = create(KINDS[kind][0], hidden_size=3, input_size=M, layers=layers, gain=1.5)
    chain, inputs = chain_of(cell, steps=steps)
    loss = random_loss(chain, "sum")
    found = gradient_norms(chain, loss)
    weights = [c.weights() for c in cell.layers.values()]
    advance = lambda x, s: reference.stack_step(kind, weights, x, s)  # noqa: E731
    for b in range(B):
        states = reference.run(advance, inputs[b], np.zeros(cell.state_size))
        direct = [None, *(d[:, b] for d in directs(loss, steps))]

        def total(s, t, b=b, direct=direct):
            value = direct[t] @ s[cell.output] if t else 0
            for k in range(t, steps):
                s = advance(inputs[b, k].astype(complex), s)
                value = value + direct[k + 1] @ s[cell.output]
            return value

        for t in range(steps + 1):
            g = [np.imag(total(states[t] + 1e-30j * e, t)) / 1e-30 for e in np.eye(cell.state_size)]
            assert abs(found.state[t, b] - np.log(np.linalg.norm(g))) < CLOSE
            for part, at in chain.parts.items():
                if t < steps or part.endswith("h") and part.startswith("l1"):
                    assert abs(found.logs[part][t, b] - np.log(np.linalg.norm(g[at]))) < CLOSE


def test_total_derivative_in_a_stack():
    """What reaches a lower layer's new parts also goes through the layer above, in the same step."""
    cell = create("lstm", hidden_size=3, input_size=M, layers=2, gain=1.5)
    chain, _ = chain_of(cell, steps=4)
    rng = np.random.default_rng(1)
    x, s, u = (rng.standard_normal((k, 1)) for k in (M, cell.state_size, cell.state_size))
    low, high = cell.layers.values()
    J = cell.linearise(x, s)
    new_low = low.evolve(x, s[:6])
    up = high.linearise(new_low[:3], s[6:])
    reached_h0 = up.vjp_input(u[6:])
    within = J.vjp_within(u)
    assert np.allclose(within[:3], reached_h0, rtol=1e-13)
    # c0 -> h0 is o (1 - tanh^2 c), and h0 has what comes from later steps and from the layer above
    o, c = low.gate_values(x, s[:6])["o"], new_low[3:]
    assert np.allclose(within[3:6], o * (1 - np.tanh(c) ** 2) * (u[:3] + reached_h0), rtol=1e-13)
    assert not within[6:9].any()


def test_given_losses_of_all_shapes():
    cell = create("gru", hidden_size=4, input_size=M, gain=2.0)
    chain, inputs = chain_of(cell)
    rng = np.random.default_rng(2)
    for gradient in (rng.standard_normal(4), rng.standard_normal((B, 4)), rng.standard_normal((B, T, 4))):
        loss = given_loss(chain, gradient)
        found = gradient_norms(chain, loss).state
        for b in range(B):
            direct = np.zeros((T, 4))
            if gradient.ndim == 3:
                direct = gradient[b]
            else:
                direct[-1] = gradient[b] if gradient.ndim == 2 else gradient
            wanted, _ = reference.backpropagate("gru", cell.weights(), inputs[b], np.zeros(4), direct)
            assert np.abs(found[:, b] - norms(wanted)).max() < CLOSE


def test_losses_of_wrong_shapes_and_names():
    chain, _ = chain_of(create("gru", hidden_size=4, input_size=M))
    for wrong in (np.ones(3), np.ones((4, B)), np.ones((B, T + 1, 4)), np.ones((T, B, 4)), np.ones((1, B, T, 4))):
        with pytest.raises(InputError, match="it must be"):
            given_loss(chain, wrong)
    with pytest.raises(InputError, match="real numbers"):
        given_loss(chain, np.ones(4, complex))
    with pytest.raises(UsageError, match="no loss named 'first'"):
        random_loss(chain, "first")


def test_random_losses():
    chain, _ = chain_of(create("lstm", hidden_size=4, input_size=M))
    last, mean, total = (random_loss(chain, n, seed=1) for n in ("last", "mean", "sum"))
    assert last.direct.shape == (4, B)  # h only, not c
    assert np.abs(np.linalg.norm(last.direct, axis=0) - 1).max() < 4 * EPS
    assert last.at(T, T) is last.direct
    assert all(last.at(t, T) is None for t in range(T))
    assert total.at(0, T) is None
    assert all(np.array_equal(total.at(t, T), last.direct) for t in range(1, T + 1))
    assert np.allclose(mean.at(3, T) * T, total.at(3, T), rtol=2 * EPS, atol=0)
    assert not np.array_equal(last.direct, random_loss(chain, "last", seed=2).direct)
    assert np.array_equal(total.last_only().direct, last.direct)
    assert last.last_only() is last
    assert (total.at_every_step, last.at_every_step) == (True, False)


def test_halving_for_ten_thousand_steps():
    """0.5^k is zero in float64 from k = 1075 on; its logarithm is k log 2, to one rounding."""
    steps = 10_000
    chain = JacobianChain.from_arrays(np.full((steps, 1, 1), 0.5))
    found = gradient_norms(chain, given_loss(chain, np.ones(1))).state[::-1, 0]
    assert np.allclose(found, -LN2 * np.arange(steps + 1), rtol=4 * EPS, atol=0)


@pytest.mark.parametrize("factor", [1e-200, 1e200, 1e-310])
def test_factors_near_the_ends_of_float64(factor):
    """Squares of these over- and underflow; their logs do not."""
    chain = JacobianChain.from_arrays(factor * np.tile(np.eye(2), (50, 1, 1)))
    found = gradient_norms(chain, given_loss(chain, np.array([3.0, 4.0]))).state[::-1, 0]
    assert np.allclose(found, np.log(5) + np.arange(51) * np.log(factor), rtol=8 * EPS, atol=0)


def test_single_precision():
    """The mantissa has 24 bits, the exponent is our own: three thousand steps down to 10^-903."""
    steps = 3000
    J = np.full((steps, 1, 1), 0.5, np.float32)
    chain = JacobianChain.from_arrays(J)
    assert chain.dtype == np.float32
    found = gradient_norms(chain, given_loss(chain, np.ones(1)), keep=True)
    assert found.cotangents.dtype == np.float32
    assert np.allclose(found.state[::-1, 0], -LN2 * np.arange(steps + 1), rtol=4 * EPS, atol=0)
    third = JacobianChain.from_arrays(np.full((1000, 1, 1), 1 / 3, np.float32))
    found = gradient_norms(third, given_loss(third, np.ones(1))).state[0, 0]
    # the number itself is 1/3 (1 + 3e-8), and each of 1000 products rounds by at most eps/2
    assert abs(found - 1000 * np.log(float(np.float32(1 / 3)))) < 1000 * np.finfo(np.float32).eps / 2


def test_a_cell_in_single_precision():
    cells = [create("lstm", hidden_size=5, input_size=M, gain=1.5, dtype=d) for d in (np.float64, np.float32)]
    double, single = (chain_of(c)[0] for c in cells)
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    found = [gradient_norms(c, random_loss(c, "last", 1)).state for c in (double, single)]
    assert found[1].dtype == np.float64
    error = np.abs(found[0] - found[1]).max()
    assert 1e-12 < error < T * 20 * np.finfo(np.float32).eps  # float32 it is, with some 20 roundings a step


def test_orthogonal_weights_keep_the_gradient():
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    chain = JacobianChain.from_arrays(np.tile(Q, (2000, 1, 1)))
    found = gradient_norms(chain, given_loss(chain, np.eye(16)[0])).state
    assert np.abs(found).max() < 1e-12  # T eps, the walk of roundings being its square root


def test_later_terms_that_dominate_and_vanish():
    """L = sum w h_t with J = a: dL/dh_t = (1 - a^(T-t+1)) / (1 - a), from a sum of very unlike sizes."""
    steps = 2000
    for a in (0.5, 1.0, 2.0):
        chain = JacobianChain.from_arrays(np.full((steps, 1, 1), a))
        found = gradient_norms(chain, Loss("sum", np.ones((steps, 1, 1)))).state[:, 0]
        k = np.arange(steps, 0, -1.0)  # terms at t = 1, 2, ..., T
        wanted = {0.5: np.log(2 * (1 - 0.5**k)), 1.0: np.log(k), 2.0: k * LN2 + np.log1p(-(0.5**k))}[a]
        assert np.allclose(found[1:], wanted, rtol=8 * EPS, atol=8 * EPS)
        assert abs(found[0] - found[1] - np.log(a)) < 8 * EPS * max(abs(found[0]), 1)  # h_0 has no loss of its own


@pytest.mark.parametrize("at", [1, 500, 1000])  # the first step, the middle, the last
def test_one_direct_term_far_from_the_others(at):
    """A term of 10^-200 or 10^200 at one step beside ones at the last: the larger decides, on its own scale."""
    for size in (1e-200, 1e200):
        direct = np.zeros((1000, 1, 1))
        direct[-1] = 1.0
        direct[at - 1] = size
        chain = JacobianChain.from_arrays(np.full((1000, 1, 1), 0.5))
        found = gradient_norms(chain, Loss("given", direct)).state[0, 0]
        both = np.logaddexp(-1000 * LN2, np.log(size) - at * LN2)
        wanted = np.log(size) - 1000 * LN2 if at == 1000 else both
        assert abs(found - wanted) < 8 * EPS * abs(wanted)


def test_gradients_that_cancel_are_exactly_zero():
    direct = np.zeros((10, 1, 1))
    direct[9], direct[4] = 1.0, -(0.5**5)
    chain = JacobianChain.from_arrays(np.full((10, 1, 1), 0.5))
    found = gradient_norms(chain, Loss("given", direct)).state[:, 0]
    assert np.isneginf(found[:6]).all()
    assert np.isfinite(found[6:]).all()


def test_zero_and_nan_stay_in_their_own_sequence():
    J = np.tile(0.5 * np.eye(2), (20, 4, 1, 1))
    J[10, 1] = 0
    J[10, 2] = np.nan
    J[10, 3] = np.inf
    chain = JacobianChain.from_arrays(J)
    found = gradient_norms(chain, given_loss(chain, np.ones(2))).state
    assert np.isfinite(found[:, 0]).all()
    assert np.isneginf(found[:11, 1]).all()
    assert np.isnan(found[:11, 2:]).all()
    assert np.isfinite(found[11:]).all()
    assert np.array_equal(found[11:, 0], found[11:, 3])


def test_only_the_output_is_read():
    """Rows are outputs: a loss that reads h_T only sees J^T, not J."""
    J = np.array([[[1.0, 2.0], [0.0, 1.0]]])
    chain = JacobianChain.from_arrays(J)
    found = gradient_norms(chain, given_loss(chain, np.array([1.0, 0.0]))).state[0, 0]
    assert abs(found - np.log(np.sqrt(5))) < 4 * EPS
    found = gradient_norms(chain, given_loss(chain, np.array([0.0, 1.0]))).state[0, 0]
    assert found == 0


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_chunks_do_not_matter(name, monkeypatch):
    cell = create(name, hidden_size=4, input_size=M)
    inputs = np.random.default_rng(0).standard_normal((B, T, M))

    def found(size):
        monkeypatch.setattr(chain_module, "CHUNK_BYTES", size)
        monkeypatch.setattr(chain_module, "BLOCK_BYTES", size)
        chain = linearise(run(cell, inputs))
        return (
            sum(1 for _ in chain.backward()),
            chain._chunk,
            gradient_norms(chain, random_loss(chain, "sum"), keep=True),
        )

    rows = [found(size) for size in (8 << 20, 1, *(1 << k for k in range(10, 17)))]
    chunks = {chunk for _, chunk, _ in rows}
    assert {1, T} < chunks
    assert any(T % chunk for chunk in chunks)  # the first chunk of the sweep is shorter
    for count, _, part in rows:
        assert count == T
        # BLAS may round a product of another shape otherwise
        assert np.abs(part.state - rows[0][2].state).max() < 1e-12
        assert np.abs(part.cotangents - rows[0][2].cotangents).max() < 1e-12


def test_tanh_unit_at_its_fixed_point():
    """h = tanh(w h): the slope w (1 - h^2) is below one on either side of w = 1, although the weight is not."""
    rates = {0.5: -0.693147180560, 1.1: -0.196311940352, 2.0: -1.793528506542, 5.0: -7.003449823947}
    for w, rate in rates.items():
        cell = cell_class("rnn")(W=np.zeros((1, 1)), U=np.array([[w]]), b_ih=None, b_hh=None)
        chain = linearise(run(cell, np.zeros((1, 400, 1)), warmup=300, start=np.array([0.5])))
        found = gradient_norms(chain, given_loss(chain, np.ones(1))).state
        assert abs((found[0, 0] - found[-1, 0]) / 100 - rate) < 1e-11  # the rate is given to 1e-12


def test_tanh_unit_at_criticality():
    """At w = 1 the exponent is zero, and yet the product falls as t^(-3/2): h falls as sqrt(3 / 2t)."""
    cell = cell_class("rnn")(W=np.zeros((1, 1)), U=np.ones((1, 1)), b_ih=None, b_hh=None)

    def product(t):
        chain = linearise(run(cell, np.zeros((1, t, 1)), start=np.array([1.0])))
        return gradient_norms(chain, given_loss(chain, np.ones(1))).state[0, 0]

    slope = (product(4000) - product(1000)) / np.log(4)
    assert abs(slope + 1.5) < 0.01  # corrections are of order log(t) / t


def test_a_state_of_one_part_is_named_once():
    chain = JacobianChain.from_arrays(np.eye(2)[None])
    assert list(gradient_norms(chain, given_loss(chain, np.ones(2))).logs) == ["state"]
    chain, _ = chain_of(create("gru", hidden_size=2, input_size=M))
    assert list(gradient_norms(chain, random_loss(chain)).logs) == ["state", "h"]


def test_mean_square_over_isotropic_cotangents():
    """E |P^T u|^2 = |P|_F^2 / n for u uniform on the sphere; its variance is a fourth moment."""
    n, count, steps = 5, 4000, 6
    J = np.random.default_rng(0).standard_normal((steps, n, n)) / np.sqrt(n)
    chain = JacobianChain.from_arrays(np.broadcast_to(J[:, None], (steps, count, n, n)))
    squares = np.exp(2 * gradient_norms(chain, random_loss(chain, "last", seed=3)).state[0])
    s2 = np.linalg.svd(reference.product(J), compute_uv=False) ** 2
    mean = s2.sum() / n
    variance = 2 / (n * (n + 2)) * ((s2**2).sum() - s2.sum() ** 2 / n)
    assert abs(squares.mean() - mean) < 5 * np.sqrt(variance / count)
