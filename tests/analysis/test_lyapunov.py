"""Lyapunov exponents: closed forms, an exact z-test, the determinant rule, and a plain twin."""

import numpy as np
import pytest
import reference
import scipy.signal
import scipy.special
from scipy.special import digamma, polygamma

import gradscope
from gradscope import JacobianChain, create, lyapunov, plugins
from gradscope.analysis.lyapunov import FIRST_PASS_COLUMNS, LyapunovSpectrum, frame_growth
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.kernels.frame import FrameGrowth, Frames
from gradscope.kernels.jvp import FrameJvps
from gradscope.numerics.statistics import batch_error, correlation_time

EPS = np.finfo(float).eps


def chain_of(*matrices, times=1):
    return JacobianChain.from_arrays(np.tile(np.array(matrices, float), (times, 1, 1)))


def along(cell, steps, batch=1, **more):
    inputs = drive("noise", batch, steps, cell.network_input_size)
    return linearise(run(cell, inputs, **more))


def dense(chain, b=0):
    return np.array([J.column(b).dense().reshape(chain.size, chain.size) for _, J in chain.forward()])


def test_two_nilpotent_matrices():
    """Radius zero each; one direction doubles at every step, the other is lost at once and exactly."""
    found = lyapunov(chain_of([[0, 2], [0, 0]], [[0, 0], [2, 0]], times=50))
    assert found.exponents[0] == pytest.approx(np.log(2), abs=4 * EPS)
    assert found.exponents[1] == -np.inf
    assert found.determinant_error == 0.0  # the determinant of every step is zero as well


def test_two_diagonal_matrices():
    """Radius two each, and yet both exponents are (log 2 + log 0.1) / 2."""
    found = lyapunov(chain_of([[2, 0], [0, 0.1]], [[0.1, 0], [0, 2]], times=500))
    assert found.exponents == pytest.approx([-0.804718956217] * 2, abs=1e-12)  # as many digits as are given


def test_a_shear_and_its_transpose():
    """Radius one each; log of the golden ratio."""
    found = lyapunov(chain_of([[1, 1], [0, 1]], [[1, 0], [1, 1]], times=500))
    assert found.exponents == pytest.approx([0.481211825060, -0.481211825060], abs=1e-12)


def test_orthogonal_weights_neither_grow_nor_shrink():
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    found = lyapunov(JacobianChain.from_arrays(np.tile(Q, (2000, 1, 1))))
    assert np.abs(found.exponents).max() <= 1e-15  # each step rounds, in both directions, and T of them are averaged


def test_the_order_of_steps():
    """Three matrices that do not commute: a reversed product has other exponents, and two cannot tell."""
    a, b, c = np.array([[1.0, 2], [0, 1]]), np.array([[1.0, 0], [3, 1]]), np.array([[2.0, 0], [0.1, 0.5]])
    wanted = np.sort(np.log(np.abs(np.linalg.eigvals(c @ b @ a))))[::-1] / 3
    reverse = np.sort(np.log(np.abs(np.linalg.eigvals(a @ b @ c))))[::-1] / 3
    assert abs(wanted[0] - reverse[0]) > 0.01
    assert lyapunov(chain_of(a, b, c, times=300), burn=150).exponents == pytest.approx(wanted, abs=1e-13)


