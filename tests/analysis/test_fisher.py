"""Fisher memory and coherence against closed forms, and against dense matrices written out pair by pair."""

import dataclasses

import numpy as np
import pytest

import gradscope
from gradscope import create, stack
from gradscope.analysis._input_jacobians import InputJacobians, input_jacobians, joined
from gradscope.analysis.fisher import (
    DIRECTION_THRESHOLD,
    Fisher,
    coherence,
    fisher,
    interval_half,
    log_eigenvalues,
)
from gradscope.api import run_analysis
from gradscope.dynamics.budget import STORAGE
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import cell_class
from gradscope.numerics.shrinkage import Covariance
from gradscope.numerics.student import quantile
from gradscope.report.sections import fisher as section
from gradscope.settings import Settings

EPS = np.finfo(float).eps


def normal(*shape):
    """Return standard normal numbers, the same whatever other tests draw."""
    return np.random.default_rng(shape).standard_normal(shape)


def small(name, hidden, inputs, **settings):
    return create(name, hidden_size=hidden, input_size=inputs, **settings)


def linear(U, W):
    return cell_class("linear")(W=np.array(W, float), U=np.array(U, float), b_ih=np.zeros(len(U)), b_hh=None)


def memory(U, W, steps, batch=4):
    """Eigenvalues at every lag of a linear network that has read white noise for so many steps, with its exact noise.

    The state is the sum of U^k W x_(T-k): its covariance is F F^T with the columns of all U^k W in F.
    """
    chain = linearise(run(linear(U, W), normal(batch, steps, np.shape(W)[1])))
    derivatives = input_jacobians(chain, np.arange(steps), np.eye(np.shape(W)[1]))
    columns, factor = [np.array(W, float)], []
    for _ in range(steps):
        factor.append(columns[-1])
        columns.append(U @ columns[-1])
    noise = Covariance(0.0, np.concatenate(factor, axis=1))
    values = []
    for row in range(steps):
        at_lag, exponent = derivatives.common(row)
        np.testing.assert_allclose(np.ldexp(at_lag[0].T, exponent), factor[row], rtol=1e-12, atol=1e-14)
        assert not at_lag.any() or coherence(at_lag) == pytest.approx((1, 1, 1), abs=1e-14)
        logs, lower = log_eigenvalues(at_lag, exponent, noise, 1.0, EPS)
        np.testing.assert_allclose(lower, logs, rtol=1e-9, atol=1e-9)  # all sequences have the same derivative
        values.append(np.exp(logs))
    return np.array(values)


# Closed forms


@pytest.mark.parametrize(("n", "m"), [(12, 1), (12, 3), (5, 4)])
def test_orthogonal_network_shares_out_n_over_all_lags(n, m):
    """The sum over lags of tr(G_k^T C^-1 G_k) is tr(C^-1 sum G_k G_k^T) = tr(I): a state of n numbers remembers n."""
    Q = np.linalg.qr(normal(n, n))[0]
    W, steps = normal(n, m), 40
    values = memory(Q, W, steps)
    C = sum(np.linalg.matrix_power(Q, k) @ W @ W.T @ np.linalg.matrix_power(Q.T, k) for k in range(steps))
    for k in (0, 1, 7, 39):
        G = np.linalg.matrix_power(Q, k) @ W
        expected = np.linalg.eigvalsh(G.T @ np.linalg.inv(C) @ G)[::-1]
        np.testing.assert_allclose(values[k], expected, rtol=1e-8)
    assert values.sum() == pytest.approx(n, rel=1e-9)
    assert (values < 1 + 1e-12).all()


def test_orthogonal_columns_that_never_meet_remember_alike():
    """A rotation by 2 pi / T turns the input through a plane: its T columns are a tight frame, with 2 / T for each."""
    steps, angle = 16, 2 * np.pi / 16
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(memory(rotation, [[1.0], [0.0]], steps)[:, 0], 2 / steps, rtol=1e-12)


