"""Fisher memory and coherence, against closed forms and dense matrices."""

from dataclasses import dataclass

import numpy as np
import pytest
import reference

from gradscope import create, plugins
from gradscope.analysis.fisher import RESOLVED_FROM, SIGN_PATTERNS, fisher_memory, input_deviation
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.networks import Dense, DenseCell, Gate
from gradscope.networks.cell import cell_class
from gradscope.numerics.shrinkage import LEAST_INTENSITY, shrunk_covariance


def linear(U, W):
    return cell_class("linear")(W=np.asarray(W), U=np.asarray(U), b_ih=np.zeros(len(U)), b_hh=None)


def chain_of(cell, *, batch, steps, scale=1.0, storage=EVERYTHING, dtype=float, start=None):
    x = drive("noise", batch, steps, cell.network_input_size, scale=scale)
    return linearise(run(cell, x.astype(dtype), storage=storage, start=start))


def orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


# The covariance


def naive_shrinkage(deviations):
    """Ledoit & Wolf (2004), section 3.3, with every matrix formed; samples contribute sums of squares."""
    batch, _, n = deviations.shape
    squares = [batch / (batch - 1) * d.T @ d for d in deviations]
    S = sum(squares) / batch
    mean = np.trace(S) / n
    target = mean * np.eye(n)
    spread = ((S - target) ** 2).sum() / n
    error = sum(((x - S) ** 2).sum() / n for x in squares) / batch**2
    intensity = max(min(error, spread) / spread, LEAST_INTENSITY) if spread else 1.0
    return (1 - intensity) * S + intensity * target, intensity


@pytest.mark.parametrize(("batch", "each", "n"), [(8, 1, 20), (8, 5, 20), (8, 5, 40), (50, 1, 6), (3, 2, 7)])
def test_shrinkage_against_matrices(batch, each, n):
    rng = np.random.default_rng(batch)
    deviations = rng.standard_normal((batch, each, n)) * np.geomspace(1, 30, n)
    deviations -= deviations.mean(axis=0)
    covariance = shrunk_covariance(deviations)
    M, intensity = naive_shrinkage(deviations)
    assert covariance.intensity == pytest.approx(intensity, rel=1e-10)
    X = rng.standard_normal((4, n))
    expected = X @ np.linalg.inv(M) @ X.T
    assert covariance.solve(X) @ X.T == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())


def test_shrinkage_of_a_multiple_of_the_identity_and_of_nothing():
    deviations = np.array([[[1.0]], [[-1.0]], [[3.0]], [[-3.0]]])
    covariance = shrunk_covariance(deviations)
    assert (covariance.intensity, covariance.floor) == (1.0, pytest.approx(20 / 3))
    assert shrunk_covariance(np.zeros((4, 2, 3))) is None


def test_shrinkage_goes_with_many_samples():
    """Of a matrix that is far from the identity, everything is determined by many samples; nothing by few."""
    rng, sizes = np.random.default_rng(0), np.array([10.0, 1.0, 1.0])
    intensities = [shrunk_covariance(rng.standard_normal((b, 1, 3)) * sizes).intensity for b in (10, 100, 10_000)]
    assert intensities[0] > intensities[1] > intensities[2]
    assert intensities[2] < 1e-3


# Everything, against dense matrices


def parameters(cell):
    return {name: w for name, w in cell.weights().items() if w is not None}


def naive(kind, cell, x, lag):
    """Return G_b by complex steps, (B, m, n), and the last states, (B, n)."""
    p, step, G, last = parameters(cell), 1e-30, [], []
    for xs in x:
        states = reference.run(lambda a, s: reference.step(kind, p, a, s), xs, np.zeros(cell.state_size))
        t = len(xs) - 1 - lag
        columns = []
        for direction in np.eye(x.shape[2]):
            s = reference.step(kind, p, xs[t] + 1j * step * direction, states[t].astype(complex))
            for later in xs[t + 1 :]:
                s = reference.step(kind, p, later.astype(complex), s)
            columns.append(np.imag(s) / step)
        G.append(columns)
        last.append(states[-1])
    return np.array(G), np.array(last)


