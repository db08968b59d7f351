"""A network that feeds itself: its Jacobian, and the network without a loop that is the same system."""

import numpy as np
import pytest

from gradscope import JacobianChain, analyze, closed_loop, create, from_step, plugins
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.paths import paths
from gradscope.checking.create import directions
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.networks.cell import cell_class
from gradscope.networks.stack import Stack
from gradscope.testing import check_cell

EMPTY = np.zeros(0)


def readout(cell, seed=0, scale=1.0):
    """Return a readout and a bias of the right shapes."""
    rng = np.random.default_rng([seed, 77])
    size = cell.output.stop - cell.output.start
    return scale * rng.standard_normal((cell.input_size, size)) / np.sqrt(size), rng.standard_normal(cell.input_size)


def projected():
    cell = create("lstm", hidden_size=6, input_size=3, seed=4)
    rng = np.random.default_rng(5)
    return cell.replace(W_hr=rng.standard_normal((4, 6)), U=rng.standard_normal((24, 4)))


def cases():
    for name in plugins.names("cells"):
        gain = 1.5 if cell_class(name).recurrent_weights else 1.0
        yield name, create(name, hidden_size=5, input_size=3, seed=1, gain=gain)
    yield "rnn-relu", create("rnn", hidden_size=5, input_size=3, activation="relu", seed=1)
    yield "gru-before", create("gru", hidden_size=5, input_size=3, reset="before", seed=1)
    yield "lstm-projected", projected()
    bottom, top = create("gru", hidden_size=4, input_size=2, seed=2), projected()
    yield "stack", create("lstm", hidden_size=4, input_size=3, layers=3, seed=2)
    yield "stack-mixed", Stack({"a": bottom, "b": create("rnn", hidden_size=3, input_size=4, seed=3)})
    yield "stack-projected", Stack({"a": top, "b": create("gru", hidden_size=3, input_size=4, seed=3)})


CASES = dict(cases())


@pytest.mark.parametrize("name", CASES)
def test_jacobian_is_the_derivative_of_the_closed_step(name):
    """Push, pull, dense, columns, batches, time axes and roads, against the complex step."""
    cell = CASES[name]
    check_cell(closed_loop(cell, *readout(cell)))
    check_cell(closed_loop(cell))


@pytest.mark.parametrize("name", CASES)
def test_the_step_is_that_of_the_network_on_its_own_output(name):
    cell = CASES[name]
    R, b = readout(cell)
    s = np.random.default_rng(1).standard_normal((4, cell.state_size))
    fed = s[:, cell.output] @ R.T + b
    np.testing.assert_allclose(
        closed_loop(cell, R, b).step(np.zeros((4, 0)), s), cell.step(fed, s), rtol=1e-14, atol=1e-15
    )


@pytest.mark.parametrize("name", CASES)
def test_dense_jacobian_is_the_sum_of_the_two_roads(name):
    """J = ds'/ds + (ds'/dx) R in the columns of the output."""
    cell = CASES[name]
    R, b = readout(cell)
    s = np.random.default_rng(2).standard_normal(cell.state_size)
    J = cell.jacobian(R @ s[cell.output] + b, s)
    want = J.dense()
    want[:, cell.output] += J.jvp_input(np.eye(cell.input_size)) @ R
    got = closed_loop(cell, R, b).jacobian(EMPTY, s)
    np.testing.assert_allclose(got.dense(), want, atol=1e-14 * np.abs(want).max())
    np.testing.assert_array_equal(got.jvp_skip(np.eye(len(s))), J.jvp_skip(np.eye(len(s))))


