"""What the table of cells says of each is true of its derivatives: products, cost, the road around."""

import re

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.cli._cells import describe
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.maps.composition import Composite
from gradscope.maps.jacobian import Dense
from gradscope.networks.cell import cell_class

CELLS = plugins.names("cells")
UNITS = 32  # a multiple of every cell's heads


def chain(name, hidden=UNITS, **settings):
    cell = create(name, hidden_size=hidden, input_size=3, **settings)
    return linearise(run(cell, np.random.default_rng(0).standard_normal((2, 6, 3))))


def there(entry):
    """Tell whether a grid has an entry: the integer 0 stands for none."""
    return not (isinstance(entry, int) and entry == 0)


def products(J):
    """Count the numbers of all matrices that multiply what depends on the old state, in units of H x H."""
    maps = J.maps if isinstance(J, Composite) else (J,)
    depends, total = [True] * len(maps[0].old), 0
    for m in maps:
        crosses = m.U is not None and depends[m.reads]
        total += m.U.size if crosses else 0
        depends = [
            any(there(e) and d for e, d in zip(row, depends, strict=True)) or (crosses and any(map(there, gates)))
            for row, gates in zip(m.around, m.through, strict=True)
        ]
    return total / UNITS**2


@pytest.mark.parametrize("name", CELLS)
def test_products(name):
    found = chain(name)
    if isinstance(J := found.at(3), Dense):  # put together as one matrix: of its weights, those of H x H
        cell = found.trajectory.cell
        counted = sum(w.shape == (UNITS, UNITS) for w in cell.weights().values())
    else:
        counted = products(J)
    assert counted == describe(name)["products"]


def largest_around(name, **settings):
    """Return the largest entry of what goes around, along a few steps."""
    found = chain(name, **settings)
    eye = np.eye(found.size)
    return max(np.abs(J.column(b).jvp_skip(eye)).max() for _, J in found.forward() for b in range(2))


@pytest.mark.parametrize("name", CELLS)
def test_road_around(name):
    said = describe(name)["around"]
    if isinstance(said, str):  # a setting, and the bound that its default is not below
        key, value = re.fullmatch(r"(\w+) < (\S+)", said).groups()
        assert not cell_class(name).settings()[key] < float(value)
        assert largest_around(name, **{key: float(value) / 2}) > 0
    assert (largest_around(name) > 0) == (said is True)


@pytest.mark.parametrize("name", CELLS)
def test_cost(name):
    """O(H): units apart, and so much state a unit; O(H^2): a matrix; a setting in the cost multiplies the state."""
    said = describe(name)["cost"]
    assert chain(name).diagonal == (not said.endswith("^2)")) == (describe(name)["products"] == 0)
    if more := re.fullmatch(r"O\(\(H \+ (\w+)\)\^2\)", said):
        usual = cell_class(name).settings()[more[1]]
        assert [chain(name, **{more[1]: k * usual}).size for k in (1, 4)] == [UNITS + usual, UNITS + 4 * usual]
        return
    factor = re.fullmatch(r"O\(H (\w+)\)", said)
    per_unit = chain(name).size / UNITS
    assert chain(name, 2 * UNITS).size == 2 * UNITS * per_unit
    if factor:
        usual = cell_class(name).settings()[factor[1]]
        sizes = [chain(name, **{factor[1]: k * usual}).size / UNITS for k in (1, 2, 4)]
        assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0]) > 0  # linear in it
        assert sizes[0] <= 2 * usual  # parts of so many each, or one more row
    else:
        assert said in ("O(H)", "O(H^2)")


@pytest.mark.parametrize("name", CELLS)
def test_ranges_of_gates(name):
    """A gate has two ends just where no input is large enough to get it out of them."""
    choices = [{k: v} for k, values in cell_class(name).choices.items() for v in values]
    for settings in choices or [{}]:
        cell, rng = create(name, hidden_size=16, input_size=3, **settings), np.random.default_rng(0)
        with np.errstate(over="ignore", invalid="ignore"):  # gates and states that are exponentials
            gates = cell.gate_values(1e3 * rng.standard_normal((3, 50)), rng.standard_normal((cell.state_size, 50)))
        ends = {g for g, (low, high) in cell.gate_ranges.items() if np.isfinite([low, high]).all()}
        assert ends == {g for g, values in gates.items() if np.abs(values).max() < 2}


@pytest.mark.parametrize("name", CELLS)
def test_settings_and_paper(name):
    row, cls = describe(name), cell_class(name)
    own = {k: v for k, v in cls.settings().items() if isinstance(v, int | float | str)}
    assert row["settings"] == own | dict.fromkeys(cls.bias_settings())
    assert row["choices"] == {k: list(v) for k, v in cls.choices.items()}
    assert row["init"] == cls.usual_init in plugins.names("inits")
    assert re.fullmatch(r"\D+ (19|20)\d\d", row["paper"])