def naive_fisher(G, last, M=None):
    """Return F without products of a sequence with itself, and M."""
    batch, m, n = G.shape
    if M is None:
        deviations = np.concatenate([(last - last.mean(axis=0))[:, None], (G - G.mean(axis=0)) / np.sqrt(m)], axis=1)
        M, _ = naive_shrinkage(deviations)
    inverse, F = np.linalg.inv(M), np.zeros((m, m))
    for b in range(batch):
        for c in range(batch):
            if b != c:
                F += G[b] @ inverse @ G[c].T / (batch * (batch - 1))
    return F, M


@pytest.mark.parametrize(("kind", "cell"), [("gru", "gru"), ("lstm", "lstm"), ("tanh", "rnn")])
@pytest.mark.parametrize(("hidden", "batch"), [(3, 24), (20, 7)])
def test_against_dense_matrices(kind, cell, hidden, batch):
    cell = create(cell, hidden_size=hidden, input_size=2, gain=2.0, seed=1)
    x = 1.5 * drive("noise", batch, 12, 2)
    chain = linearise(run(cell, x))
    memory = fisher_memory(chain)
    assert memory.lags[0] == 0 and memory.lags[-1] == 11
    signs = np.random.default_rng([0, 5]).choice([-1.0, 1.0], size=(SIGN_PATTERNS, batch))
    for row, lag in enumerate(memory.lags):
        G, last = naive(kind, cell, x, int(lag))
        G = G * x.std(axis=(0, 1))[:, None]
        agreed, square = G[..., cell.output], (G[..., cell.output] ** 2).sum() / batch
        pairs = sum((agreed[b] * agreed[c]).sum() for b in range(batch) for c in range(batch) if b != c)
        coherence = np.sqrt(max(pairs / (batch * (batch - 1)) / square, 0))
        assert memory.coherence[row] == pytest.approx(coherence, rel=1e-9, abs=1e-6)
        F, M = naive_fisher(G, last)
        expected, size = np.linalg.eigvalsh(F)[::-1], np.trace(F)
        assert np.exp(memory.log_eigenvalues[row]) == pytest.approx(np.maximum(expected, 0), rel=1e-8, abs=1e-10 * size)
        # with signs, the mean that is taken out is another, and the rest of M the same
        intensity, m = memory.shrinkage[row], G.shape[1]
        weight, largest = (1 - intensity) * batch / (batch - 1) / m, []
        for pattern in signs:
            flipped = pattern[:, None, None] * G
            taken_out = [y.mean(axis=0).T @ y.mean(axis=0) for y in (G, flipped)]
            F, _ = naive_fisher(flipped, last, M + weight * (taken_out[0] - taken_out[1]))
            largest.append(np.linalg.eigvalsh(F).max())
        assert np.exp(memory.log_chance[row]) == pytest.approx(max(*largest, 0), rel=1e-7, abs=1e-9 * size)


# Closed forms


def test_orthogonal_network_against_its_closed_form():
    """F_k = W^T U^kT C^-1 U^k W with C = sum U^j W W^T U^jT: nothing of the gradient changes between sequences."""
    n, m, steps, batch = 6, 2, 9, 4000
    U, W = orthogonal(n), np.random.default_rng(1).standard_normal((n, m))
    memory = fisher_memory(chain_of(linear(U, W), batch=batch, steps=steps))
    assert memory.lags.tolist() == list(range(steps)) and memory.sequences == batch
    columns = [np.linalg.matrix_power(U, k) @ W for k in range(steps)]
    C = sum(g @ g.T for g in columns)
    total = 0.0
    for k, g in enumerate(columns):
        expected = np.linalg.eigvalsh(g.T @ np.linalg.inv(C) @ g)[::-1]
        # the error of a variance of B samples is sqrt(2 / B) of it, 2 %: four of these
        assert np.exp(memory.log_eigenvalues[k]) == pytest.approx(expected, rel=4 * np.sqrt(2 / batch))
        total += expected.sum()
    assert total == pytest.approx(n)  # the memory capacity
    assert memory.coherence == pytest.approx(np.ones(steps), abs=1e-12)
    assert memory.coherence_error == pytest.approx(np.zeros(steps), abs=1e-12)
    assert memory.cosine == pytest.approx(np.ones(steps), abs=1e-12)
    assert (memory.resolved == m).all()


