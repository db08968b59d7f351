"""How far a gradient reaches: closed forms for exponentials, and honest intervals."""

import numpy as np
import pytest
import scipy.stats

from gradscope import JacobianChain
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.reach import reach
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import given_loss, random_loss
from gradscope.dynamics.trajectory import run
from gradscope.networks import cell_class
from gradscope.numerics.formats import ROUNDS_TO_ZERO

LN2 = np.log(2.0)


def decay(rate, steps, batch=1):
    """|dL/ds_t| = exp(rate (T - t))."""
    return np.repeat(rate * np.arange(steps, -1, -1.0)[:, None], batch, axis=1)


@pytest.mark.parametrize("rate", [-0.3, -0.011, 0.02])
def test_pure_exponential(rate):
    found = reach(decay(rate, 100, 4))
    assert found.steps == 100
    assert found.reach == (min(100, int(np.log(1e-3) / rate)) if rate < 0 else 100)
    assert found.rate == pytest.approx(rate, rel=1e-13)
    assert found.interval == pytest.approx((rate, rate), rel=1e-12)
    assert found.log_gain == pytest.approx(np.full(4, 100 * rate), rel=1e-13)
    assert found.half_life == (pytest.approx(-LN2 / rate, rel=1e-13) if rate < 0 else None)


@pytest.mark.parametrize("threshold", [0.5, 0.1, 1e-3, 1e-30])
def test_threshold(threshold):
    found = reach(decay(-0.0999, 1000), threshold)
    assert found.threshold == threshold
    assert found.reach == int(np.log(threshold) / -0.0999)
    assert found.reach < np.log(threshold) / -0.0999 < found.reach + 1


def test_reach_is_the_largest_lag():
    """A gradient that dips and comes back has come back."""
    logs = np.zeros((101, 1))
    logs[40:60] = -50.0
    logs[:20] = -10.0
    assert reach(logs).reach == 80


def test_the_median_decides():
    logs = np.stack([decay(-0.01, 100)[:, 0], decay(-0.2, 100)[:, 0], decay(-9.0, 100)[:, 0]], axis=1)
    assert reach(logs).reach == int(np.log(1e-3) / -0.2)


def test_lags_of_underflow():
    """0.5^k: the smallest subnormal is 2^-149, 2^-133, 2^-24, and half of that is zero."""
    chain = JacobianChain.from_arrays(np.full((200, 1, 1), 0.5))
    found = reach(gradient_norms(chain, given_loss(chain, np.ones(1))).state)
    assert found.underflow == {"float32": 150, "bfloat16": 134, "float16": 25}
    short = reach(gradient_norms(chain, given_loss(chain, np.ones(1))).state[-140:])
    assert short.underflow == {"float32": None, "bfloat16": 134, "float16": 25}
    for name, dtype in (("float32", np.float32), ("float16", np.float16)):
        bound = 2.0 ** ROUNDS_TO_ZERO[name]
        assert dtype(bound) == 0
        assert dtype(bound * (1 + 1e-6)) > 0
        assert np.finfo(dtype).smallest_subnormal == 2 * bound


def test_a_smaller_loss_underflows_sooner():
    chain = JacobianChain.from_arrays(np.full((200, 1, 1), 0.5))
    found = reach(gradient_norms(chain, given_loss(chain, np.full(1, 2.0**-20))).state)
    assert found.underflow == {"float32": 130, "bfloat16": 114, "float16": 5}
    assert found.reach == 9  # relative to lag 0: 2^-10 is below 10^-3


def test_one_step():
    found = reach(decay(-1.0, 1, 3))
    assert (found.steps, found.reach) == (1, 1)
    assert found.rate == pytest.approx(-1)
    found = reach(decay(-1.0, 1, 1))
    assert found.rate == pytest.approx(-1)
    assert found.interval is None  # one sequence, one batch of steps


def test_zero_gradients():
    logs = decay(-0.1, 50, 2)
    logs[:20] = -np.inf
    found = reach(logs)
    assert found.reach == 30
    assert np.isneginf(found.log_gain).all()
    assert (found.rate, found.interval, found.half_life) == (None, None, None)
    assert found.underflow == {"float32": 31, "bfloat16": 31, "float16": 31}


def test_a_loss_without_gradient():
    found = reach(np.full((11, 2), -np.inf))
    assert (found.reach, found.rate) == (None, None)
    assert found.underflow == dict.fromkeys(ROUNDS_TO_ZERO)
    logs = decay(-0.1, 10, 2)
    logs[-1] = -np.inf
    assert reach(logs).reach is None


def test_not_finite():
    logs = decay(-0.1, 50, 2)
    logs[:20] = np.nan
    found = reach(logs)
    assert np.isnan(found.log_gain).all()
    assert (found.rate, found.interval, found.half_life) == (None, None, None)
    logs[-1] = np.nan
    assert reach(logs).reach is None
    one = decay(-0.1, 50, 3)
    one[:, 2] = np.nan
    assert reach(one).rate is None


def test_interval_over_sequences_is_students():
    """The textbook interval of a mean, from scipy.stats."""
    gains = np.random.default_rng(0).normal(-20, 3, 8)
    logs = np.zeros((101, 8))
    logs[0] = gains
    wanted = scipy.stats.t.interval(0.95, 7, gains.mean(), scipy.stats.sem(gains))
    assert reach(logs).interval == pytest.approx(np.array(wanted) / 100, rel=1e-12)


