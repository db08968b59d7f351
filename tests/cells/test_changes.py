"""What `--remedies` tries: each change does to the weights what its name says, and nothing else."""

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.checking.create import directions
from gradscope.networks.cell import cell_class
from gradscope.networks.changes import with_added_bias, with_orthogonal
from gradscope.networks.gate import Gate, keep_signs
from gradscope.networks.stack import Direction, Stack

SIZES = {"hidden_size": 6, "input_size": 3}
EPS = np.finfo(float).eps


def total(cell):
    """The sum of the two biases, by gate; a bias that is not there is zero."""
    b = sum((np.zeros(len(cell.U)) if b is None else b) for b in (cell.b_ih, cell.b_hh))
    return dict(zip(cell.gates, b.reshape(len(cell.gates), -1), strict=True))


def same_but(cell, changed, *fields):
    return all(np.array_equal(w, changed.weights()[k]) for k, w in cell.weights().items() if k not in fields)


@pytest.mark.parametrize("without", [(), ("b_ih",), ("b_hh",), ("b_ih", "b_hh")])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_bias_is_added_to_the_sum_of_the_two(name, without):
    cell = create(name, **SIZES).replace(**dict.fromkeys(without))
    gate = next(iter(keep_signs(cell.gates)))
    for d in (1.0, np.arange(6.0)):
        changed = with_added_bias(cell, gate, d)
        for g, b in total(cell).items():
            # one addition, and the sum of two biases: a rounding each
            np.testing.assert_allclose(total(changed)[g], b + (d if g == gate else 0), rtol=4 * EPS, atol=4 * EPS)
        assert same_but(cell, changed, "b_ih", "b_hh")
        assert sum(b is None for b in (changed.b_ih, changed.b_hh)) == min(len(without), 1)


@pytest.mark.parametrize(("name", "word"), [("lstm", "forget"), ("gru", "update")])
def test_names_say_what_is_done(name, word):
    cell = create(name, **SIZES)
    changes = cell.changes(2.0, 100)
    x, s = np.random.default_rng(0).standard_normal((2, 4, 12))
    x, s = x[:, :3], s[:, : cell.state_size]
    for d in (1, 3):
        gate = next(iter(keep_signs(cell.gates)))
        b = cell.b_ih.copy()
        b[list(cell.gates).index(gate) * 6 :][:6] += d
        expected = type(cell)(W=cell.W, U=cell.U, b_ih=b, b_hh=cell.b_hh)
        np.testing.assert_array_equal(changes[f"{word} bias +{d}"]().step(x, s), expected.step(x, s))
    for factor in (2, 3):  # the square of 2 is above the largest that is tried
        changed = changes[f"recurrent weights times {factor}"]()
        np.testing.assert_array_equal(changed.U, factor * cell.U)
        assert same_but(cell, changed, "U")
    assert not any("orthogonal" in c for c in changes)


def test_a_gate_that_forgets_when_open_gets_the_opposite_sign():
    class Forgets(cell_class("gru")):
        gates = cell_class("gru").gates | {"z": Gate("update", keeps=-1)}

    cell = Forgets(**{k: getattr(create("gru", **SIZES), k) for k in ("W", "U", "b_ih", "b_hh")})
    changed = cell.changes(2.0, 100)["update bias -3"]()
    np.testing.assert_allclose(total(changed)["z"], total(cell)["z"] - 3, rtol=4 * EPS)


def test_chrono_biases_are_spread_over_the_time_scales():
    """u is uniform on 1 to T - 1: its mean is T / 2, and half the units lie on either side."""
    cell = create("lstm", hidden_size=50, input_size=3)
    changed = cell.changes(2.0, 80)["chrono biases for 80 steps"]()
    u = np.exp(total(changed)["f"])
    assert u.mean() == pytest.approx(40, rel=1e-12)
    assert 1 < u.min() < u.max() < 79
    np.testing.assert_allclose(np.diff(np.sort(u)), 78 / 50, rtol=1e-10)
    np.testing.assert_allclose(total(changed)["i"], -np.log(u), rtol=1e-10)
    for gate in ("g", "o"):
        np.testing.assert_array_equal(total(changed)[gate], total(cell)[gate])