def test_the_frame_does_not_lie_in_an_invariant_subspace():
    """The first column of the identity would never see the direction that doubles."""
    assert lyapunov(chain_of([[1, 0], [0, 2]], times=200), 1).exponents == pytest.approx([np.log(2)], abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_ginibre_products(seed):
    """Independent real Gaussian matrices: exponents and their variance per step are known (Newman 1986), at every T.

    Frames of a product that is invariant under rotations need no burn-in. 20 numbers at three seeds: a |z| above 4.5
    has a probability of 4e-4 in all.
    """
    n, steps, batch = 4, 50, 400
    rng = np.random.default_rng([seed, 11])
    found = lyapunov(JacobianChain.from_arrays(0.5 * rng.standard_normal((steps, batch, n, n))), burn=0)
    half = (n - np.arange(n)) / 2
    exponents = np.log(0.5) + (np.log(2) + digamma(half)) / 2
    errors = np.sqrt(polygamma(1, half) / 4 / (steps * batch))
    assert exponents == pytest.approx([-0.1351814227, -0.3283286033, -0.6351814227, -1.3283286033], abs=1e-10)
    assert (np.abs(found.exponents - exponents) <= 4.5 * errors).all()
    # the sample variance of S normal means has a relative standard deviation of sqrt(2 / (S - 1)), an error half of it
    assert (np.abs(found.standard_errors / errors - 1) <= 4.5 * np.sqrt(0.5 / (batch - 1))).all()


def test_upper_triangular_gaussian_matrices():
    """Only the diagonal counts: E log|N(0, 1)| for every exponent."""
    rng = np.random.default_rng(5)
    found = lyapunov(JacobianChain.from_arrays(np.triu(rng.standard_normal((200, 60, 4, 4)))), burn=50)
    mean = -(np.euler_gamma + np.log(2)) / 2
    assert mean == pytest.approx(-0.6351814227307391, abs=1e-15)
    # the four are sorted, and alike: their sum is what is free of that; its variance is pi^2/8 each a step
    error = np.sqrt(4 * np.pi**2 / 8 / (150 * 60))
    assert abs(found.exponents.sum() - 4 * mean) <= 4 * error


def henon(steps):
    x, y, J = 0.1, 0.1, []
    for t in range(steps + 100):
        if t >= 100:
            J.append([[-2.8 * x, 1.0], [0.3, 0.0]])
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
    return np.array(J)


def test_henon_map():
    found = lyapunov(JacobianChain.from_arrays(henon(20000)))
    assert found.exponents.sum() == pytest.approx(np.log(0.3), abs=1e-12)  # exactly, at every step
    assert abs(found.exponents[0] - 0.41922) <= 4 * 0.37 / np.sqrt(16000)  # sd of one orbit, four of them
    assert found.errors_are_over == "batches"
    assert 0.5 <= found.standard_errors[0] / (0.37 / np.sqrt(16000)) <= 2.0
    assert found.kaplan_yorke == pytest.approx(1 + found.exponents[0] / -found.exponents[1], abs=1e-12)
    assert found.kaplan_yorke == pytest.approx(1.258, abs=0.02)  # Kaplan & Yorke 1979 to within the error above
    assert found.entropy_rate == found.exponents[0]


def test_logistic_map():
    x, J = 0.3, []
    for _ in range(4000):
        J.append([[4 - 8 * x]])
        x = 4 * x * (1 - x)
    found = lyapunov(JacobianChain.from_arrays(np.array(J)))
    # its local exponents are log|4 - 8x| with x arcsine distributed: variance pi^2/12, and anticorrelated in time
    assert abs(found.exponents[0] - np.log(2)) <= 4 * np.sqrt(np.pi**2 / 12 / 3900)


@pytest.mark.parametrize(
    ("w", "wanted"), [(0.5, -0.693147), (1.1, -0.196311940352), (2, -1.793528506542), (5, -7.003449823947)]
)
def test_a_tanh_unit_at_its_fixed_point(w, wanted):
    """The exponent is log(w (1 - h^2)), however large w is: above one does not explode."""
    h = 1.0
    for _ in range(2000):
        h = np.tanh(w * h)
    chain = JacobianChain.from_arrays(np.full((50, 1, 1), w * (1 - h * h)))
    assert lyapunov(chain).exponents[0] == pytest.approx(wanted, abs=1e-6 if w == 0.5 else 1e-11)
    cell = create("rnn", hidden_size=1, input_size=1, seed=0)
    cell = type(cell)(W=0 * cell.W, U=np.array([[float(w)]]), b_ih=0 * cell.b_ih, b_hh=0 * cell.b_hh)
    trajectory = run(cell, np.zeros((1, 300, 1)), warmup=250, start=np.array([1.0]))
    if w != 1.1:  # there the fixed point is reached too slowly for the digits of the chain above
        assert lyapunov(linearise(trajectory)).exponents[0] == pytest.approx(np.log(w * (1 - h * h)), abs=1e-9)


def sizes(name):
    return {"hidden_size": 12, "input_size": 5, "seed": 3}


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_the_sum_is_the_log_determinant(name):
    """Whatever the frame and the input: sum of exponents = mean log|det J|, to 1e-9."""
    cell = create(name, **sizes(name))
    found = lyapunov(along(cell, 300, batch=2))
    if found.determinant_error is None:  # units that are off make J exactly singular, which may not be seen
        assert cell.kinks and np.isnan(found.exponents).any()
    else:
        assert found.determinant_error <= 1e-9


@pytest.mark.parametrize("gain", [10.0, 100.0])
def test_saturated_units(gain):
    """Condition numbers far above 1e16, where small rows have to be kept apart."""
    chain = along(create("rnn", hidden_size=24, input_size=8, init="gaussian", seed=1, gain=gain), 200)
    jacobians = dense(chain)
    found = lyapunov(chain)
    assert max(np.linalg.cond(J) for J in jacobians[:50]) > 1e16
    assert found.determinant_error <= 1e-9 * np.abs(found.exponents).sum()


def test_what_saturated_gates_leave_undetermined_is_said():
    chain = along(create("lstm", hidden_size=24, input_size=8, init="gaussian", seed=1, gain=30.0), 200)
    found = lyapunov(chain)
    assert np.isfinite(found.exponents[:30]).all()
    assert np.isnan(found.exponents).any()
    assert found.determinant_error is None  # a sum that is not known can be held against nothing


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "linear"])
def test_against_a_decomposition_at_every_step(name, monkeypatch):
    """The interval adapts: every exponent, the smallest too, agrees with the plain way from the same frame."""
    chain = along(create(name, hidden_size=16, input_size=4, seed=2), 400)
    lead = Frames(chain.size, min(chain.size, FIRST_PASS_COLUMNS), 1, 0)
    for J in FrameJvps(chain):
        lead.multiply(J)
        if lead.due(0):
            lead.orthonormalise()
    lead.orthonormalise()
    frame = Frames(chain.size, chain.size, 1, 0, lead=lead.Q)
    wanted = reference.householder_growth(dense(chain), frame.Q[0].T)[80:].mean(axis=0)
    found = lyapunov(chain, burn=80).by_sequence[0]
    # an interval of 7 nats costs 2e-13 of what is smallest in it; frames drift apart at rounding times the gaps
    assert np.abs(found - np.sort(wanted)[::-1]).max() <= 1e-10


