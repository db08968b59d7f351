"""Every cell against the equations of its paper, written once more in `papers`, over fifty steps.

`check_cell` holds a Jacobian against its own step; whether the step is the paper's, only this can tell.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import papers
import pytest

from gradscope import cells, create, plugins
from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import cell_class

FILES = Path(cells.__file__).parent
OURS = [n for n in plugins.names("cells") if (FILES / f"{n}.py").is_file()]  # not those of other packages
CELLS = [n for n in OURS if hasattr(papers, n)]
CASES = [(n, {}) for n in CELLS] + [(n, {k: v}) for n in CELLS for k, vs in cell_class(n).choices.items() for v in vs]
T = 50
BRIEFLY = {"nru": 5}  # its memory grows without bound when weights are drawn like this, and rounding errors faster
# Fifty steps of sums of two dozen terms, each within an epsilon of 2e-16: a thousand times that leaves room for
# growth of old errors, and none for a wrong term, which shows in the first digits.
CLOSE = 1e-12
UNEVEN = 0.3  # by how much every array differs from what is drawn, so that no two entries are equal


def uneven(cell, rng):
    """Return the cell with every array and setting moved, biases too: no term of the formulas is 0 or 1 by chance."""
    arrays = cell.weights()
    zero = {k: np.zeros(cell.rows) for k in ("b_ih", "b_hh") if k == "b_ih" or cell.U is not None}
    moved = {k: w * (1 + UNEVEN * rng.uniform(-1, 1, w.shape)) for k, w in (zero | arrays).items()}
    more = {k: UNEVEN * rng.standard_normal(w.shape) for k, w in moved.items() if k not in {*cell.no_weights, "tau"}}
    settings = {k: 0.7 * v for k, v in cell.settings().items() if type(v) is float}
    return cell.replace(**moved | {k: moved[k] + d for k, d in more.items()}, **settings)


def letters(cell):
    """Return arrays and settings by name; biases that are not there are zero."""
    names = {"W_hr": None, **cell.settings(), **vars(cell)}
    zero = {k: np.zeros(cell.rows) for k in ("b_ih", "b_hh") if names.get(k) is None}
    return SimpleNamespace(**names | zero)


def agree(cell, name, seed):
    """Compare T steps from a random state, one by one and as a run, and the gates of the first one."""
    rng = np.random.default_rng([seed, 7])
    steps = BRIEFLY.get(name, T)
    xs, start = rng.standard_normal((steps, cell.input_size)), rng.standard_normal(cell.state_size)
    wanted = getattr(papers, name)(letters(cell), xs, start)
    assert wanted.shape == (steps, cell.state_size) and np.isfinite(wanted).all()
    assert (np.abs(np.diff(wanted, axis=0)).max(axis=1) > 0).sum() > steps / 3  # there is something to get wrong
    found, s = run(cell, xs, start=start).states[1:, :, 0], start
    for t, x in enumerate(xs):
        s = cell.step(x, s)
        assert np.abs(s - wanted[t]).max() <= CLOSE * np.abs(wanted[: t + 1]).max(), "not the paper's step"
        assert np.abs(found[t] - wanted[t]).max() <= CLOSE * np.abs(wanted[: t + 1]).max(), "not the paper's run"
    if name in papers.GATES:
        gates = cell.gate_values(xs[0][:, None], start[:, None])
        for gate, values in papers.GATES[name](letters(cell), xs[0], start).items():
            assert np.allclose(gates.pop(gate)[:, 0], values, rtol=CLOSE, atol=CLOSE), f"gate {gate} is not the paper's"
        assert not gates, f"{set(gates)} are not in the paper"


def test_no_cell_is_left_out():
    assert CELLS == OURS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "settings"), CASES, ids=["-".join([n, *v.values()]) for n, v in CASES])
def test_fifty_steps(name, settings, seed):
    cell = create(name, hidden_size=6, input_size=3, seed=seed, **settings)
    agree(uneven(cell, np.random.default_rng(seed)), name, seed)


def test_projection():
    rng = np.random.default_rng(3)
    cell = create("lstm", hidden_size=6, input_size=3)
    narrow = cell.replace(U=rng.standard_normal((24, 4)) / 2, W_hr=rng.standard_normal((4, 6)) / 2)
    agree(narrow, "lstm", 1)


@pytest.mark.parametrize("hidden", [8, 16, 20, 24])
def test_heads_of_the_matrix_lstm(hidden):
    cell = uneven(create("mlstm", hidden_size=hidden, input_size=3, seed=hidden), np.random.default_rng(1))
    assert cell.b.shape[1] == {8: 1, 16: 2, 20: 2, 24: 3}[hidden]
    agree(cell, "mlstm", hidden)
