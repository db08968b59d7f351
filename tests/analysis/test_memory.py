"""Memory: closed forms of networks that are known to remember, to forget or to be chaotic, and a plain twin."""

import math

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain, create, from_step, plugins
from gradscope.analysis import memory as analysis
from gradscope.analysis.memory import (
    LAGS,
    MOST_SEQUENCES,
    PIECE_STEPS,
    SEED_STREAM,
    lags_of,
    memory_length,
    replayed_steps,
)
from gradscope.analysis.orbits import orbits
from gradscope.api import combine
from gradscope.dynamics.budget import CHECKPOINTS
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.networks import cell_class
from gradscope.networks.loop import closed_loop
from gradscope.networks.stack import Direction, stack

EPS = np.finfo(float).eps
BAR = 1e-3


def memory(path, **more):
    return analysis.memory(path, orbits(path), **more)


def noise(batch, steps, width, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (batch, steps, width))


def linear(U, W=None):
    U = np.atleast_2d(np.array(U, float))
    n = len(U)
    W = np.eye(n) if W is None else np.array(W, float)
    return cell_class("linear")(W, U, np.zeros(n), np.zeros(n))


def scalar(weight, dtype=float):
    one = np.ones((1, 1), dtype)
    return cell_class("rnn")(one, weight * one, np.zeros(1, dtype), np.zeros(1, dtype))


# --- closed forms


@pytest.mark.parametrize("inputs", [noise(6, 120, 1), noise(1, 120, 1), np.tile(noise(1, 120, 1), (5, 1, 1))])
def test_leaky_integrator(inputs):
    """A difference shrinks by 0.9 a step, whichever other past it comes from: other sequences, or other times."""
    m = memory(run(linear(0.9), inputs))
    exact = 0.9**m.lags
    # rounding of a state at every step, relative to the difference that is left; one in sqrt(6) of the pairs is small
    assert m.ratio.max(axis=1) == pytest.approx(np.sqrt(len(m.ratio.T)) * exact, rel=2)
    assert m.distance == pytest.approx(exact, rel=1e-8)
    assert m.steps == pytest.approx(math.log(BAR) / math.log(0.9), rel=1e-9)
    assert m.state == "forgets"
    assert m.past == ("times" if len(np.unique(inputs[:, 0])) == 1 else "sequences")
    if m.past == "sequences":
        assert m.interval == pytest.approx((m.steps, m.steps), rel=1e-8)  # every pair has the same length
    else:
        assert m.interval is None


def test_memory_length_is_the_reach_of_the_gradient_in_a_linear_network():
    result = gradscope.analyze(linear(0.9), noise(6, 120, 1), lags=0)
    assert result.metrics["reach"] == math.floor(result.metrics["memory_length"])


def test_a_latched_unit_remembers_though_its_gradient_is_gone():
    """h' = tanh(3 h + x) has two wells, at +-0.995, and contracts in both."""
    cell, inputs = scalar(3.0), noise(8, 150, 1, scale=0.1)
    path = run(cell, inputs)
    slopes = np.array([J.jvp(np.ones((1, 8)))[0] for _, J in linearise(path).forward()])
    assert np.log10(np.abs(slopes)).sum(axis=0).max() < -100
    m = memory(path)
    assert m.state == "remembers"
    assert (m.steps, m.interval) == (None, None)
    # at the first lag both states of a pair are in their wells: the difference of the wells is left, or none
    wells = np.sign(path.state(150)[0])
    differ = wells != np.roll(wells, 1)
    assert m.ratio[0, differ] * np.sqrt(differ.mean()) == pytest.approx(1, abs=0.01)
    assert (m.ratio[3, ~differ] < 1e-3).all()
    assert m.growth[-1].max() == -np.inf


def test_chaotic_network():
    """Gain 3: in the mean-field limit small differences grow (Sompolinsky, Crisanti & Sommers 1988)."""
    cell = create("rnn", hidden_size=100, input_size=1, init="gaussian", gain=3.0)
    m = memory(run(cell, noise(6, 200, 1, scale=0.1)))
    assert m.state == "chaotic"
    assert (m.steps, m.interval) == (None, None)
    assert m.distance[-1] > 0.5  # not remembered all the same


