"""log|det J| in closed form, against LU of the dense matrix and against the formulas of the papers."""

import dataclasses

import drawing
import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.maps import jacobian
from gradscope.maps.composition import Composite
from gradscope.maps.jacobian import Dense, Grids, Jacobian
from gradscope.maps.row_scaling import factors
from gradscope.maps.stacked import Stacked
from gradscope.networks.cell import cell_class

EPS = np.finfo(float).eps
CELLS = [(n, {}) for n in plugins.names("cells")] + [("rnn", {"activation": "relu"}), ("gru", {"reset": "before"})]


def point(cell, states=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((cell.input_size, states)), rng.standard_normal((cell.state_size, states))


def against_dense(J):
    """d log|det J| = tr(J^-1 E), at most n |J^-1| |E|; LU and the entries of J itself give |E| <= n eps |J|."""
    stated = J.log_abs_det()
    assert stated.shape == (J.states,) and stated.dtype == np.float64
    for b in range(J.states):
        dense = J.column(b).dense()
        n, values = len(dense), np.linalg.svd(dense, compute_uv=False)
        if values[-1] <= n * EPS * values[0]:  # the dense matrix does not know
            with np.errstate(divide="ignore"):
                assert stated[b] <= np.log(values[:-1]).sum() + np.log(2 * n * EPS * values[0])
            continue
        room = n * n * EPS * values[0] / values[-1] + n * EPS * np.abs(np.log(values)).sum()
        assert abs(stated[b] - np.linalg.slogdet(dense)[1]) <= room


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("init", plugins.names("inits"))
@pytest.mark.parametrize(("name", "settings"), CELLS, ids=["-".join([n, *s.values()]) for n, s in CELLS])
def test_every_cell_and_initialisation(name, settings, init, layers):
    if not drawing.draws(init, name):
        return
    cell = create(name, hidden_size=6, input_size=3, layers=layers, init=init, seed=3, **settings)
    J = cell.linearise(*point(cell))
    if J.log_abs_det() is not None:
        against_dense(J)
    known = J.unit_blocks() is not None or name in ("rnn", "lstm", "linear")
    assert not known or J.log_abs_det() is not None


def test_lstm_is_the_formula():
    """Sum of log f, of log|o' tanh(c')|, and log|det U_o|."""
    cell = create("lstm", hidden_size=32, input_size=4, seed=2)
    x, s = point(cell)
    gates, c = cell.gate_values(x, s), cell.evolve(x, s)[32:]
    o = gates["o"]
    want = np.log(gates["f"]).sum(0) + np.log(np.abs(o * (1 - o) * np.tanh(c))).sum(0)
    want += np.linalg.slogdet(cell.U[96:])[1]
    assert np.abs(cell.linearise(x, s).log_abs_det() - want).max() <= 32 * 32 * EPS * np.abs(want).max()


def test_saturated_units_do_not_underflow():
    """1 - tanh(a)^2 is zero for |a| > 19; its logarithm is log 4 - 2|a| - 2 log(1 + exp(-2|a|))."""
    cell = create("rnn", hidden_size=64, input_size=2, seed=1)
    x, s = point(cell)
    x = 1000 * x
    a = np.abs(cell.U @ s + (cell.b_hh + cell.b_ih)[:, None] + cell.W @ x)
    assert 19 < a.max() < 370  # exp(-2 * 370) is a number still
    want = (np.log(4) - 2 * a - 2 * np.log1p(np.exp(-2 * a))).sum(0) + np.linalg.slogdet(cell.U)[1]
    assert want.max() < -2000  # the smallest number is e^-745
    assert np.abs(cell.linearise(x, s).log_abs_det() / want - 1).max() <= 64 * 64 * EPS


def test_a_dead_unit_is_minus_infinity():
    cell = create("rnn", activation="relu", hidden_size=3, input_size=1).replace(b_ih=np.array([-9.0, 9, 9]))
    assert np.isneginf(cell.linearise(*point(cell)).log_abs_det()).all()
    J = Jacobian(Grids([], [[np.zeros((3, 2)), 0], [0, 1.0]]), None, None, 0, (3, 3), (3, 3))
    assert np.isneginf(J.log_abs_det()).all()


def diagonal(around, within=None, units=4):
    parts = (units,) * len(around)
    return Jacobian(Grids([[] for _ in around], around, within=within), None, None, 0, parts, parts)


def test_diagonal_grids():
    rng = np.random.default_rng(0)
    a, b, c, d, e = rng.standard_normal((5, 4, 3))
    one = diagonal([[a]]).log_abs_det()
    assert np.abs(one - np.log(np.abs(a)).sum(0)).max() <= 8 * EPS * np.abs(np.log(np.abs(a))).sum(0).max()
    for grid in ([[a, b], [c, d]], [[a, b], [c, 0.5]], [[a, b, 0], [c, d, e], [e, 0, a]], [[0, b], [2.0, 0]]):
        against_dense(diagonal(grid))
    assert (
        np.isneginf(diagonal([[a, 2 * a], [b, 2 * b]]).log_abs_det()).all()
        or (diagonal([[a, 2 * a], [b, 2 * b]]).log_abs_det() < -100).all()
    )


def test_moduli_and_symplectic_steps():
    """A complex diagonal has det = |lambda|^2 a unit; [[1 - e k, e], [-k, 1]] has 1."""
    rng = np.random.default_rng(1)
    re, im, e, k = rng.uniform(0.1, 1, (4, 4, 3))
    want = np.log(re**2 + im**2).sum(0)
    assert np.abs(diagonal([[re, -im], [im, re]]).log_abs_det() - want).max() <= 100 * EPS
    assert np.abs(diagonal([[1 - e * k, e], [-k, 1]]).log_abs_det()).max() <= 100 * EPS
    # y' = y + e z' within the step, as in a symplectic Euler step: [[1, 0], [-k, 1]] is left
    assert np.abs(diagonal([[1 - e * k, e], [-k, 1]], within=[[0, e], [0, 0]]).log_abs_det()).max() <= 100 * EPS


def peephole(seed=0, within=True):
    """Three gates, two of which see c, and an output gate that sees c'; all numbers at random."""
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((16, 4))
    di, df, dg, do, k, e = rng.standard_normal((6, 4, 3))
    through = [[e * di, e * df, e * dg, do], [di, df, dg, 0]]
    parts = Grids(through, [[0, e * k], [0, k]], within=[[0, e], [0, 0]] if within else None)
    want = np.log(np.abs(k)).sum(0) + np.log(np.abs(do)).sum(0) + np.linalg.slogdet(U[12:])[1]
    return Jacobian(parts, U, None, 0, (4, 4), (4, 4)), want


def test_peephole():
    J, want = peephole()
    against_dense(J)
    assert np.abs(J.log_abs_det() - want).max() <= 1000 * EPS
    assert peephole(within=False)[0].log_abs_det() is None  # nothing says that the rows are multiples


def test_parts_in_any_order():
    """The same map with c first and h second."""
    J, want = peephole()
    p = J.grids
    swapped = Grids(p.through[::-1], [r[::-1] for r in p.around[::-1]], within=[[0, 0], [p.within[0][1], 0]])
    turned = Jacobian(swapped, J.U, None, 1, J.old, J.new)
    assert np.abs(turned.log_abs_det() - want).max() <= 1000 * EPS


def test_parts_that_owe_to_each_other_have_none():
    e = np.full((4, 3), 0.5)
    assert diagonal([[e, e], [e, 2 * e]], within=[[0, e], [e, 0]]).log_abs_det() is None


def test_projection_has_none():
    rng = np.random.default_rng(0)
    lstm = cell_class("lstm")(
        rng.standard_normal((20, 2)), rng.standard_normal((20, 3)), None, None, W_hr=rng.standard_normal((3, 5))
    )
    assert lstm.linearise(*point(lstm)).log_abs_det() is None


def test_maps_in_a_row_and_layers():
    (a, _), (b, _) = peephole(1), peephole(2)
    row = Composite((a, b))
    assert np.abs(row.log_abs_det() - a.log_abs_det() - b.log_abs_det()).max() <= 100 * EPS
    against_dense(row)
    gru = create("gru", hidden_size=3, input_size=4)
    assert Stacked((a, gru.linearise(*point(gru, 3))), (4, 3)).log_abs_det() is None


def test_dense():
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((3, 4, 4))
    assert np.array_equal(Dense(matrices).log_abs_det(), np.linalg.slogdet(matrices)[1])
    assert Dense(matrices[0]).log_abs_det().shape == (1,)
    assert Dense(matrices[:, :2]).log_abs_det() is None


def test_weights_are_factorised_once_and_are_never_stale(monkeypatch):
    cell = create("lstm", hidden_size=6, input_size=3)
    x, s = point(cell)
    calls = []
    monkeypatch.setattr(jacobian, "log_abs", lambda m, log=jacobian.log_abs: calls.append(1) or log(m))
    over_time = cell.linearise(np.stack([x, -x, 2 * x]), np.stack([s, -s, s / 2]))
    for t, k in enumerate((1, -1, 2)):
        alone = cell.linearise(k * x, (s, -s, s / 2)[t]).log_abs_det()
        assert np.abs(over_time.at(t).log_abs_det() - alone).max() <= 100 * EPS
    assert len(calls) == 4  # once for all steps, and once for each that was made alone
    twice = dataclasses.replace(over_time.at(0), U=2 * cell.U)
    assert np.abs(twice.log_abs_det() - over_time.at(0).log_abs_det() - 6 * np.log(2)).max() <= 100 * EPS


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_parts_of_a_step_with_dead_units(dtype):
    """Zeros among the slopes, in either precision: no warning, and the parts multiply to J."""
    cell = create("rnn", hidden_size=6, input_size=2, activation="relu", seed=0, dtype=dtype)
    x, s = point(cell, states=1)
    J = cell.jacobian(x[:, 0].astype(dtype), s[:, 0].astype(dtype))
    made = np.eye(6)
    for factor in factors(J):
        made = factor.map.jvp(made)
    assert len(factors(J)) == 2
    assert np.abs(made - J.jvp(np.eye(6))).max() <= 1e-15


def test_a_step_that_no_gate_passes():
    """A grid without any path through the weights, as is left of gates that are all shut."""
    J = Jacobian(Grids([[0]], [[np.full((3, 1), 0.5)]]), np.eye(3), None, 0, (3,), (3,))
    assert (J.vjp(np.ones((3, 1))) == 0.5).all()