def test_shift_register_remembers_exactly_so_many_steps():
    n, m = 12, 2
    U, W = np.eye(n, k=-m), np.eye(n, m)
    memory = fisher_memory(chain_of(linear(U, W), batch=400, steps=40))
    remembered = memory.lags < n // m
    assert (memory.resolved == np.where(remembered, m, 0)).all()
    assert np.exp(memory.log_eigenvalues[remembered]) == pytest.approx(1.0, abs=0.25)  # n + m variances of 400 samples
    assert np.isneginf(memory.log_eigenvalues[~remembered]).all()
    assert np.isnan(memory.coherence[~remembered]).all() and (memory.coherence[remembered] == 1).all()


def test_leaky_integrator():
    """h' = a h + x: the eigenvalue is a^2k times the variance of the input over that of the state."""
    a, batch = 0.8, 32
    chain = chain_of(linear([[a]], [[1.0]]), batch=batch, steps=60)
    memory = fisher_memory(chain)
    variance = chain.trajectory.inputs.var() / chain.trajectory.states[-1].var(ddof=1)
    expected = np.log(variance) + 2 * memory.lags * np.log(a)
    assert memory.log_eigenvalues[:, 0] == pytest.approx(expected, abs=1e-10)
    assert (memory.shrinkage == 1).all()  # one variable: there is nothing to shrink


@dataclass(frozen=True, eq=False)
class Flip(DenseCell):
    """a' = q a + x, q' = q: the gradient of a over k steps is q^k, with q = 1 or -1 from the start of a sequence."""

    parts = ("a", "q")
    gates = {"a": Gate("sum", (0, 1))}  # noqa: RUF012
    sizes = {"a": 1, "q": 1}  # noqa: RUF012

    def evolve(self, x, s):
        a, q = s[..., :1, :], s[..., 1:, :]
        return np.concatenate([q * a + x, q], axis=-2)

    def linearise(self, x, s):
        zero, one = np.zeros_like(s[..., 0, :]), np.ones_like(s[..., 0, :])
        rows = [[s[..., 1, :], s[..., 0, :]], [zero, one]]
        matrix = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
        return Dense(matrix, np.stack([one, zero], axis=-1)[..., None])


def test_a_gradient_of_another_sign_in_half_of_the_sequences():
    """Odd numbers of steps cancel, even ones agree; the gradient has the same size at every lag."""
    cell = Flip(W=np.ones((1, 1)), U=np.ones((1, 1)), b_ih=None, b_hh=None)
    start = np.array([[0.0, 1.0], [0.0, -1.0]] * 20)
    memory = fisher_memory(chain_of(cell, batch=40, steps=30, start=start))
    odd = memory.lags % 2 == 1
    assert odd.any() and (~odd).any()
    assert memory.coherence[odd] == pytest.approx(0, abs=1e-12)
    assert memory.cosine[odd] == pytest.approx(-1 / 39)  # the mean over pairs of +1, ..., -1, ...
    assert memory.coherence[~odd] == pytest.approx(1) and memory.cosine[~odd] == pytest.approx(1)
    assert (memory.resolved[odd] == 0).all()
    assert (np.exp(memory.log_eigenvalues[~odd, 0]) > RESOLVED_FROM).all()


# Scales


@pytest.mark.parametrize("factor", [2.0**-700, 2.0**-60, 2.0**60, 2.0**700])
def test_units_do_not_matter(factor):
    """A linear network's input, and its state, in other units: powers of two leave every bit."""
    U, W = 0.9 * orthogonal(5), np.random.default_rng(2).standard_normal((5, 3))
    usual = fisher_memory(chain_of(linear(U, W), batch=16, steps=40))
    of_input = fisher_memory(chain_of(linear(U, W / factor), batch=16, steps=40, scale=factor))
    of_state = fisher_memory(chain_of(linear(U, W * factor), batch=16, steps=40))
    for other in (of_input, of_state):
        assert other.log_eigenvalues == pytest.approx(usual.log_eigenvalues, abs=1e-9)
        assert other.log_chance == pytest.approx(usual.log_chance, abs=1e-9)
        assert other.coherence == pytest.approx(usual.coherence, abs=1e-12)