def test_a_perturbation_grows_as_the_jacobians_say():
    """While it is small; it begins at 1.5e-8 of the state, and rounding is as much smaller still."""
    path = run(create("rnn", hidden_size=100, input_size=1, init="gaussian", gain=3.0), noise(4, 100, 1))
    m = memory(path)
    v = np.random.default_rng([0, SEED_STREAM]).standard_normal((100, 4))
    start, products = np.linalg.norm(v, axis=0), []
    for _, J in linearise(path).forward(1):
        v = J.jvp(v)
        products.append(np.log10(np.linalg.norm(v, axis=0) / start))
    products = np.array(products)[m.lags - 1]
    small = products.max(axis=1) < 3
    assert small.sum() > 5
    assert m.growth[small] == pytest.approx(products[small], abs=1e-3)  # 1.5e-8 times 10^3, times curvatures of tanh


def test_shear_is_not_chaos():
    """A rotation that is faster further out: phases of neighbours drift apart in proportion to the lag."""

    def step(x, s):
        r = s[0] ** 2 + s[1] ** 2
        c, z = np.cos(0.3 + 4 * r), np.sin(0.3 + 4 * r)
        return np.array([c * s[0] - z * s[1], z * s[0] + c * s[1]])

    start = np.random.default_rng(2).uniform(0.5, 1.5, (8, 2))
    m = memory(run(from_step(step, state_size=2, input_size=0), np.zeros((8, 300, 0)), start=start))
    assert np.median(m.growth[-1]) > 2
    assert m.state == "remembers"
    assert m.growth[-1] - m.growth[-3] == pytest.approx(np.log10(m.lags[-1] / m.lags[-3]), abs=0.05)


@pytest.mark.parametrize("steps", [100, 200])
def test_weak_chaos(steps):
    """lambda_1 = 0.057: a perturbation grows by two and a half decades in a hundred steps."""
    cell = create("rnn", hidden_size=64, input_size=2, init="gaussian", gain=1.7)
    path = run(cell, drive("noise", 8, steps + 50, 2, scale=0.3), warmup=50)
    assert gradscope.lyapunov(linearise(path), 1).exponents[0] == pytest.approx(0.06, abs=0.02)
    assert memory(path).state == "chaotic"


def test_chaos_is_seen_before_a_perturbation_is_large():
    """In 24 steps it grows by three decades, of the eight that it would take."""
    cell = create("rnn", hidden_size=100, input_size=1, init="gaussian", gain=3.0)
    m = memory(run(cell, noise(8, 60, 1, scale=0.1), warmup=36))
    assert m.state == "chaotic"
    assert 2 < np.median(m.growth[-1]) < 6


def test_orthogonal_network_remembers_its_first_input():
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    path = run(linear(Q, noise(1, 12, 2)[0]), noise(5, 100, 2))
    m = memory(path)
    assert m.lags[-1] == 99
    assert m.ratio.shape == (len(m.lags), 5)
    assert m.distance == pytest.approx(1, abs=1e-12)  # though one input of a hundred differs at the last lag
    assert m.growth == pytest.approx(0, abs=1e-6)  # of a perturbation of 1e-8, rounding is 1e-8
    assert (m.state, m.steps) == ("remembers", None)
    gap = path.state(100) - np.roll(path.state(100), 1, axis=1)
    assert m.independent == pytest.approx(np.sqrt((gap**2).sum(axis=0).mean()))


def test_shift_register_forgets_after_its_length():
    """What entered n steps ago leaves; of a difference of n inputs, those of the last n - k past steps are left."""
    n, steps = 6, 100
    x = noise(7, steps, 1)
    m = memory(run(linear(np.eye(n, k=-1), np.eye(n)[:, :1]), x))
    gap = (x - np.roll(x, 1, axis=0))[..., 0] ** 2
    for k, distance in zip(m.lags, m.distance, strict=True):
        t = steps - k
        whole, left = gap[:, max(0, t - n) : t].sum(), gap[:, max(0, steps - n) : t].sum()
        assert distance == pytest.approx(math.sqrt(left / whole), rel=1e-12)
        assert (distance == 0) == (k >= n)
    assert {5, 6} <= set(m.lags.tolist())
    assert (m.state, m.steps) == ("forgets", 5.0)
    assert m.interval == pytest.approx((5.0, 5.0))


