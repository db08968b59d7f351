"""NRU, step by step for one sequence, as the paper writes it."""

import numpy as np
import pytest

from gradscope import create
from gradscope.errors import UsageError


def naive(cell, x, h, m):
    """One step: outer products, each row divided by its 5-norm, one head after the other."""
    k, M = cell.heads, len(m)
    r = int(np.sqrt(k * M))
    h = np.maximum(cell.U @ h + cell.W @ x + cell.U_m @ m + cell.b_ih + cell.b_hh, 0)
    z = cell.A @ np.concatenate([h, m]) + cell.c
    alpha, beta, (p, q, p_e, q_e) = z[:k], z[k : 2 * k], z[2 * k :].reshape(4, r)
    written, erased = np.outer(p, q).reshape(k, M), np.outer(p_e, q_e).reshape(k, M)
    total = np.zeros(M)
    for j in range(k):
        total += alpha[j] * written[j] / np.linalg.norm(written[j], 5)
        total -= beta[j] * erased[j] / np.linalg.norm(erased[j], 5)
    return h, m + total / k


def test_states_of_a_run():
    cell = create("nru", hidden_size=6, input_size=3, memory=8, heads=2, seed=1)
    rng = np.random.default_rng(0)
    h, m = np.zeros(6), np.zeros(8)
    s = np.zeros((1, 14))
    for x in rng.standard_normal((30, 3)):
        h, m = naive(cell, x, h, m)
        s = cell.step(x[None], s)
        np.testing.assert_allclose(s[0], np.concatenate([h, m]), rtol=1e-11, atol=1e-13)  # errors add up over 30 steps


def test_memory_stays_where_nothing_is_written():
    cell = create("nru", hidden_size=4, input_size=2, memory=4, heads=1)
    rows = np.r_[:2]  # alpha and beta
    A, c = cell.A.copy(), cell.c.copy()
    A[rows], c[rows] = 0, 0
    cell = cell.replace(A=A, c=c)
    s = np.random.default_rng(1).standard_normal(8)
    x = np.ones(2)
    assert np.array_equal(cell.step(x, s)[4:], s[4:])
    J = cell.jacobian(x[None], s[None])
    np.testing.assert_array_equal(J.column(0).dense()[4:, 4:], np.eye(4))


def test_heads_and_memory_make_a_square():
    with pytest.raises(UsageError, match="square"):
        create("nru", memory=10, heads=3)


def test_the_memory_goes_around_the_weights():
    cell = create("nru", hidden_size=5, input_size=3, memory=8, heads=2)
    rng = np.random.default_rng(6)
    J, v = cell.jacobian(rng.standard_normal(3), rng.standard_normal(13)), rng.standard_normal((13, 1))
    around = J.jvp_skip(v)
    assert not around[:5].any() and np.array_equal(around[5:], v[5:])