@pytest.mark.parametrize("own", [False, True])
def test_parts_of_the_sequences_side_by_side(own):
    """Frames go by the number of their sequence: to follow some, then the others, is to follow all."""
    chain = along(create("gru", hidden_size=12, input_size=4, seed=2), 200, batch=5)
    if own:
        chain = JacobianChain.from_arrays(np.stack([dense(chain, b) for b in range(5)], axis=1))
    whole = frame_growth(chain, 12, 40, 7)
    parts = [frame_growth(chain.between(low, high), 12, 40, 7, number=low) for low, high in ((0, 2), (2, 3), (3, 5))]
    joined = FrameGrowth.joined(parts)
    for name in ("at_marks", "first", "first_pass", "log_det"):
        a, b = getattr(whole, name), getattr(joined, name)
        # intervals are chosen for sequences together: 5e-14 a nat, as above
        assert a.shape == b.shape and np.abs(a - b).max() <= 1e-10 * np.abs(a).max(), name
    assert whole.rounding_error.shape == joined.rounding_error.shape
    assert not np.allclose(parts[0].at_marks[-1, 0], parts[1].at_marks[-1, 0])


def test_the_largest_few_are_those_of_all():
    chain = along(create("gru", hidden_size=24, input_size=4, seed=2), 300, batch=3)
    few, every = lyapunov(chain, 5), lyapunov(chain)
    assert few.exponents.shape == (5,)
    # other frames: what is left of the beginning after the burn-in decays at the gaps between exponents
    assert np.abs(few.exponents - every.exponents[:5]).max() <= 0.01
    assert few.determinant_error is None


def test_one_long_sequence_has_error_bars_from_batches():
    """AR(1) local exponents: the naive error is too small by sqrt((1 + a) / (1 - a)), batches are not."""
    rng, a, steps = np.random.default_rng(7), 0.8, 20000
    x = np.zeros(steps)
    for t in range(1, steps):
        x[t] = a * x[t - 1] + rng.standard_normal()
    found = lyapunov(JacobianChain.from_arrays(np.exp(0.01 * x)[:, None, None]), burn=0)
    true = 0.01 / (1 - a) / np.sqrt(steps)
    assert found.errors_are_over == "batches"
    # 141 batches give the error to within 1/sqrt(280) = 6 %, the largest of a few batch lengths a little more
    assert 0.8 <= found.standard_errors[0] / true <= 1.5


def test_sequences_on_one_orbit_count_once():
    rng = np.random.default_rng(3)
    J = rng.standard_normal((200, 1, 3, 3))
    found = lyapunov(JacobianChain.from_arrays(np.repeat(J, 4, axis=1)), orbits=np.zeros(4, int))
    assert found.errors_are_over == "batches"
    assert found.by_sequence.shape == (1, 3)


