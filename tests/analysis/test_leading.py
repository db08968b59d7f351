"""The largest values of a product without the others: closed forms, thousand-digit arithmetic, what is not known."""

import numpy as np
import pytest
import reference

from gradscope import JacobianChain, create
from gradscope.analysis import products as module
from gradscope.analysis.products import products
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.numerics.leading import LeadingProduct
from gradscope.numerics.power import PowerIteration, log_spectral_norm


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def followed(matrices, keep, *, every=None):
    """Multiply up, looking when it is due, and every so many steps; return the last look."""
    product, found = LeadingProduct(matrices.shape[1], keep), None
    for t, matrix in enumerate(matrices, 1):
        product.multiply(matrix)
        if product.due <= 0 or t == len(matrices) or (every and t % every == 0):
            found = product.log_singular()
            if found is None:
                return None, product
    return found, product


@pytest.mark.parametrize("every", [None, 1, 7])
@pytest.mark.parametrize("decades", [0.05, 0.3, 1.0, 3.0])
def test_every_value_that_is_asked_for(decades, every):
    """P = Q_T D^T Q_0^T in frames that turn at random: sigma_i = d_i^T; up to 260 decades between those asked for.

    Writing a matrix down moves log sigma_i by eps d_1 / d_i, in each of 400 steps.
    """
    rng, n, keep, steps = np.random.default_rng(1), 24, 6, 400
    d = 10 ** -np.linspace(0, decades, n)
    frames = [orthogonal(rng, n) for _ in range(steps + 1)]
    J = np.stack([frames[t + 1] * d @ frames[t].T for t in range(steps)])
    (logs, errors), product = followed(J, keep, every=every)
    gap = np.abs(logs[:keep] - steps * np.log(d[:keep]))
    assert gap.max() <= 1e-10
    assert (gap <= errors[:keep] + 1e-15 * steps).all()
    assert errors[:keep].max() <= 1e-9
    if decades >= 0.3:
        assert product.rank < n  # the rest was left out
    assert np.abs(product.U @ product.U.T - np.eye(product.rank)).max() < 1e-12


def gaussian(rng, n, steps):
    return rng.standard_normal((steps, n, n)) / np.sqrt(n)


def slanted(rng, n, steps):
    """One diagonal matrix in a basis of condition 10^4."""
    V = rng.standard_normal((n, n))
    V[:, -1] = V[:, 0] + 1e-4 * V[:, -1]
    return np.tile(V @ np.diag(np.geomspace(1, 0.1, n)) @ np.linalg.inv(V), (steps, 1, 1))


def by_columns(rng, n, steps):
    """Columns from 1 to 10^-8."""
    return rng.standard_normal((steps, n, n)) * 10.0 ** -rng.uniform(0, 8, (steps, 1, n))


