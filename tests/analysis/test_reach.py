"""How far a gradient reaches: closed forms for exponentials, and honest intervals."""

import numpy as np
import pytest
import scipy.stats

from gradscope import JacobianChain
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.reach import reach
from gradscope.dynamics.loss import given_loss
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