def test_a_change_in_the_middle_is_seen():
    rng = np.random.default_rng(1)
    J = rng.standard_normal((400, 8, 3, 3))
    assert not lyapunov(JacobianChain.from_arrays(J)).halves_differ.any()
    J[200:] *= 1.5
    assert lyapunov(JacobianChain.from_arrays(J), burn=0).halves_differ.all()


def test_a_random_network_follows_mean_field_theory():
    """h' = tanh(W h), W ~ N(0, 4/N): lambda_1 = 0.1547 for infinitely many units (Sompolinsky et al. 1988).

    At N = 256 networks differ by about 0.005; 0.015 is three of these.
    """
    W = 2.0 / np.sqrt(256) * np.random.default_rng(0).standard_normal((256, 256))
    cell = create("rnn", hidden_size=256, input_size=1, seed=0)
    cell = type(cell)(W=0 * cell.W, U=W, b_ih=0 * cell.b_ih, b_hh=0 * cell.b_hh)
    start = np.random.default_rng(1).standard_normal(256)
    chain = linearise(run(cell, np.zeros((1, 1400, 1)), warmup=200, start=start))
    assert lyapunov(chain, 1).exponents[0] == pytest.approx(0.1547242, abs=0.015)


def test_dead_units_are_lost_exactly():
    """Relu: rows of zeros. Exponents are -inf, and nothing that rounding left over."""
    rng = np.random.default_rng(2)
    J = rng.standard_normal((60, 6, 6))
    J[:, 4:] = 0
    found = lyapunov(JacobianChain.from_arrays(J))
    assert np.isfinite(found.exponents[:4]).all()
    assert np.isneginf(found.exponents[4:]).all()


def test_units_that_die_one_after_the_other():
    """Diagonals of zeros and ones: what has survived has exponent zero, the rest is lost, exactly."""
    rng = np.random.default_rng(4)
    J = np.zeros((120, 12, 12))
    alive = np.ones(12)
    for t in range(120):
        resting = rng.random(12) < 0.5  # units that pass nothing at this step alone: lost for good all the same
        if t in (30, 60):
            alive[np.flatnonzero(alive)[:3]] = 0
        J[t] = np.diag(np.where((alive == 0) & resting, 0.0, 1.0) if t > 30 else np.ones(12))
    survive = int((np.diagonal(J[24:], axis1=1, axis2=2).all(axis=0)).sum())
    found = lyapunov(JacobianChain.from_arrays(J), burn=24)
    assert 0 < survive < 12
    assert np.abs(found.exponents[:survive]).max() <= 0.5  # volumes of a random frame, divided by 96 steps
    assert np.isneginf(found.exponents[survive:]).all()
    assert found.determinant_error == 0.0
    # what was lost before counting began is not held against the run
    J[:24] = np.diag(np.r_[np.zeros(6), np.ones(6)])
    again = lyapunov(JacobianChain.from_arrays(J), burn=24)
    assert (np.isneginf(again.exponents) == np.isneginf(found.exponents)).all()


def test_a_direction_that_rounding_decides_is_not_determined():
    rng = np.random.default_rng(2)
    J = np.array([np.outer(*rng.standard_normal((2, 4))) + np.outer(*rng.standard_normal((2, 4))) for _ in range(50)])
    found = lyapunov(JacobianChain.from_arrays(J))
    assert np.isfinite(found.exponents[:2]).all()
    assert not np.isfinite(found.exponents[2:]).any()


def test_jacobians_that_are_not_finite_are_refused():
    J = np.ones((5, 2, 2))
    J[3, 0, 0] = np.nan
    with pytest.raises(gradscope.GradscopeError, match="step 3"):
        lyapunov(JacobianChain.from_arrays(J))


def test_batch_error_of_constant_batches_is_zero():
    error, freedom = batch_error(np.ones((12, 2)))
    assert (error == 0).all() and (freedom == 11).all()


