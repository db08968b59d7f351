"""The matrix LSTM without its stabiliser: what is lost, and what is not."""

import numpy as np
import pytest

from gradscope import create
from gradscope.dynamics.trajectory import run

HIDDEN, INPUTS, STEPS = 6, 3, 40


def sigma(a):
    return 1 / (1 + np.exp(-a))


def example():
    """One head, whose gates see the input."""
    rng = np.random.default_rng(4)
    cell = create("mlstm", hidden_size=HIDDEN, input_size=INPUTS)
    assert cell.b.shape == (2, 1)
    return cell.replace(w=rng.standard_normal((2, INPUTS))), rng.standard_normal((STEPS, INPUTS)), rng


def stabilised(cell, xs):
    """Beck et al. (2024): C, n and m after each step, and the factor on the old C and n at each."""
    C, n, m = np.zeros((HIDDEN, HIDDEN)), np.zeros(HIDDEN), 0.0
    for x in xs:
        i, f = cell.w @ x + cell.b[:, 0]
        k, v = np.split(cell.W @ x + cell.b_ih, 2)
        new = max(np.log(sigma(f)) + m, i)
        keep, write, k = np.exp(np.log(sigma(f)) + m - new), np.exp(i - new), k / np.sqrt(HIDDEN)
        C, n, m = keep * C + write * np.outer(v, k), keep * n + write * k, new
        yield C, n, m, keep


def test_the_stabiliser_changes_no_output():
    """C q / max(|n . q|, 1) of the state here is (e^-m C) q / max(|e^-m n . q|, e^-m) of the paper's."""
    cell, xs, rng = example()
    states = run(cell, xs).states[1:, :, 0]
    sides = set()
    for s, (C, n, m, _) in zip(states, stabilised(cell, xs), strict=True):
        q = rng.standard_normal(HIDDEN)
        rows = s.reshape(HIDDEN + 1, HIDDEN)
        sides.add(bool(abs(rows[-1] @ q) > 1))
        found = rows[:-1] @ q / max(abs(rows[-1] @ q), 1)
        # a sum of 40 outer products, each within a few roundings; q may cancel some of it
        scale = np.abs(rows[:-1]).sum(axis=1) * np.abs(q).max() / max(abs(rows[-1] @ q), 1)
        assert (np.abs(found - C @ q / max(abs(n @ q), np.exp(-m))) <= 1e-12 * scale).all()
    assert sides == {True, False}  # both arms of the maximum


def test_gradients_with_the_stabiliser():
    """Over a run, those of e^-m C are those of C times e^(m before - m after), and m does not depend on C."""
    cell, xs, _ = example()
    states = run(cell, xs).states[:-1, :, 0]
    raw = np.prod([cell.jacobian(x, s).dense()[0, 0] for x, s in zip(xs, states, strict=True)])
    _, _, ms, keeps = zip(*stabilised(cell, xs), strict=True)
    assert ms[-1] != 0
    assert np.prod(keeps) == pytest.approx(raw * np.exp(0 - ms[-1]), rel=1e-12)  # 40 factors of a few roundings


def test_highest_log_i():
    cell, xs, _ = example()
    found = cell.properties(xs[:, :, None], np.zeros((STEPS, cell.state_size, 1)))["highest log i"].value
    assert found == pytest.approx(max(cell.w[0] @ x + cell.b[0, 0] for x in xs), rel=1e-14)
    big = cell.replace(b=cell.b + [[710.0 - found], [0.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(run(big, xs).states).all()
        fine = cell.replace(b=cell.b + [[690.0 - found], [0.0]])  # 40 terms of e^690 times k v: below e^709
        assert np.isfinite(run(fine, xs).states).all()


def test_untrained_gates_see_no_input():
    """As `reset_parameters` of the authors' code has it."""
    cell = create("mlstm", hidden_size=16, input_size=3)
    x = np.random.default_rng(0).standard_normal((5, 3))
    J = [cell.jacobian(one, np.zeros(cell.state_size)).dense() for one in x]
    assert all((j == J[0]).all() for j in J)
    heads = np.repeat(sigma(np.linspace(3, 6, 2)), 8 * 9)
    np.testing.assert_allclose(np.diag(J[0]), heads, rtol=1e-14)