def test_shift_register_remembers_as_many_inputs_as_it_has_places():
    values = memory(np.eye(6, k=-1), np.eye(6)[:, :1], 10)
    np.testing.assert_allclose(values[:6, 0], 1.0, rtol=1e-12)
    assert np.isnan(values[6:]).all()


def test_leaky_integrator():
    """C = (1 - a^2T) / (1 - a^2): a geometric sequence that adds up to one."""
    a, steps = 0.8, 30
    values = memory(np.array([[a]]), [[3.0]], steps)[:, 0]
    np.testing.assert_allclose(values, a ** (2 * np.arange(steps)) * (1 - a**2) / (1 - a ** (2 * steps)), rtol=1e-11)


@pytest.mark.parametrize(("a", "steps"), [(1e-100, 9), (1e-300, 4), (1e60, 5), (1e-150, 12)])
def test_gains_that_leave_the_range_of_numbers(a, steps):
    """Eigenvalues of 1e-1600 and states of 1e240, by their logarithms."""
    chain = linearise(run(linear([[a]], [[1.0]]), normal(4, steps, 1)))
    derivatives = input_jacobians(chain, np.arange(steps), np.eye(1))
    spread = max(a, 1.0) ** (steps - 1)
    factor = a ** np.arange(steps, dtype=float)[None] / spread  # what underflows is nothing beside the largest
    for k in range(steps):
        columns, exponent = derivatives.common(k)
        logs, _ = log_eigenvalues(columns / spread, exponent, Covariance(0.0, factor), 1.0, EPS)
        expected = 2 * (k - (steps - 1) * (a > 1)) * np.log(a)
        assert logs[0] == pytest.approx(expected, abs=1e-9)  # 1 - a^2, or 1 - a^-2, is one


def test_a_sign_that_turns_from_sequence_to_sequence():
    """p of B derivatives u and the others -u: the pairs of different sequences leave ((2p - B)^2 - B) / B (B - 1)."""
    batch, u, C = 10, normal(2, 5), np.diag([1.0, 2, 3, 4, 5])
    for p in (5, 6, 7, 8, 9, 10):
        signs = np.where(np.arange(batch) < p, 1.0, -1.0)
        columns = signs[:, None, None] * u
        square = ((2 * p - batch) ** 2 - batch) / (batch * (batch - 1))
        value, low, high = coherence(columns)
        assert value == pytest.approx(np.sqrt(max(square, 0)), abs=1e-12)
        assert low <= value <= high
        logs, _ = log_eigenvalues(columns, 0, Covariance(0.0, np.sqrt(C)), 1.0, EPS)
        C_g = naive_shrunk(np.concatenate(columns - columns.mean(axis=0)).T * np.sqrt(2), (batch - 1) * 2)
        expected = np.sort(np.linalg.eigvalsh(square * u @ np.linalg.inv(C + C_g) @ u.T))[::-1]
        if square > 0:
            np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-9)
        else:
            assert np.isnan(logs).all()


def test_random_signs_leave_nothing_on_average():
    """Over all 2^B signs, products of different sequences add up to zero: the U-statistic has no bias."""
    batch, total = 6, 0.0
    for bits in range(1 << batch):
        signs = np.array([1.0 if bits >> b & 1 else -1.0 for b in range(batch)])
        total += np.square(signs.sum()) - batch
        value, _, high = coherence(signs[:, None, None])
        if abs(signs.sum()) == 0:
            assert value == 0 and high < 1
    assert total == 0


# A naive twin


def naive_shrunk(samples, freedom):
    """Ledoit & Wolf (2004), sample by sample, with the divisor of an unbiased covariance."""
    n, count = samples.shape
    S = samples @ samples.T / count
    m = np.trace(S) / n
    d2 = np.sum((S - m * np.eye(n)) ** 2)
    b2 = min(d2, sum(np.sum((np.outer(x, x) - S) ** 2) for x in samples.T) / count**2)
    weight = b2 / d2 if d2 > 1e-15 * np.sum(S**2) else 1.0
    return (weight * m * np.eye(n) + (1 - weight) * S) * count / freedom


