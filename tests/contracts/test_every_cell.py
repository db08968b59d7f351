"""Every file in the room of cells, with every initialisation, setting and depth, keeps the rules of `check_cell`."""

import drawing
import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.checking.create import directions
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.kernels.bound import sum_bound
from gradscope.networks.cell import cell_class
from gradscope.networks.stack import Direction, Stack
from gradscope.testing import check_cell

CELLS = plugins.names("cells")


def variants(name):
    """All values of one setting at a time."""
    return [{}] + [{key: value} for key, values in cell_class(name).choices.items() for value in values]


def gain(name, factor):
    """Return what scales the recurrent weights, where there are any."""
    return factor if cell_class(name).recurrent_weights else 1.0


CASES = [(name, v) for name in CELLS for v in variants(name)]
IDS = ["-".join([n, *v.values()]) for n, v in CASES]


@pytest.mark.parametrize("name", CELLS)
def test_class(name):
    check_cell(cell_class(name))


INSTANCES = [(n, v, i) for n, v in CASES for i in plugins.names("inits") if drawing.draws(i, n)]


@pytest.mark.parametrize(
    ("name", "settings", "init"), INSTANCES, ids=["-".join([n, *v.values(), i]) for n, v, i in INSTANCES]
)
def test_instance_of_every_init(name, settings, init):
    check_cell(create(name, hidden_size=4, input_size=3, init=init, seed=1, **settings), seed=1)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_stack(name, settings, layers):
    check_cell(create(name, hidden_size=3, input_size=2, layers=layers, gain=gain(name, 2.0), seed=2, **settings))


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_stack_with_something_between(name, settings):
    way = {"residual": True, "norm": "layer"}
    check_cell(create(name, hidden_size=4, input_size=2, layers=3, gain=gain(name, 2.0), seed=4, **way, **settings))


@pytest.mark.parametrize("name", CELLS)
def test_large_weights_and_one_unit(name):
    """Gates well inside their curved ranges, and sizes of one."""
    check_cell(create(name, hidden_size=7, input_size=1, gain=gain(name, 5.0)))
    check_cell(create(name, hidden_size=1, input_size=1))


@pytest.mark.parametrize("name", CELLS)
def test_direction(name):
    network = directions(name, hidden_size=3, input_size=2, layers=2)
    assert list(network) == ["l0", "l0.reverse", "l1", "l1.reverse"]
    for cell in network.values():
        assert isinstance(cell, Direction)
        check_cell(cell)
    assert network["l1"].input_size == 2 * network["l0"].output.stop
    assert network["l1"].network_input_size == 2


def projected_lstm(hidden=5, width=3, inputs=2, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"W": (4 * hidden, inputs), "U": (4 * hidden, width), "b_ih": 4 * hidden, "b_hh": 4 * hidden}
    return cell_class("lstm")(
        **{k: rng.uniform(-0.7, 0.7, n) for k, n in shapes.items()}, W_hr=rng.uniform(-0.7, 0.7, (width, hidden))
    )


def test_projected_lstm():
    cell = projected_lstm()
    assert cell.sizes == {"h": 3, "c": 5}
    check_cell(cell)
    check_cell(Stack({"l0": cell, "l1": projected_lstm(4, 2, 3)}))


@pytest.mark.parametrize("name", CELLS)
def test_without_biases(name):
    check_cell(create(name, hidden_size=4, input_size=3).replace(b_ih=None, b_hh=None))


def test_layers_of_different_kinds():
    check_cell(
        Stack({"a": create("gru", hidden_size=3, input_size=2), "b": create("lstm", hidden_size=4, input_size=3)})
    )


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_matrix_of_one_state_and_its_bound(name, settings, dtype, layers):
    cell = create(name, hidden_size=5, input_size=2, layers=layers, gain=gain(name, 2.0), seed=3, **settings)
    cell = cell.astype(dtype) if layers == 1 else cell
    chain = linearise(run(cell, np.random.default_rng(0).standard_normal((3, 6, 2))))
    found = 0.0
    for _, J in chain.forward():
        for b in range(3):
            one = J.column(b)
            assert one.dense(float).dtype == np.float64
            unit, eps = np.eye(chain.size), 20 * np.finfo(np.float64).eps
            around, through = one.jvp_split(unit)
            assert np.allclose(one.dense(float), around + through, rtol=0, atol=eps)
            assert np.allclose(one.dense(float, skip=False), through, rtol=0, atol=eps)
            found = max(found, np.abs(one.dense(float)).sum(axis=0).max(), np.abs(one.dense(float)).sum(axis=1).max())
    block = cell.linearise(chain.trajectory.inputs, chain.trajectory.states[:-1])
    assert found <= sum_bound(block) * (1 + 1e-6)  # sums in single precision