def test_a_network_without_memory():
    m = memory(run(linear(0.0), noise(4, 50, 1)))
    assert (m.state, m.steps, m.interval) == ("forgets", 0.0, (0.0, 0.0))


def test_an_unstable_network_keeps_its_past_and_is_not_chaotic():
    m = memory(run(linear(1.5), noise(6, 120, 1)))
    assert m.distance == pytest.approx(1.5**m.lags, rel=1e-9)
    assert np.median(m.growth[-1]) > 20  # decades
    assert m.state == "remembers"


def test_two_fixed_points_without_input():
    m = memory(run(scalar(3.0), np.zeros((4, 60, 1)), start=np.array([[0.1], [-0.2], [0.3], [0.4]])))
    assert m.past == "sequences"
    assert m.state == "remembers"
    assert m.distance[:5] == pytest.approx(1, abs=1e-6)


def test_one_fixed_point_without_input():
    """All sequences end on it before the middle: other pasts are states on the way there."""
    cell = cell_class("linear")(np.eye(1), np.full((1, 1), 0.5), np.ones(1), np.zeros(1))
    m = memory(run(cell, np.zeros((4, 80, 1)), start=np.arange(4.0)[:, None]))
    assert m.past == "times"
    assert m.state == "forgets"
    assert m.steps == pytest.approx(math.log(BAR) / math.log(0.5), rel=1e-9)


def test_nothing_to_swap():
    for storage in (None, CHECKPOINTS):
        more = {"storage": storage} if storage else {}
        m = memory(run(create("lstm", hidden_size=3, input_size=2), np.zeros((3, 340, 2)), warmup=300, **more))
        assert (m.state, m.steps, m.interval) == ("unknown", None, None)
        assert np.isnan(m.ratio).all()


def test_a_short_run_is_no_evidence_of_memory():
    """Of 40 steps, 0.9^39 leaves more than the threshold; a lag of 7 is too short to say anything."""
    assert memory(run(linear(0.9), noise(6, 40, 1))).state == "remembers"
    assert memory(run(linear(1.0), noise(6, 8, 1))).state == "unknown"


def test_float32():
    """A state is rounded to 6e-8 of itself at every step; a difference of 1e-3 of a state to 1e-4 of itself."""
    cell = cell_class("linear")(*(np.array(w, np.float32) for w in ([[1]], [[0.9]], [0], [0])))
    path = run(cell, noise(6, 120, 1))
    assert path.states.dtype == np.float32
    m = memory(path)
    above = m.distance > BAR
    assert m.distance[above] == pytest.approx(0.9 ** m.lags[above], rel=1e-3)
    assert m.steps == pytest.approx(math.log(BAR) / math.log(0.9), rel=1e-2)
    assert memory(run(scalar(3.0, np.float32), noise(8, 150, 1, scale=0.1))).state == "remembers"


# --- the plain twin


def _step(x, s):
    return np.tanh(np.roll(s, 1) * 1.2 + x.sum())


def _direction():
    cells = [create("gru", hidden_size=3, input_size=2, seed=i) for i in range(2)]
    return Direction(cells[0], reverse=True)


NETWORKS = {
    "lstm": lambda: create("lstm", hidden_size=4, input_size=2),
    "stack": lambda: stack([create("gru", hidden_size=3, input_size=2), create("rnn", hidden_size=3, input_size=3)]),
    "direction": _direction,
    "loop": lambda: closed_loop(create("rnn", hidden_size=5, input_size=2, init="gaussian", gain=1.5)),
    "function": lambda: from_step(_step, state_size=4, input_size=2),
}