def naive(cell, inputs, lag):
    """Eigenvalues and coherence at one lag, from dense Jacobians of every sequence."""
    path = run(cell, inputs)
    chain, batch, n, m = linearise(path), len(inputs), cell.state_size, cell.input_size
    deviation = np.std(inputs.reshape(-1, m), axis=0, ddof=1)
    jacobians = []
    for b in range(batch):
        t = chain.steps - 1 - lag
        J = chain.at(t).column(b).jvp_input(np.eye(m))
        for s in range(t + 1, chain.steps):
            J = chain.at(s).column(b).dense(float).reshape(n, n) @ J
        jacobians.append(J * deviation)
    states = path.states[-1].astype(float)
    spread = states.std(axis=1, ddof=1)
    D = np.diag(1 / spread)
    C = naive_shrunk(D @ (states - states.mean(axis=1, keepdims=True)), batch - 1)
    G = [D @ J for J in jacobians]
    mean = sum(G) / batch
    C_g = naive_shrunk(np.concatenate([g - mean for g in G], axis=1) * np.sqrt(m), (batch - 1) * m)
    inverse = np.linalg.inv(C + C_g)
    pairs = [(a, b) for a in range(batch) for b in range(batch) if a != b]
    matrix = sum(G[a].T @ inverse @ G[b] for a, b in pairs) / len(pairs)
    output = [sum(J[rows] for rows in cell.outputs) for J in jacobians]
    square = np.mean([np.sum(output[a] * output[b]) for a, b in pairs]) / np.mean([np.sum(o * o) for o in output])
    return np.linalg.eigvalsh(matrix)[::-1], np.sqrt(max(square, 0))


CELLS = {
    "gru": lambda: small("gru", 7, 3, gain=2.0),
    "lstm": lambda: small("lstm", 5, 3, gain=3.0),
    "rnn": lambda: small("rnn", 6, 2, gain=2.5),
    "stack": lambda: stack([small("lstm", 4, 3, gain=2.0), small("rnn", 5, 4, gain=2.0)]),
    "residual": lambda: stack(
        [small("gru", 4, 4, gain=2.0), small("gru", 4, 4, gain=2.0)],
        residual=True,
    ),
    "lru": lambda: small("lru", 4, 2),
}


@pytest.mark.parametrize("name", CELLS)
def test_naive_twin(name):
    cell = CELLS[name]()
    inputs = np.random.default_rng(5).standard_normal((9, 20, cell.input_size))
    document = gradscope.analyze(cell, inputs).document["series"]
    f, c = document["fisher"], document["coherence"]
    assert f["lag"] == c["lag"] and f["lag"][:2] == [0, 1]
    assert (f["sequences"], f["state_sequences"], f["directions"]) == (9, 9, cell.input_size)
    for row, lag in enumerate(f["lag"]):
        values, expected = naive(cell, inputs, lag)
        assert c["value"][row] == pytest.approx(expected, abs=1e-7)
        for key, value in (("largest", values[0]), ("second", values[1]), ("smallest", values[-1])):
            if value > 1e-9 * values[0]:
                assert 10 ** f[f"log10_{key}"][row] == pytest.approx(value, rel=1e-6)
            elif value < 0:
                assert f[f"log10_{key}"][row] is None


def series(cell, inputs=None, **settings):
    document = gradscope.analyze(cell, inputs, **settings).document["series"]
    return document["fisher"], document["coherence"]


