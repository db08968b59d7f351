"""The largest singular value of one matrix."""

import numpy as np
import pytest
import scipy.linalg

from gradscope import analyze, create
from gradscope.numerics.power import log_spectral_norm


@pytest.mark.parametrize("n", [1, 2, 50, 64, 100, 128])
def test_orthogonal_matrices_have_norm_one(n):
    """All values of one size are what routines for one eigenvalue stumble over."""
    for seed in range(8):
        Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
        assert abs(log_spectral_norm(Q)) <= n * np.finfo(float).eps  # of sums of n products
        assert abs(log_spectral_norm(3 * Q) - np.log(3)) <= n * np.finfo(float).eps


def test_where_a_routine_for_one_eigenvalue_gives_up(monkeypatch):
    inner, asked = scipy.linalg.eigvalsh, []

    def fails(matrix, **how):
        asked.append(how)
        if "subset_by_index" in how:
            raise scipy.linalg.LinAlgError("Internal Error.")
        return inner(matrix, **how)

    monkeypatch.setattr(scipy.linalg, "eigvalsh", fails)
    A = np.random.default_rng(0).standard_normal((6, 6))
    assert log_spectral_norm(A) == pytest.approx(np.log(np.linalg.norm(A, 2)), abs=1e-14)
    assert len(asked) == 2


@pytest.mark.parametrize("hidden", [50, 64, 128])
def test_orthogonal_networks_are_measured(hidden):
    result = analyze(create("exprnn", hidden_size=hidden, input_size=4), steps=30, batch=1)
    assert np.isfinite(result.metrics["log10_product"]["spectral_norm"])