def twin(path):
    """Run every pair and every lag step by step."""
    net, steps, batch = path.cell, path.steps, path.batch
    distance = []
    for lag in lags_of(steps):
        before, after = [], []
        for b in range(batch):
            s = path.state(steps - lag)[:, [b - 1]]
            before.append(np.sum((s - path.state(steps - lag)[:, [b]]) ** 2))
            for t in range(steps - lag, steps):
                s = net.evolve(path.inputs[t][:, [b]], s)
            after.append(np.sum((s - path.state(steps)[:, [b]]) ** 2))
        distance.append(np.sqrt(np.array(after) / np.mean(before)))
    return np.array(distance)


@pytest.mark.parametrize("storage", ["everything", CHECKPOINTS])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_plain_twin(name, storage):
    net = NETWORKS[name]()
    start = noise(3, 1, net.state_size)[:, 0] if name == "loop" else None
    more = {} if storage == "everything" else {"storage": storage}
    path = run(net, noise(3, 30, net.network_input_size), warmup=0 if name == "loop" else 5, start=start, **more)
    m = memory(path)
    expected = twin(path)
    # products of several columns and of one are summed in another order: rounding of a state, 1e-15, of what was there
    assert m.ratio == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert m.distance == pytest.approx(np.sqrt((expected**2).mean(axis=1)), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_every_cell(name):
    path = run(create(name, hidden_size=4, input_size=2), noise(3, 16, 2), warmup=4)
    m = memory(path)
    assert m.ratio == pytest.approx(twin(path), rel=1e-6, abs=1e-12)
    assert np.isfinite(m.growth[0]).all()


def test_jackknife_by_hand():
    x = noise(5, 90, 3)
    path = run(create("gru", hidden_size=6, input_size=3), x, warmup=10)
    m, ratio = memory(path), twin(path)
    states = [path.state(path.steps - k) for k in m.lags]
    before = np.array([((s - np.roll(s, 1, axis=1)) ** 2).sum(axis=0) for s in states])
    after = ratio**2 * before.mean(axis=1, keepdims=True)
    lengths = []
    for b in range(5):
        pairs = [i for i in range(5) if i not in (b, (b + 1) % 5)]
        left = np.sqrt(after[:, pairs].sum(axis=1) / before[:, pairs].sum(axis=1))
        lengths.append(math.log1p(memory_length(m.lags, left, BAR)))
    error = math.sqrt(4 / 5 * np.sum((np.array(lengths) - np.mean(lengths)) ** 2))
    half = 2.7764451052 * error  # Student's t, four degrees of freedom
    low, high = (math.expm1(math.log1p(m.steps) + sign * half) for sign in (-1, 1))
    assert m.interval == pytest.approx((low, high), rel=1e-6)
    assert low < m.steps < high


# --- parts


def test_memory_length():
    lags = np.array([1, 2, 4, 8])
    assert memory_length(lags, np.exp(-lags * 1.5), math.exp(-4.5)) == pytest.approx(3, rel=4 * EPS)
    assert memory_length(lags, np.array([0.5, 0.0, 0.0, 0.0]), 0.1) == 1.0
    assert memory_length(lags, np.array([0.5, 0.01, 0.5, 0.05]), 0.1) == pytest.approx(
        4 + 4 * math.log(5) / math.log(10)
    )  # the last lag at which enough is left
    assert memory_length(lags, np.array([1.0, 1, 1, 0.2]), 0.1) is None
    assert memory_length(lags, np.array([math.nan, math.nan, 0.01, math.nan]), 0.1) == pytest.approx(2)
    assert memory_length(lags, np.full(4, math.nan), 0.1) is None


@pytest.mark.parametrize("steps", [2, 3, 10, 200, 100_000])
def test_lags(steps):
    lags = lags_of(steps)
    assert (lags[0], lags[-1]) == (1, steps - 1)
    assert (np.diff(lags) > 0).all()
    assert len(lags) <= LAGS


def test_where_there_is_no_answer():
    assert memory(run(linear(0.5), noise(3, 1, 1))) is None
    chain = JacobianChain.from_arrays(np.full((50, 1, 1), 0.5))
    assert "memory_length" not in gradscope.analyze(chain).metrics
    inputs = noise(3, 50, 1)
    inputs[0, 20] = np.inf
    result = gradscope.analyze(create("rnn", hidden_size=3, input_size=1), inputs)
    assert result.document["verdict"]["state"] == "nonfinite"
    assert "memory" not in result.document["series"]


def test_a_past_that_overflows_is_left_out():
    """States grow by 1e20 a step: in the first half of one sequence, and in the second half of another."""
    cell = from_step(lambda x, s: s * x, state_size=1, input_size=1)
    x = np.ones((3, 30, 1))
    x[0, :10] = x[1, 20:] = 1e20
    path = run(cell, x, start=np.ones(1))
    assert np.isfinite(path.state(30)).all()
    m = memory(path)
    assert np.isnan(m.distance[m.lags >= 8]).any()
    assert np.isfinite(m.distance[m.lags < 5]).all()


def test_many_sequences_cost_no_more():
    path = run(linear(0.9), noise(MOST_SEQUENCES + 9, 30, 1))
    assert memory(path).ratio.shape[1] == MOST_SEQUENCES
    assert replayed_steps(500, 30) == replayed_steps(MOST_SEQUENCES, 30)
    assert replayed_steps(1, 1) == replayed_steps(8, 1) == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_progress_ends_with_all_steps(batch):
    calls = []
    memory(run(linear(0.9), noise(batch, 700, 1)), progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == ("memory", calls[-1][2], int(lags_of(700).sum()) + 699)
    assert np.diff(done).max() <= PIECE_STEPS


def test_perturbations_follow_the_seed():
    path = run(create("lstm", hidden_size=5, input_size=2), noise(4, 40, 2))
    same, other = memory(path, seed=0), memory(path, seed=1)
    assert (memory(path).growth == same.growth).all()
    assert not (same.growth[0] == other.growth[0]).any()
    assert (same.ratio == other.ratio).all()


# --- the report


def test_report_of_each_state():
    texts = {}
    for weight, scale in ((0.5, 1.0), (3.0, 0.1)):
        result = gradscope.analyze(scalar(weight), noise(8, 150, 1, scale=scale), lags=0)
        row = next(r for r in result.report.tables[0].rows if r[0] == "memory length")
        texts[weight] = row[1:]
        series = result.document["series"]["memory"]
        assert len(series["lag"]) == len(series["ratio"]) == len(series["p95"]) == len(series["log10_perturbation"])
        panel = next(p for p in result.report.panels if p.name == "memory")
        assert panel.curves[0].x == series["lag"]
    length, note = texts[0.5]
    assert length == pytest.approx(math.log(BAR) / math.log(0.5), rel=0.5)
    assert note.startswith("steps, 95 % CI ")
    assert note.endswith(", until 0.1 % of a difference is left")
    assert texts[3.0] == (None, "no end within 150 steps")


def test_a_comparison_draws_each_that_was_measured():
    models = {"short": linear(0.5), "long": linear(0.99)}
    report = gradscope.compare(models, noise(3, 30, 1), lags=0).report
    panel = next(p for p in report.panels if p.name == "memory")
    assert [c.label for c in panel.curves] == ["short", "long"]
    assert panel.curves[1].y == pytest.approx(lags_of(30) * np.log10(0.99))
    chain = JacobianChain.from_arrays(np.full((30, 1, 1), 0.5))
    both = combine({"chain": gradscope.analyze(chain, lags=0), "cell": gradscope.analyze(linear(0.5), lags=0)})
    assert [c.label for p in both.report.panels if p.name == "memory" for c in p.curves] == ["cell"]


def test_saved_results_without_it_are_shown():
    result = gradscope.analyze(linear(0.5), noise(3, 30, 1), lags=0)
    document = dict(result.document)
    document["metrics"] = {k: v for k, v in document["metrics"].items() if k != "memory_length"}
    document["series"] = {k: v for k, v in document["series"].items() if k != "memory"}
    report = gradscope.Result(document).report
    assert not [r for r in report.tables[0].rows if r[0] == "memory length"]
    assert not [p for p in report.panels if p.name == "memory"]
    assert not [p for p in combine({"old": gradscope.Result(document)}).report.panels if p.name == "memory"]