@pytest.mark.parametrize("gain", [1e-300, 1e-30, 1e-3])
def test_gradients_beyond_the_range_of_numbers(gain):
    """h' = g h + x for 20 steps: eigenvalues g^2k, down to 1e-11400."""
    memory = fisher_memory(chain_of(linear(gain * orthogonal(3), np.eye(3)), batch=64, steps=20))
    fall = memory.log_eigenvalues[1:] - memory.log_eigenvalues[0]
    # M is the same at every lag, and what is left of F varies by the condition of M
    assert fall == pytest.approx(np.repeat(2 * memory.lags[1:, None] * np.log(gain), 3, axis=1), abs=2.0)
    assert np.isfinite(memory.log_eigenvalues).all()


def test_gradients_that_explode():
    """Where states overflow there is no answer; short of that, the signal grows with the noise."""
    memory = fisher_memory(chain_of(linear(1e25 * orthogonal(3), np.eye(3)), batch=64, steps=12))
    assert np.isfinite(memory.log_eigenvalues[-3:]).all()
    # the last state is the first input, but for 1e-25: it is all that is known
    assert np.exp(memory.log_eigenvalues[-1]) == pytest.approx(1, abs=0.5)
    assert (memory.log_eigenvalues[-2] < np.log(1e-40)).all()


def test_float32():
    double, single = (
        fisher_memory(chain_of(create("gru", hidden_size=10, input_size=3, dtype=d), batch=12, steps=50, dtype=d))
        for d in (np.float64, np.float32)
    )
    near = double.log_eigenvalues > np.log(1e-3)
    assert single.log_eigenvalues[near] == pytest.approx(double.log_eigenvalues[near], abs=1e-3)
    assert single.coherence == pytest.approx(double.coherence, abs=1e-4)


def test_checkpoints_and_short_memory_give_the_same_numbers():
    cell = create("lstm", hidden_size=6, input_size=3, layers=2)
    stored, again = (fisher_memory(chain_of(cell, batch=8, steps=60, storage=s)) for s in (EVERYTHING, CHECKPOINTS))
    assert np.array_equal(stored.log_eigenvalues, again.log_eigenvalues)
    assert np.array_equal(stored.coherence, again.coherence)


@pytest.mark.parametrize("name", plugins.names("cells"))
@pytest.mark.parametrize("layers", [1, 2])
def test_every_cell(name, layers):
    """Responses agree with a difference of two runs: the mean over sequences, by the coherence of one of them."""
    cell = create(name, hidden_size=4, input_size=2, layers=layers, seed=3)
    memory = fisher_memory(chain_of(cell, batch=6, steps=10))
    assert memory is not None and memory.directions == 2
    assert not np.isnan(memory.log_eigenvalues).any()


# What is left out


def test_input_deviation():
    x = np.random.default_rng(0).standard_normal((50, 3, 4)) * np.array([1e-200, 1.0, 1e200])[:, None] + 7.1
    x[:, 1] = 0.1  # its mean is rounded
    assert input_deviation(x)[1] == 0
    x = x[:, [0, 2]]
    with np.errstate(over="ignore"):
        expected = np.array([0.0, (x[:, 1] / 1e200).std() * 1e200])
    assert input_deviation(x) == pytest.approx(expected)


def test_no_answer_without_variation_or_sequences():
    cell = create("rnn", hidden_size=4, input_size=2)
    assert fisher_memory(linearise(run(cell, np.ones((8, 20, 2))))) is None
    assert fisher_memory(chain_of(cell, batch=5, steps=20)) is None


def test_only_some_sequences():
    cell = create("gru", hidden_size=5, input_size=2)
    both = chain_of(cell, batch=12, steps=20)
    some = fisher_memory(both, sequences=np.arange(8))
    alone = fisher_memory(linearise(both.trajectory.between(0, 8)))
    # the inputs are in units of all sequences: a factor for each feature, and of two rows in F
    assert some.sequences == alone.sequences == 8
    assert some.log_eigenvalues == pytest.approx(alone.log_eigenvalues, abs=0.5)
    assert some.shrinkage == pytest.approx(alone.shrinkage, abs=0.05)


def test_features_that_never_change_do_not_count():
    cell = create("rnn", hidden_size=6, input_size=3)
    x = drive("noise", 8, 20, 3)
    x[:, :, 1] = 0.3
    memory = fisher_memory(linearise(run(cell, x)))
    assert (memory.inputs, memory.directions) == (2, 2)