def coverage(draw, truth, count=400):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(count):
        low, high = reach(draw(rng)).interval
        hits += low <= truth <= high
    return hits / count


ALLOWED = 4 * np.sqrt(0.95 * 0.05 / 400)  # four standard deviations of a share of 400


def walk(steps):
    """Turn log gains of each step, (T, B), into log norms."""
    return np.concatenate([np.cumsum(steps[::-1], axis=0)[::-1], np.zeros((1, steps.shape[1]))])


def test_coverage_over_sequences():
    assert abs(coverage(lambda r: walk(r.normal(-0.1, 1, (50, 8))), -0.1) - 0.95) < ALLOWED


def test_coverage_of_one_sequence():
    """Batch means: 20 batches of 20 independent steps, exact but for nothing."""
    assert abs(coverage(lambda r: walk(r.normal(-0.1, 1, (400, 1))), -0.1) - 0.95) < ALLOWED


def test_coverage_of_one_sequence_with_memory():
    """Steps that remember (AR(1), 0.7): batches of 20 lose a little, the naive error would cover 0.6."""

    def draw(rng):
        noise = rng.standard_normal(600)
        x = np.zeros(600)
        for t in range(1, 600):
            x[t] = 0.7 * x[t - 1] + noise[t]
        return walk(x[200:, None] - 0.1)

    assert 0.85 < coverage(draw, -0.1, 200) <= 1


def bent(first, tail, knee, steps=200, batch=8, noise=0.0):
    """Natural logs of norms that fall by `first` a step up to lag `knee`, and by `tail` from there."""
    lag = np.arange(steps + 1.0)
    logs = -first * np.minimum(lag, knee) - tail * np.maximum(lag - knee, 0)
    walks = np.cumsum(noise * np.random.default_rng(0).standard_normal((steps + 1, batch)), axis=0)
    return (logs[:, None] + walks)[::-1]


@pytest.mark.parametrize("knee", [1, 8, 40])
@pytest.mark.parametrize("tail", [0.0, 0.01, -0.02])
def test_what_is_lost_once_is_no_part_of_the_rate(knee, tail):
    r = reach(bent(6.0 / knee, tail, knee))
    assert r.knee == knee
    assert r.attenuation == pytest.approx(-6.0)
    assert r.tail_rate == pytest.approx(-tail, abs=1e-12)
    assert r.half_life == (pytest.approx(np.log(2) / tail) if tail > 0 else None)
    assert r.rate == pytest.approx((-6.0 - tail * (200 - knee)) / 200)


def test_a_line_has_no_knee():
    for rate in (0.0, 0.01, 0.5, -0.2):
        r = reach(bent(rate, rate, 0, noise=0.02))
        assert r.knee == 0
        assert r.attenuation == 0
        assert (r.tail_rate, r.tail_interval) == (r.rate, r.interval)


def test_what_matters_beside_the_tail():
    """A decade, once, is an answer of its own beside a tail of two decades, and not beside one of twenty."""
    for decades, knee in ((2.0, 5), (20.0, 0)):
        tail = decades * np.log(10) / 195
        assert reach(bent(np.log(10) / 5 + tail, tail, 5)).knee == knee


def test_a_bend_late_in_the_run_is_none_near_the_loss():
    assert reach(bent(0.2, 0.0, 100)).knee == 0


def test_sequences_that_disagree_have_no_knee():
    """What is lost is 0 in half of the sequences and 4 nats in the others: its error is about as large as its mean."""
    logs = bent(0.0, 0.0, 0)
    logs[:-2, ::2] -= 8.0
    logs[:-2, 1::2] += 4.0
    assert reach(logs).knee == 0


def test_tail_interval_is_students_over_the_tail():
    logs = bent(1.0, 0.01, 8, noise=0.02)
    r = reach(logs)
    assert r.knee
    whole = reach(logs[: len(logs) - r.knee])
    assert r.tail_interval == whole.interval
    assert r.tail_rate == whole.rate


def test_saturated_lstm_loses_once_what_tanh_passes():
    """f = 1 and U = 0: dL/dc is o tanh'(c) dL/dh at the last step, in closed form, and the same at all others."""
    units, inputs, steps = 6, 3, 60
    rng = np.random.default_rng(1)
    b = np.repeat([-40.0, 40.0, 0.0, 0.5], units)  # i, f, g, o
    W = 0.1 * rng.standard_normal((4 * units, inputs))
    W[: 3 * units] = 0
    cell = cell_class("lstm")(W, np.zeros((4 * units, units)), b, None)
    x = rng.standard_normal((5, steps, inputs))
    c = 4.0 + rng.random((5, units))
    start = np.concatenate([np.zeros((5, units)), c], axis=1)
    chain = linearise(run(cell, x, start=start))
    loss = random_loss(chain)
    r = reach(gradient_norms(chain, loss).state)
    o = 1 / (1 + np.exp(-(x[:, -1] @ W[3 * units :].T + 0.5)))
    passed = np.log(np.linalg.norm(loss.direct.T * o / np.cosh(c) ** 2, axis=1))
    assert r.knee == 1
    assert r.attenuation == pytest.approx(np.median(passed), rel=1e-9)
    assert r.tail_rate == pytest.approx(0, abs=1e-12)