def undone(rng, n, steps):
    """Matrices of condition 10^6, and then their inverses as far as they can be written: rounding decides."""
    J = [orthogonal(rng, n) * np.geomspace(1e3, 1e-3, n) for _ in range(steps // 2)]
    return np.array(J + [np.linalg.inv(a) for a in J[::-1]])


def exchanged(rng, n, steps):
    """What is smallest for the first half of the run, grows most in the second."""
    Q, d = orthogonal(rng, n), np.geomspace(1, 0.5, n)
    return np.stack([Q * (d if t < steps // 2 else d[::-1] ** 1.5) @ Q.T for t in range(steps)])


@pytest.mark.parametrize("case", [gaussian, slanted, by_columns, undone, exchanged])
@pytest.mark.parametrize("seed", [0, 1])
def test_errors_hold_against_exact_arithmetic(case, seed):
    """Where the errors are small enough to be used, they are larger than what is wrong."""
    n, keep, steps = 8, 3, 60
    J = case(np.random.default_rng(seed), n, steps)
    for matrices in (J, J[::-1].swapaxes(1, 2)):
        found, _ = followed(matrices, keep, every=5)
        wanted = reference.exact_log_singular(matrices, 1500)[:keep]
        if found is not None:
            logs, errors = (x[:keep] for x in found)
            known = errors <= module.SETTLED_NATS
            assert (np.abs(logs - wanted) <= errors + 1e-15 * (1 + np.abs(wanted)))[known].all()
        if case is gaussian:
            assert known.all()
        if case is undone:
            assert found is None or not known.all()
        # whatever is lost here, all of the product is looked at
        whole = products(JacobianChain.from_arrays(matrices), lags=6, values=keep)
        held = ~np.isnan(whole.log_singular[-1, 0])
        assert np.abs(whole.log_singular[-1, 0] - wanted)[held].max(initial=0) <= 0.01


@pytest.mark.parametrize("options", [{}, {"gain": 3.0}, {"layers": 2}, {"single": True}])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_cells(name, options, monkeypatch):
    """The same numbers as with all of the product; and nothing falls back to that."""
    single = "single" in options
    cell = create(name, hidden_size=24, input_size=3, seed=2, **({} if single else options))
    cell = cell.astype(np.float32) if single else cell
    chain = linearise(run(cell, drive("noise", 1, 150, 3)))
    whole = products(chain, values=None)
    monkeypatch.setattr(module, "_graded", None)
    few = products(chain, values=5)
    # entries are in single precision, and what they are multiplied by on the way is rounded in another order
    allowed = 1e-5 if single else 1e-9  # a hundred eps of single precision
    assert np.abs(few.log_singular - whole.log_singular[:, :, :5]).max() <= allowed
    assert np.array_equal(few.surviving, whole.surviving)
    assert few.log_frobenius == pytest.approx(whole.log_frobenius, abs=allowed)
    assert np.array_equal(few.log_from_start, whole.log_from_start)
    assert few.log_condition == pytest.approx(whole.log_condition, abs=0.1)  # norms in between are a few per cent off
    both = np.isfinite(few.log_radius) & np.isfinite(whole.log_radius)
    assert both.any()
    assert np.abs(few.log_radius - whole.log_radius)[both].max() <= 0.01  # what is taken for determined


def test_zeros_are_left_to_the_whole_product():
    """Of rank two: the third value is zero exactly, which only all of the product tells from rounding."""
    rng = np.random.default_rng(0)
    J = np.zeros((30, 12, 12))
    J[:, :2, :2] = rng.standard_normal((30, 2, 2))
    found = products(JacobianChain.from_arrays(J), values=4)
    assert np.isfinite(found.log_singular[:, 0, :2]).all()
    assert np.isneginf(found.log_singular[:, 0, 2:]).all()


def test_norms_on_the_way():
    """From below; to a few per cent once values stand out."""
    rng = np.random.default_rng(5)
    product, whole = LeadingProduct(16, 4), np.eye(16)
    for t, matrix in enumerate(gaussian(rng, 16, 80), 1):
        product.multiply(matrix)
        whole = matrix @ whole
        if product.due <= 0:
            product.log_singular()
        norm = np.log(np.linalg.norm(whole, 2))
        found = product.log_norm(3 if t < 16 else 1)
        assert found <= norm + 1e-9
        assert found >= norm - (0.3 if t < 16 else 0.1)


def test_norms_of_single_matrices():
    rng = np.random.default_rng(0)
    norm = PowerIteration(9)
    for scale in (1.0, 1e-200, 1e200):
        matrix = rng.standard_normal((9, 9))
        assert norm.log_norm_of(scale * matrix, 300) == pytest.approx(
            np.log(np.linalg.norm(matrix, 2)) + np.log(scale), rel=1e-9
        )
        assert log_spectral_norm(matrix) == pytest.approx(np.log(np.linalg.norm(matrix, 2)), abs=1e-13)
    assert norm.log_norm_of(np.zeros((9, 9)), 3) == -np.inf
    assert log_spectral_norm(np.zeros((9, 9))) == -np.inf
