"""Forward steps of other libraries in float32, beside those of the cells here."""

import numpy as np

from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import cell_class

T, B, M, H = 20, 3, 5, 16
# Rounding in float32 is 6e-8; sums of twenty terms below one, summed in another order, come to a few of it, and gates
# let through less than they get.
CLOSE = 1e-6


def inputs(seed=0):
    return np.random.default_rng([seed, 21]).standard_normal((B, T, M)).astype(np.float32)


def made(name, **arrays):
    """Return a cell of float32 arrays; what is no array is a setting."""
    given = {k: np.array(w, np.float32) if np.ndim(w) else w for k, w in arrays.items()}
    cell = cell_class(name)(**{"W": None, "U": None, "b_ih": None, "b_hh": None} | given)
    assert cell.dtype == np.float32
    return cell


def states(cell, xs):
    """Return {part: (B, T, n)} of a run from zeros."""
    rows = run(cell, xs).states[1:].transpose(2, 0, 1)
    assert rows.dtype == np.float32
    ends = np.cumsum([0, *cell.sizes.values()])
    return {p: rows[..., i:j] for p, i, j in zip(cell.sizes, ends[:-1], ends[1:], strict=True)}


def agree(cell, xs, **theirs):
    """Compare every part that is given, at every step, and twenty steps at once with one at a time."""
    found = states(cell, xs)
    for part, wanted in theirs.items():
        wanted = np.asarray(wanted)
        assert wanted.dtype == np.float32 and wanted.shape == found[part].shape
        assert np.abs(wanted[:, -1]).max() > 0.05  # something was computed
        assert np.abs(found[part] - wanted).max() <= CLOSE * max(1, np.abs(wanted).max())
    s, steps = np.zeros((B, cell.state_size), np.float32), []
    for t in range(T):
        s = cell.step(xs[:, t], s)
        steps.append(s)
    whole = np.concatenate(list(found.values()), axis=-1)
    assert np.abs(np.stack(steps, axis=1) - whole).max() <= CLOSE * max(1, np.abs(whole).max())