def test_a_frame_begins_where_it_ended():
    """diag(1, e^-g): a column (c, s) has grown by log(c^2 + s^2 e^(-2 g t)) / 2 after t steps, turned or not."""
    gap, steps, burn = 0.01, 100, 20
    c, s = Frames(2, 1, 1, 4).Q[0, 0]
    until = lambda t: np.log(c * c + s * s * np.exp(-2 * gap * t)) / 2  # noqa: E731
    found = lyapunov(chain_of(np.diag([1, np.exp(-gap)]), times=steps), 1, burn=burn, seed=4)
    before, after = until(steps) - until(burn), until(2 * steps) - until(steps + burn)
    assert found.exponents[0] * (steps - burn) == pytest.approx(after, abs=1e-13)
    assert found.start_dependence[0] * (steps - burn) == pytest.approx(abs(after - before), abs=1e-13)
    assert abs(after) < abs(before) / 2  # and nearer to the truth, which is zero


def test_an_interval_allows_for_the_beginning():
    """Steps that do not vary: all that is left is by how much the beginning matters."""
    J = np.tile(np.diag([1.0, np.exp(-0.01)]), (100, 4, 1, 1))
    found = lyapunov(JacobianChain.from_arrays(J), 1, burn=20)
    statistical = scipy.special.stdtrit(3, 0.975) * found.standard_errors[0]
    half = np.ptp(found.interval[0]) / 2
    assert half == pytest.approx(np.hypot(statistical, found.start_dependence[0]), rel=1e-9)
    assert found.interval[0, 0] < 0 < found.interval[0, 1]
    assert np.isnan(lyapunov(chain_of(np.eye(18)), 18, burn=0).start_dependence[FIRST_PASS_COLUMNS:]).all()


@pytest.mark.parametrize("a", [-0.5, 0.0, 0.8, 0.95])
def test_correlation_time_of_an_autoregression(a):
    """rho_k = a^k: 1 + 2 sum rho = (1 + a) / (1 - a).

    With a window of W lags its relative variance is about 2 (2 W + 1) / T (Sokal 1997); the sum ends where a^k is in
    the noise, within 4 times the time itself.
    """
    steps, rng = 100_000, np.random.default_rng(3)
    x = scipy.signal.lfilter([1.0], [1.0, -a], rng.standard_normal(steps))
    wanted = (1 + a) / (1 - a)
    window = 4 * max(wanted, 1 / wanted)
    assert correlation_time(x) == pytest.approx(
        wanted, abs=4 * max(wanted, 1.0) * np.sqrt(2 * (2 * window + 1) / steps)
    )
    assert correlation_time(7 + 1e-3 * x) == pytest.approx(correlation_time(x), rel=1e-6)


def test_what_does_not_vary_has_no_correlation_time():
    assert correlation_time(np.full(100, 0.3)) is None
    assert correlation_time(np.array([0.0, -np.inf, 0.0, 1.0])) is None
    assert lyapunov(chain_of([[0.5]], times=50)).correlation is None


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e160, 1e200])
def test_a_factor_in_all_steps_moves_all_exponents_alike(size):
    """Also where squares of the numbers cannot be written."""
    J = np.eye(3) + 0.2 * np.random.default_rng(1).standard_normal((60, 3, 3))
    moved = lyapunov(JacobianChain.from_arrays(size * J)).exponents - lyapunov(JacobianChain.from_arrays(J)).exponents
    assert moved == pytest.approx([np.log(size)] * 3, rel=1e-13)


def test_steps_that_overflow_after_a_quiet_time():
    """31 steps that change nothing lengthen the interval; the next ones would leave the range of float64."""
    for factor in (1e200, 1e-200):
        J = np.concatenate([np.tile(np.eye(3), (31, 1, 1)), np.tile(factor * np.eye(3), (3, 1, 1))] * 3)
        found = lyapunov(JacobianChain.from_arrays(J), burn=0)
        assert found.exponents == pytest.approx([9 * np.log(factor) / 102] * 3, rel=1e-13)


@pytest.mark.parametrize("spread", [3.0, 5.0, 5.9])
def test_a_steep_last_step(spread):
    """Decades within one step, up to where Cholesky is left: its last frame is orthonormal, too."""
    rng = np.random.default_rng(1)
    Q = lambda: np.linalg.qr(rng.standard_normal((3, 3)))[0]  # noqa: E731
    J = np.array([Q() * 10.0 ** np.array([spread, spread / 2, 0]) @ Q()])
    # what is smallest loses its distance from the largest: 10^5.9 eps = 2e-10
    assert lyapunov(JacobianChain.from_arrays(J)).determinant_error <= 10.0**spread * 10 * EPS