@pytest.mark.parametrize("name", ["rnn", "linear", "lstm"])
def test_it_is_the_network_with_recurrent_weights_u_plus_w_r(name):
    """Where a gate sees W x + U h, W (R h + b) is the same as more recurrent weights and another bias."""
    cell = CASES[name].with_gain(0.5)
    R, b = readout(cell, scale=0.5)
    merged = cell.replace(U=cell.U + cell.W @ R, b_hh=cell.b_hh + cell.W @ b)
    start = np.random.default_rng(3).standard_normal((4, cell.state_size))
    mine = linearise(run(closed_loop(cell, R, b), np.zeros((4, 40, 0)), start=start))
    theirs = linearise(run(merged, np.zeros((4, 40, cell.input_size)), start=start))
    # both contract, so that rounding does not grow: about 40 steps of a few eps each
    np.testing.assert_allclose(mine.trajectory.states, theirs.trajectory.states, atol=1e-13)
    loss = random_loss(mine, "last", 0)
    got, want = (gradient_norms(c, loss, keep=True) for c in (mine, theirs))
    assert set(got.logs) == set(want.logs)
    for part in want.logs:
        np.testing.assert_allclose(got.logs[part], want.logs[part], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(paths(mine, got).around_share, paths(theirs, want).around_share, rtol=1e-8, atol=1e-10)


def test_a_linear_loop_has_the_powers_of_u_plus_w_r():
    """J is the same matrix at every step: a state of the run is an affine power of it."""
    cell = create("linear", hidden_size=4, input_size=2, seed=3)
    R, b = readout(cell)
    loop = closed_loop(cell, R, b)
    M = cell.U + cell.W @ R
    np.testing.assert_allclose(loop.jacobian(EMPTY, np.ones(4)).dense(), M, rtol=1e-14, atol=1e-15)
    log_radius = analyze(loop, steps=60, lags=8).metrics["log10_product"]["spectral_radius"]
    assert log_radius == pytest.approx(60 * np.log10(np.abs(np.linalg.eigvals(M)).max()), rel=1e-9)


def test_the_run_starts_where_the_lead_in_leaves_the_network():
    """Lead-in, then free steps that are dropped, then measured ones: one orbit, cut in three."""
    cell = create("gru", hidden_size=6, input_size=2, seed=1)
    R, b = readout(cell)
    x = np.random.default_rng(2).standard_normal((3, 7, 2))
    result = analyze(closed_loop(cell, R, b), lead_in=x, steps=20, warmup=5, lags=0)
    assert result.document["config"] | {"lead_in": 7, "batch": 3, "steps": 20, "warmup": 5} == result.document["config"]
    s = np.zeros((3, 6))
    for t in range(7):
        s = cell.step(x[:, t], s)
    for _ in range(5):
        s = cell.step(s @ R.T + b, s)
    chain = linearise(run(closed_loop(cell, R, b), np.zeros((3, 20, 0)), start=s))
    want = gradient_norms(chain, random_loss(chain, "last", 0)).state
    got = result.series["log10_gradient_norm"]["h"]["median"]
    np.testing.assert_allclose(got, np.median(want, axis=1) / np.log(10), rtol=1e-10, atol=1e-12)


def test_a_lead_in_sets_any_cell_going():
    """Reading x and then y is the run along both, with as many steps of warm-up as x has."""
    cell = create("lstm", hidden_size=5, input_size=2)
    x = np.random.default_rng(4).standard_normal((3, 30, 2))
    together, apart = analyze(cell, x, warmup=10, lags=0), analyze(cell, x[:, 10:], lead_in=x[:, :10], lags=0)
    assert apart.series == together.series


def test_random_readout_is_that_of_nn_linear():
    """U(-1/sqrt(H), 1/sqrt(H)): variance 1/(3H), and a mean of N draws is within 5 standard errors."""
    cell = create("rnn", hidden_size=100, input_size=50)
    loop = closed_loop(cell, seed=3)
    drawn = np.append(loop.readout, loop.bias)
    assert np.abs(drawn).max() <= 0.1
    assert np.abs(drawn.mean()) < 5 * np.sqrt(1 / 300 / drawn.size)
    # the square of a uniform draw has variance 4/45 a^4
    assert np.abs((drawn**2).mean() - 1 / 300) < 5 * np.sqrt(4 / 45 / drawn.size) * 0.01
    assert not np.array_equal(closed_loop(cell, seed=4).readout, loop.readout)
    np.testing.assert_array_equal(closed_loop(cell, seed=3).readout, loop.readout)


def test_document():
    cell = create("lstm", hidden_size=4, input_size=2, layers=2)
    document = analyze(closed_loop(cell, *readout(cell), name="head"), steps=20, lags=2).document
    assert (document["model"]["readout"], document["model"]["input_size"]) == ("head", 2)
    assert (document["config"]["lead_in"], document["config"]["batch"]) == (50, 8)
    assert "LSTM, 4 units, closed loop" in document["verdict"]["sentence"]
    assert any(g.startswith("l1.") for g in document["series"]["gates"])


CELL = create("gru", hidden_size=4, input_size=3)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((CELL, np.zeros((7, 4))), InputError, "has 7 outputs; the network has 3 inputs"),
        ((CELL, np.zeros((3, 5))), InputError, "takes 5 units; the network output has 4"),
        ((CELL, np.zeros((4, 3))), InputError, "must be (3, 4)"),
        ((CELL, np.zeros(4)), InputError, "must be (3, 4)"),
        ((CELL, np.zeros((3, 4)), np.zeros(4)), InputError, "must be (3,)"),
        ((CELL, np.zeros((3, 4), complex)), InputError, "real numbers"),
        ((CELL, None, np.zeros(3)), UsageError, "needs its readout"),
        ((directions("rnn", hidden_size=3)["l0"],), UsageError, "bidirectional"),
        ((from_step(lambda x, s: s, state_size=2, input_size=1), np.ones((1, 2))), UsageError, "step function"),
        ((closed_loop(CELL),), UsageError, "already closed"),
    ],
)
def test_refused(arguments, error, words):
    with pytest.raises(error) as raised:
        closed_loop(*arguments)
    assert words in raised.value.message


def test_wrong_runs_are_refused():
    loop = closed_loop(CELL)
    with pytest.raises(UsageError, match="has no input"):
        analyze(loop, np.zeros((2, 5, 3)))
    with pytest.raises(InputError, match="lead_in has shape"):
        analyze(loop, lead_in=np.zeros((2, 5, 4)))
    with pytest.raises(InputError, match="2 sequences, but the run has 3"):
        analyze(loop, lead_in=np.zeros((2, 5, 3)), batch=3)
    with pytest.raises(UsageError, match="takes no lead_in"):
        analyze(JacobianChain.from_arrays(np.ones((5, 1, 1))), lead_in=np.zeros((1, 5, 3)))