def test_units_of_input_and_state_do_not_matter():
    U, W, D = 0.9 * np.linalg.qr(normal(4, 4))[0], normal(4, 3), np.diag([1e-3, 1.0, 40.0, 7e5])
    inputs, units = normal(8, 12, 3), np.array([1e-2, 1.0, 1e6])
    plain, _ = series(linear(U, W), inputs)
    other, _ = series(linear(D @ U @ np.linalg.inv(D), D @ W / units), inputs * units)
    for key in ("log10_largest", "log10_second", "log10_smallest"):
        np.testing.assert_allclose(np.array(other[key]), np.array(plain[key]), atol=1e-8)
    assert other["shrinkage"] == pytest.approx(plain["shrinkage"], rel=1e-9)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_inputs_far_from_one(scale):
    U, W, inputs = np.diag([0.5, 0.9]), np.eye(2), normal(6, 10, 2)
    (plain, _), (other, _) = series(linear(U, W), inputs), series(linear(U, W), inputs * scale)
    np.testing.assert_allclose(other["log10_smallest"], plain["log10_smallest"], atol=1e-9)


def test_single_precision():
    cell, inputs = (
        small("gru", 16, 3, gain=2.0),
        np.random.default_rng(1).standard_normal((10, 60, 3)),
    )
    (double, c), (single, d) = series(cell, inputs), series(cell.astype(np.float32), inputs)
    np.testing.assert_allclose(single["log10_largest"][:5], double["log10_largest"][:5], atol=1e-3)
    np.testing.assert_allclose(d["value"][:5], c["value"][:5], atol=1e-4)


@pytest.mark.parametrize("storage", STORAGE)
def test_a_run_that_is_not_stored_gives_the_same_numbers(storage):
    cell, inputs = small("lstm", 6, 2), np.random.default_rng(2).standard_normal((5, 40, 2))
    chain = linearise(run(cell, inputs, storage=storage))
    whole = linearise(run(cell, inputs))
    lags = np.array([0, 3, 17, 39])
    one, other = (input_jacobians(c, lags, np.eye(2)) for c in (chain, whole))
    np.testing.assert_allclose(one.columns, other.columns, rtol=1e-12, atol=1e-300)
    assert (one.exponent == other.exponent).all()
    halves = joined([input_jacobians(whole.between(*ends), lags, np.eye(2)) for ends in ((0, 2), (2, 5))])
    for row in range(len(lags)):
        (a, e), (b, f) = halves.common(row), other.common(row)
        np.testing.assert_allclose(np.ldexp(a, e - f), b, rtol=1e-12, atol=1e-300)


# Scales of their own


def test_what_dwarfs_the_states_is_seen_against_itself_alone():
    """With derivatives of 2^5000 the covariance of the states is nothing, with 2^-5000 that of the derivatives is."""
    columns = normal(6, 2, 4) + 3 * np.eye(2, 4)
    noise = Covariance(0.0, np.linalg.cholesky(np.diag([1.0, 2, 3, 4])))
    huge, huger, tiny = (log_eigenvalues(columns, e, noise, 1.0, EPS)[0] for e in (5000, 6000, -5000))
    np.testing.assert_allclose(huge, huger, rtol=1e-12)
    alone = log_eigenvalues(columns, 0, Covariance(0.0, np.zeros((4, 1))), 1.0, EPS)[0]
    np.testing.assert_allclose(huge, alone, rtol=1e-9)
    inverse = np.diag(1 / np.array([1.0, 2, 3, 4]))
    pairs = [(a, b) for a in range(6) for b in range(6) if a != b]
    matrix = sum(columns[a] @ inverse @ columns[b].T for a, b in pairs) / len(pairs)
    np.testing.assert_allclose(tiny, np.log(np.linalg.eigvalsh(matrix)[::-1]) - 10_000 * np.log(2), rtol=1e-9)