def test_nothing_is_offered_that_is_there_already():
    for seed in range(5):
        chrono = create("lstm", init="chrono", tmax=200, seed=seed)
        assert not any("chrono" in c for c in chrono.changes(2.0, 200))
        assert any("chrono" in c for c in chrono.changes(2.0, 2000))
    assert not any("chrono" in c for c in create("gru", update_bias=8, **SIZES).changes(2.0, 200))
    assert not any("orthogonal" in c for c in create("rnn", init="orthogonal", **SIZES).changes(2.0, 200))
    assert list(create("rnn", gain=0.0, **SIZES).changes(2.0, 200)) == []
    assert list(create("rnn", init="orthogonal", **SIZES).changes(1.0, 200)) == []


def test_where_gradients_explode_no_gate_is_opened_and_no_weight_is_larger():
    for name in ("lstm", "gru"):
        cell = create(name, **SIZES)
        changes = cell.changes(0.5, 100)
        assert list(changes) == ["recurrent weights times 0.5", "recurrent weights times 0.25"]
        np.testing.assert_array_equal(changes["recurrent weights times 0.25"]().U, cell.U / 4)


@pytest.mark.parametrize("missing", [1.03, 0.997, 0.5, 1e-30, 1.9])
def test_a_factor_is_what_its_name_says(missing):
    cell = create("linear", **SIZES)
    for name, make in cell.changes(missing, 100).items():
        if "times" in name:
            assert np.array_equal(make().U, cell.U * float(name.rsplit(" ", 1)[1]))
            # rounded to three digits, to five where it is near to one
            assert any(float(name.rsplit(" ", 1)[1]) == pytest.approx(k, rel=5e-3) for k in (missing, missing**2, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_orthogonal_weights_are_orthogonal_and_nearest(dtype):
    cell = create("rnn", hidden_size=20, input_size=3, dtype=dtype)
    changed = with_orthogonal(cell)
    Q, U, tolerance = changed.U, cell.U, 100 * np.finfo(dtype).eps  # 20 products a row, and those of the decomposition
    assert Q.dtype == dtype
    np.testing.assert_allclose(Q @ Q.T, np.eye(20), atol=tolerance)
    # the polar factor is the one for which Q^T U is symmetric and has no negative eigenvalue
    H = Q.T @ U
    np.testing.assert_allclose(H, H.T, atol=tolerance)
    assert np.linalg.eigvalsh(H).min() > -tolerance
    assert same_but(cell, changed, "U")


def test_orthogonal_gate_by_gate():
    cell = create("gru", **SIZES)
    for block in np.split(with_orthogonal(cell).U, 3):
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=100 * EPS)


def test_layers_are_changed_together():
    stack = create("lstm", layers=2, **SIZES)
    changed = stack.changes(2.0, 100)["forget bias +1 in 2 layers"]()
    for name, cell in stack.layers.items():
        np.testing.assert_allclose(total(changed.layers[name])["f"], total(cell)["f"] + 1, rtol=4 * EPS)


def test_of_mixed_layers_those_change_that_know_how():
    stack = Stack({"a": create("rnn", **SIZES), "b": create("lstm", hidden_size=6, input_size=6)})
    changes = stack.changes(2.0, 100)
    assert {"forget bias +1 in 1 layer", "orthogonal recurrent weights in 1 layer"} < set(changes)
    changed = changes["forget bias +1 in 1 layer"]()
    assert changed.layers["a"] is stack.layers["a"]
    both = changes["recurrent weights times 2 in 2 layers"]()
    assert all(np.array_equal(both.layers[n].U, 2 * c.U) for n, c in stack.layers.items())


def test_a_direction_stays_one():
    cell = directions("gru", layers=2, **SIZES)["l1.reverse"]
    changed = cell.changes(2.0, 100)["recurrent weights times 2"]()
    assert isinstance(changed, Direction)
    assert changed.reverse
    assert changed.below is cell.below
    np.testing.assert_array_equal(changed.cell.U, 2 * cell.cell.U)


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_a_change_keeps_what_else_there_is(name):
    """Settings, projections and precision are those of the cell."""
    cell = create(name, dtype=np.float32, **SIZES)
    for make in cell.changes(2.0, 100).values():
        changed = make()
        assert changed.dtype == np.float32
        assert changed.changed_settings() == cell.changed_settings()


def test_settings_survive():
    cell = create("gru", reset="before", **SIZES)
    assert all(make().reset == "before" for make in cell.changes(2.0, 100).values())
    plain = create("lstm", **SIZES)
    projected = plain.replace(W_hr=np.ones((2, 6)), U=plain.U[:, :2])
    assert all(make().W_hr is projected.W_hr for make in projected.changes(2.0, 100).values())
