"""Shrunk covariances against the formulas of the paper, written out sample by sample with whole matrices."""

import numpy as np
import pytest

from gradscope.numerics.shrinkage import Covariance, ledoit_wolf

RNG = np.random.default_rng(0)


def naive(samples):
    """Ledoit & Wolf (2004), section 3.3, with |A|^2 = tr(A A^T) / n: return the matrix and the weight."""
    n, count = samples.shape
    S = sum(np.outer(x, x) for x in samples.T) / count
    m = np.trace(S) / n
    d2 = np.sum((S - m * np.eye(n)) ** 2) / n
    b2 = min(d2, sum(np.sum((np.outer(x, x) - S) ** 2) / n for x in samples.T) / count**2)
    return b2 / d2 * m * np.eye(n) + (d2 - b2) / d2 * S, b2 / d2


@pytest.mark.parametrize(("n", "count"), [(7, 3), (3, 7), (5, 5), (40, 12)])
@pytest.mark.parametrize("scale", [1.0, 1e-40, 1e40])
def test_naive_twin(n, count, scale):
    samples = RNG.standard_normal((n, 1)) * RNG.standard_normal((n, count)) * scale
    covariance, weight = ledoit_wolf(samples)
    matrix, expected = naive(samples)
    assert 0 < weight < 1 and weight == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(covariance.dense(), matrix, rtol=1e-9, atol=1e-12 * np.abs(matrix).max())


def test_the_divisor_scales_the_matrix_and_not_the_weight():
    samples = RNG.standard_normal((4, 9))
    (plain, weight), (corrected, same) = ledoit_wolf(samples), ledoit_wolf(samples, freedom=8)
    assert weight == same
    np.testing.assert_allclose(corrected.dense(), plain.dense() * 9 / 8, rtol=1e-13)


def test_many_samples_need_no_shrinking_and_isotropic_ones_are_nothing_else():
    sizes = np.array([4.0, 2.0, 1.0])[:, None]
    covariance, weight = ledoit_wolf(sizes * RNG.standard_normal((3, 40_000)))
    assert weight < 1e-3  # of the order of one over the number of samples
    np.testing.assert_allclose(covariance.dense(), np.diag(sizes[:, 0] ** 2), atol=6 * 16 * np.sqrt(2 / 40_000))
    opposite = np.concatenate([np.eye(5), -np.eye(5)], axis=1)  # S is I / 5: there is nothing to shrink
    covariance, weight = ledoit_wolf(opposite)
    assert weight == 1
    np.testing.assert_allclose(covariance.dense(), np.eye(5) / 5, rtol=1e-14)


def test_the_trace_stays():
    samples = RNG.standard_normal((30, 6)) * np.arange(1, 31)[:, None]
    assert np.trace(ledoit_wolf(samples)[0].dense()) == pytest.approx(np.square(samples).sum() / 6, rel=1e-13)


def test_no_variance_at_all():
    covariance, _ = ledoit_wolf(np.zeros((3, 4)))
    assert not covariance.dense().any()


@pytest.mark.parametrize(("n", "count"), [(6, 2), (6, 50), (200, 9)])
def test_whitened_vectors_have_the_products_of_the_inverse(n, count):
    covariance = Covariance(0.3, RNG.standard_normal((n, count)))
    vectors = RNG.standard_normal((n, 4))
    white = covariance.whiten(vectors)
    expected = vectors.T @ np.linalg.solve(covariance.dense(), vectors)
    np.testing.assert_allclose(white.T @ white, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())


def test_whitening_survives_a_condition_number_that_no_matrix_does():
    """diag(1, 1e-12) squared has condition 1e24: its inverse in float64 is noise, and its root is not."""
    sizes = np.array([1.0, 1e-12])
    Q = np.linalg.qr(RNG.standard_normal((2, 2)))[0]
    vectors = Q * sizes  # the factor's columns, standardised: the identity
    white = Covariance(0.0, Q * sizes).whiten(vectors)
    np.testing.assert_allclose(white.T @ white, np.eye(2), atol=1e-3)  # eps / 1e-12


def test_sum_and_scale():
    a, b = (Covariance(x, RNG.standard_normal((5, 3))) for x in (0.1, 2.0))
    np.testing.assert_allclose((a + b.scaled(-3)).dense(), a.dense() + b.dense() / 64, rtol=1e-14)