def test_sequences_share_one_scale():
    derivatives = InputJacobians(np.array([0]), np.ones((1, 3, 1, 2)), np.array([[7, 5, -20_000]]))
    columns, exponent = derivatives.common(0)
    assert exponent == 7 and columns[:, 0, 0].tolist() == [1.0, 0.25, 0.0]
    dead = dataclasses.replace(derivatives, columns=np.zeros((1, 3, 1, 2)))
    assert dead.common(0)[1] == 0 and not dead.common(0)[0].any()


def test_states_that_do_not_vary():
    derivatives = InputJacobians(np.array([0]), np.ones((1, 4, 1, 2)), np.zeros((1, 4), int))
    assert fisher(derivatives, np.ones((2, 4)), (slice(0, 2),)) is None
    one = fisher(derivatives, np.array([[1.0, 2, 3, 5], [1, 1, 1, 1]]), (slice(0, 2),))
    alone = dataclasses.replace(derivatives, columns=derivatives.columns[..., :1])
    other = fisher(alone, np.array([[1.0, 2, 3, 5]]), (slice(0, 1),))
    np.testing.assert_allclose(one.log_eigenvalues, other.log_eigenvalues, rtol=1e-12)  # what never moves tells nothing


def test_derivatives_that_are_not_finite_are_not_determined():
    derivatives = InputJacobians(np.array([0]), np.full((1, 4, 1, 2), np.inf), np.zeros((1, 4), int))
    answer = fisher(derivatives, normal(2, 4), (slice(0, 2),))
    assert np.isnan(answer.log_eigenvalues).all() and np.isnan(answer.coherence).all()


def test_jackknife_of_a_mean_is_its_standard_error():
    values = normal(7)
    without = np.array([np.delete(values, b).mean() for b in range(7)])
    expected = quantile(6, 0.975) * values.std(ddof=1) / np.sqrt(7)
    assert interval_half(without) == pytest.approx(expected, rel=1e-12)


# Runs


def test_further_sequences_of_synthetic_input():
    cell = small("rnn", 8, 2)
    drawn, _ = series(cell, steps=30, batch=8)
    given, _ = series(cell, drive("noise", 8, 80, 2), warmup=50)
    assert given["state_sequences"] == given["sequences"] == 8
    assert drawn["state_sequences"] == 128 and drawn["sequences"] == 32
    assert drawn["shrinkage"] < given["shrinkage"]
    assert series(cell, steps=30, batch=8)[0] == drawn


def test_sequences_that_run_together_count_once():
    cell, inputs = linear(np.linalg.qr(normal(6, 6))[0], normal(6, 2)), normal(5, 30, 2)
    (doubled, _), (plain, _) = series(cell, np.concatenate([inputs, inputs[1:3]])), series(cell, inputs)
    assert (doubled["lag"], doubled["sequences"]) == (plain["lag"], 5)
    np.testing.assert_allclose(doubled["log10_smallest"], plain["log10_smallest"], rtol=1e-9)
    assert "fisher" not in gradscope.analyze(cell, np.concatenate([inputs[:3]] * 3)).document["series"]


def test_drawn_sequences_go_on_where_others_ended():
    for kind in ("noise", "zeros", "sine"):
        whole = drive(kind, 7, 12, 3, scale=2.0, seed=4)
        assert np.array_equal(drive(kind, 4, 12, 3, scale=2.0, seed=4, first=3), whole[3:])


def test_large_networks_are_asked_about_a_few_random_directions():
    f, _ = series(small("lstm", 64, 32), steps=60)
    assert f["directions"] == 4
    assert max(f["above_threshold"]) <= 4
    gru, _ = series(small("gru", 16, 32), steps=60)
    assert gru["directions"] == 32


def test_lags_end_where_the_gradient_does():
    quick, _ = series(linear(0.03 * np.eye(2), np.eye(2)), steps=100)
    assert quick["lag"] == [0, 1, 2, 5, 11]  # 1.52 decades a step: three steps after lag 8
    slow, _ = series(linear(np.eye(2), np.eye(2)), steps=100)
    assert slow["lag"][-1] == 99
    few, _ = series(linear(np.eye(2), np.eye(2)), steps=100, lags=2)
    assert few["lag"] == [0, 1, 99]


