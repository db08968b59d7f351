"""A type of Jacobian that defines only what it must answers every question of maps, kernels and analyses."""

from dataclasses import dataclass

import numpy as np
import pytest

from gradscope import create
from gradscope.analysis.crossings import crossings
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.lyapunov import lyapunov
from gradscope.analysis.products import products
from gradscope.dynamics.chain import JacobianChain
from gradscope.dynamics.loss import random_loss
from gradscope.errors import UsageError
from gradscope.kernels.bound import sum_bound
from gradscope.kernels.columns import jvp_columns
from gradscope.maps import Composite, Jacobian, Linear
from gradscope.maps.row_scaling import factors
from gradscope.testing import check_cell

STEPS, BATCH, SIZE = 9, 3, 4
EPS = float(np.finfo(float).eps)
EXACT = {"rtol": 4 * SIZE * EPS, "atol": 4 * SIZE * EPS}  # sums of SIZE products of numbers near one, in another order


@dataclass(frozen=True, eq=False)
class Least(Linear):
    """The seven members that have no default."""

    matrix: np.ndarray  # (..., B, n, n)

    @property
    def shape(self):
        return self.matrix.shape[-2:]

    @property
    def states(self):
        return self.matrix.shape[-3]

    @property
    def dtype(self):
        return self.matrix.dtype

    def jvp(self, v):
        return np.einsum("bij,jb->ib", np.broadcast_to(self.matrix, (v.shape[1], *self.shape)), v)

    def vjp(self, u):
        return np.einsum("bji,jb->ib", np.broadcast_to(self.matrix, (u.shape[1], *self.shape)), u)

    def at(self, index):
        return Least(self.matrix[index])

    def column(self, b):
        return Least(self.matrix[..., b : b + 1, :, :])


@pytest.fixture
def matrices():
    return np.random.default_rng(0).standard_normal((STEPS, BATCH, SIZE, SIZE)) / np.sqrt(SIZE)


def test_what_has_no_default():
    assert Linear.__abstractmethods__ == {"states", "dtype", "jvp", "vjp", "at", "column"}


def test_defaults(matrices):
    J, rng = Least(matrices).at(2), np.random.default_rng(1)
    u, v = rng.standard_normal((2, SIZE, BATCH))
    np.testing.assert_array_equal(J.dense(), matrices[2])
    np.testing.assert_array_equal(J.dense(float, skip=False), matrices[2])
    np.testing.assert_allclose(J.column(1) @ v[:, 1], matrices[2, 1] @ v[:, 1], **EXACT)
    np.testing.assert_allclose(J.column(1).T @ u[:, 1], matrices[2, 1].T @ u[:, 1], **EXACT)
    around, through = J.jvp_split(v)
    assert not around.any()
    np.testing.assert_array_equal(through, J.jvp(v))
    shares = J.path_shares(u, v)
    np.testing.assert_allclose(shares.through["through"], (u * J.jvp(v)).sum(axis=0), **EXACT)
    assert not J.vjp_within(u).any()
    assert J.without_weights() is None
    assert J.vjp_input(u).shape == (0, BATCH)
    assert not J.jvp_input(np.zeros((0, BATCH))).any()
    with pytest.raises(UsageError, match="Least has no derivative in the input"):
        J.jvp_input(np.ones((2, BATCH)))
    assert J.log_abs_det() is None
    assert not J.diagonal
    assert [f.map for f in factors(J)] == [J]
    assert sum_bound(J) == np.inf
    frame = rng.standard_normal((SIZE, BATCH * 2))
    expected = np.concatenate([matrices[2, b] @ frame[:, 2 * b : 2 * b + 2] for b in range(BATCH)], axis=1)
    np.testing.assert_allclose(jvp_columns(J, frame), expected, **EXACT)


def test_analyses(matrices):
    """Every number is that of the same matrices: sums of nine steps, in another order, of well conditioned products."""
    known = JacobianChain.from_arrays(matrices)
    least = JacobianChain(
        lambda start, stop: Least(matrices[start:stop]), STEPS, BATCH, known.sizes, known.outputs, dtype=known.dtype
    )
    loss = random_loss(known, "sum")
    allowed = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(gradient_norms(least, loss).state, gradient_norms(known, loss).state, **allowed)
    np.testing.assert_allclose(lyapunov(least, burn=2).exponents, lyapunov(known, burn=2).exponents, **allowed)
    np.testing.assert_allclose(products(least).log_singular, products(known).log_singular, **allowed)
    shares = [crossings(c, gradient_norms(c, random_loss(c), keep=True)).share for c in (least, known)]
    np.testing.assert_allclose(*shares, **allowed)
    assert least.first_nonfinite is None


@pytest.mark.parametrize("name", ["lem", "scrn"])
def test_parts_are_followed_through_maps_of_any_type(name):
    """What maps after an opaque one add to the cotangent of a part that it computes is the same as before."""
    cell, rng = create(name, hidden_size=SIZE, input_size=2), np.random.default_rng(2)
    J = cell.jacobian(rng.standard_normal(2), rng.standard_normal(cell.state_size))
    first, *others = J.maps
    assert first.grids.within is None
    opaque = Composite((Least(first.dense()[None]), *others))
    u = rng.standard_normal((cell.state_size, 1))
    assert J.vjp_within(u).any()
    np.testing.assert_allclose(opaque.vjp_within(u), J.vjp_within(u), **EXACT)


def test_a_skip_path_is_compared_with_the_map_without_weights(monkeypatch):
    cell = create("gru", hidden_size=SIZE, input_size=2)
    check_cell(cell)
    monkeypatch.setattr(Jacobian, "without_weights", Linear.without_weights)
    with pytest.raises(AssertionError, match="Jacobian has a skip path and does not define without_weights"):
        check_cell(cell)