def test_what_later_columns_owe_to_dependent_ones_is_doubted():
    """An LSTM whose gates are shut: the determinant of its last step is missed by `rounding_error` at most."""
    cell = create("lstm", init="gaussian", gain=30.0, hidden_size=16, input_size=3, seed=62)
    chain = along(cell, 11, batch=8)
    frame = Frames(chain.size, chain.size, chain.batch, 0)
    for t, J in enumerate(FrameJvps(chain)):
        if t == 10:
            frame.start_counting()
            wanted = J.log_abs_det()
        frame.multiply(J)
        if frame.due(0):
            frame.orthonormalise()
    missed = np.abs(frame.total_growth().sum(axis=1) - wanted)
    assert missed.max() > 1e-3
    assert (missed <= frame.rounding_error.sum(axis=1) + 1e-12).all()


def test_the_sum_is_the_log_determinant_in_single_precision():
    """Of the Jacobians that were pushed, which are rounded."""
    for name, init, gain in (("lstm", "orthogonal", 0.7), ("gru", "pytorch", 1.5), ("rnn", "pytorch", 1.0)):
        cell = create(name, init=init, gain=gain, hidden_size=4, input_size=3, layers=2, seed=56, dtype=np.float32)
        found = lyapunov(along(cell, 10, batch=2))
        assert found.determinant_error <= found.determinant_allowed(1e-9)


def test_sums_that_an_unknown_exponent_belongs_to_are_not_known():
    known = dict.fromkeys(("standard_errors", "interval", "by_sequence", "steps", "running", "local"), np.zeros(1))
    make = lambda *x: LyapunovSpectrum(  # noqa: E731
        np.array(x),
        **known,
        burn=0,
        size=4,
        errors_are_over="",
        halves_differ=np.zeros(1),
        rounding_error=np.zeros(1),
        start_dependence=np.zeros(1),
        correlation=None,
        determinant_error=None,
    )
    assert make(0.5, np.nan, -1.0, -2.0).entropy_rate is None
    assert make(0.5, 0.25, -1.0, np.nan).entropy_rate == 0.75
    assert make(0.5, 0.25).entropy_rate is None
    assert make(0.5, 0.25, 0.125, 0.0625).entropy_rate == 0.9375
    assert make(0.5, np.nan, -1.0, -2.0).kaplan_yorke is None
    assert make(0.0, -1.0).kaplan_yorke == 1.0
    assert make(-0.5, -np.inf).kaplan_yorke == 0.0
    assert make(0.5, -np.inf).kaplan_yorke == 1.0


def test_what_is_lost_in_one_sequence_is_lost_in_the_mean():
    """Masks of zeros and ones: whatever else rounding decides, minus infinity stays."""
    rng = np.random.default_rng(0)
    masks = (rng.random((12, 3, 5)) < 0.7).astype(float)
    found = lyapunov(JacobianChain.from_arrays(masks[..., None] * np.eye(5)), burn=0)
    assert np.isneginf(found.exponents).any()
    assert not np.isnan(found.exponents[np.isneginf(found.by_sequence).any(axis=0)]).any()


def test_numbers_so_small_that_they_have_no_digits():
    """Of 10^-320 three are left: what a dyad has beside its one direction is rounding, and nothing warns."""
    J = np.tile(1e-320 * np.outer([1, 2], [3, 1]) + 0.0, (10, 1, 1))
    found = lyapunov(JacobianChain.from_arrays(J))
    assert not np.isfinite(found.exponents[1])


def test_a_direction_that_was_lost_is_passed_by_in_full_steps():
    """One dead unit at one step; in those after it every row is there, and one column is zero."""
    J = np.random.default_rng(0).standard_normal((20, 2, 2))
    J[8, 1] = 0
    found = lyapunov(JacobianChain.from_arrays(J), burn=2)
    assert np.isfinite(found.exponents[0]) and np.isneginf(found.exponents[1])
    assert found.determinant_error == 0.0


def test_one_column_that_dies_before_others():
    """Units that rest in turn: no unit lives through burn-in and run, and half of them through what is counted."""
    J = np.tile(np.eye(8), (100, 1, 1))
    J[5, :4] = 0  # these live where counting begins
    J[60, 4:] = 0
    chain = JacobianChain.from_arrays(J)
    assert lyapunov(chain, 1, burn=20).exponents == pytest.approx([0.0], abs=0.1)  # log of an angle, over 80 steps
    every = lyapunov(chain, burn=20).exponents
    assert np.abs(every[:4]).max() <= 0.1
    assert np.isneginf(every[4:]).all()