def test_where_it_does_not_apply():
    def analyzed(model, inputs=None, **settings):
        return gradscope.analyze(model, inputs, **settings).document["series"]

    cell, inputs = small("rnn", 5, 2), normal(3, 20, 2)
    step = gradscope.from_step(lambda x, s: np.tanh(s + x.sum()), state_size=3, input_size=2)
    for document in (
        analyzed(JacobianChain.from_arrays(normal(10, 5, 3, 3) / 2)),
        analyzed(step, normal(5, 10, 2)),
        analyzed(gradscope.closed_loop(cell), steps=20),
        run_analysis(cell, None, Settings(steps=20, drive="zeros")).document["series"],
        analyzed(cell, steps=20, lags=0),
        analyzed(cell, inputs),  # three sequences: no covariance
        analyzed(cell, np.broadcast_to(inputs[:1, :1], (6, 20, 2)).copy()),
    ):
        assert "fisher" not in document and "coherence" not in document


# The finding, and what is drawn


def incoherent(result):
    return [f["message"] for f in result.document["verdict"]["findings"] if f["code"] == "GS-INCOHERENT"]


def test_chaos_turns_the_sign_and_a_linear_network_does_not():
    chaotic = incoherent(gradscope.analyze(small("rnn", 48, 4, gain=4.0), steps=100, spectrum=2))
    assert chaotic[0].startswith(
        "99 steps back, the gradient arrives, but with another sign in every sequence: its mean"
    )
    assert not incoherent(gradscope.analyze(linear(0.999 * np.eye(3), np.eye(3)), steps=100))


def answer(value, high, lags=(0, 1, 9)):
    k = len(lags)
    column = np.zeros((k, 1))
    return Fisher(np.array(lags), column, column, np.full(k, value), np.array([[0.0, high]] * k), 1, 8, 8, 0.5)


def test_the_finding_needs_the_whole_interval_below_the_threshold():
    case = type("Case", (), {"reach": type("Reach", (), {"reach": 5})})()
    low = section.LOW_COHERENCE - 0.01
    (finding,) = section.findings(answer(0.1, low), case)
    assert finding.message.startswith("1 step back")  # the largest lag within reach
    assert f"at least {int(np.ceil(1 / low**2 - 1))} sequences" in finding.remedy
    assert "sequences" not in section.findings(answer(0.0, 0.0), case)[0].remedy  # no batch would be large enough
    assert not section.findings(answer(0.1, section.LOW_COHERENCE), case)
    assert not section.findings(answer(np.nan, np.nan), case)
    case.reach.reach = None
    assert not section.findings(answer(0.1, 0.1), case)
    case.reach.reach = 0
    assert not section.findings(answer(0.1, 0.1), case)


def test_counts_are_those_of_lower_ends():
    logs = np.log(DIRECTION_THRESHOLD * np.array([[4.0, 3.0, 2.0], [2.0, 1.5, np.nan]]))
    lower = logs - np.log([[2.0, 2.0, 2.5], [1.9, 1.6, 1.0]])
    nothing = np.zeros(2)
    counted = Fisher(np.arange(2), logs, lower, nothing, np.zeros((2, 2)), 3, 8, 8, 0.5)
    assert counted.above.tolist() == [2, 1]


def test_panel():
    result = gradscope.analyze(small("rnn", 8, 3), steps=40)
    (panel,) = [p for p in result.report.panels if p.name == "fisher"]
    assert [c.label for c in panel.curves] == ["largest", "second", "smallest", "coherence"]
    assert "3 input directions, 32 sequences; covariance of 128 last states" in panel.note
    series = result.document["series"]
    assert section.panels({"series": {}}) == [] == section.panels({"series": series | {"fisher": {"lag": [0]}}})
