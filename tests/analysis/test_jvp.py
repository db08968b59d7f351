"""Frames pushed in bulk: every way to J V against the matrix itself, and what is made of many steps at once."""

import numpy as np
import pytest

from gradscope import JacobianChain, create
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.kernels import jvp as module
from gradscope.kernels.bound import sum_bound
from gradscope.kernels.jvp import FrameJvps
from gradscope.numerics.qr import log_lengths

EPS = np.finfo(float).eps
CELLS = {
    "rnn": {},
    "gru": {},
    "gru, reset before": {"reset": "before"},
    "lstm": {},
    "linear": {},
    "gru, two layers": {"layers": 2},
}


def along(name, steps=7, batch=1, size=12, **more):
    cell = create(name.split(",")[0], hidden_size=size, input_size=4, seed=3, **CELLS[name], **more)
    return linearise(run(cell, drive("noise", batch, steps, 4, seed=1)))


def matrices(chain, t):
    J = chain.at(t)
    return np.array([np.reshape(J.column(b).dense(), (chain.size, chain.size)) for b in range(chain.batch)])


def pushed(chain, columns, seed=0):
    """Yield (found, wanted, largest sum of absolute values) of every step, of random frames."""
    rng = np.random.default_rng(seed)
    for t, step in enumerate(FrameJvps(chain)):
        frame = rng.standard_normal((chain.batch, columns, chain.size))
        out = np.full_like(frame, np.nan)
        step.chunk.jvps.jvp(step.i, frame, out)
        J = matrices(chain, t).swapaxes(-1, -2)
        yield out, frame @ J, (np.abs(frame) @ np.abs(J)).max()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("columns", [1, 5, 12])
@pytest.mark.parametrize("least", [0, 1e9])
@pytest.mark.parametrize("name", list(CELLS))
def test_both_ways_are_the_matrix(name, least, columns, batch, monkeypatch):
    """Sums of at most 40 terms, of which each may be off by an eps or two."""
    monkeypatch.setattr(module, "GATHERED_COST", least)
    for found, wanted, size in pushed(along(name, batch=batch), columns):
        assert np.abs(found - wanted).max() <= 80 * EPS * size


def test_more_steps_than_are_gathered_at_once(monkeypatch):
    """Slabs, and chunks, end before the run does."""
    chain = along("gru", steps=11, batch=2)
    monkeypatch.setattr(module, "SLAB_MATRICES", 6)
    monkeypatch.setattr(module, "CHUNK_BYTES", 5 * chain.step_bytes)
    assert sum(step.i == 0 for step in FrameJvps(chain)) == 3
    for found, wanted, size in pushed(chain, 12):
        assert np.abs(found - wanted).max() <= 80 * EPS * size


def test_matrices_of_ones_own():
    J = np.random.default_rng(0).standard_normal((5, 3, 6, 6))
    for found, wanted, size in pushed(JacobianChain.from_arrays(J), 4):
        assert np.abs(found - wanted).max() <= 80 * EPS * size


def test_a_step_taken_apart_is_the_same_step():
    """Gates that are shut: the factors, one after the other, are J."""
    chain = along("lstm", steps=12, batch=2, init="gaussian", gain=20.0)
    seen = 0
    for t, step in enumerate(FrameJvps(chain)):
        maps = step.chunk.jvps.factors(step.i)
        seen += len(maps) > 1
        frame = np.tile(np.eye(chain.size), (chain.batch, 1, 1))
        for jvps, j, _ in maps:
            out = np.empty_like(frame)
            jvps.jvp(j, frame, out)
            frame = out
        wanted = matrices(chain, t).swapaxes(-1, -2)
        assert not maps or np.abs(frame - wanted).max() <= 80 * EPS * np.abs(wanted).max()
    assert seen > 6  # most of them


def test_a_network_at_ease_is_not_taken_apart_often():
    """Rows within a factor of 1000, which is all but those whose memory is at zero."""
    chain = along("lstm", steps=40)
    assert sum(bool(step.chunk.jvps.factors(step.i)) for step in FrameJvps(chain)) < 20


@pytest.mark.parametrize("name", list(CELLS))
def test_determinants_of_many_steps_at_once(name):
    chain = along(name, batch=2, size=5)
    for t, step in enumerate(FrameJvps(chain)):
        J = matrices(chain, t)
        error = chain.size * EPS * np.linalg.cond(J)  # of elimination: log|det| moves by the sum of relative errors
        assert (np.abs(step.log_abs_det() - np.linalg.slogdet(J)[1]) <= 10 * error + 1e-13).all()


@pytest.mark.parametrize("name", list(CELLS))
def test_a_bound_is_above_every_sum(name):
    chain = along(name, batch=2)
    bound = sum_bound(chain.reader(chain.steps)(0, chain.steps))
    sums = [np.abs(matrices(chain, t)).sum(axis=a).max() for t in range(chain.steps) for a in (1, 2)]
    assert bound >= max(sums)
    assert bound == np.inf or bound < 1e6 * max(sums)  # or it would say nothing


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_bound(odd):
    J = np.ones((4, 2, 3, 3))
    J[2, 1, 0, 2] = odd
    assert not sum_bound(JacobianChain.from_arrays(J).reader(4)(0, 4)) < np.inf
    cell = create("gru", hidden_size=4, input_size=2, seed=0)
    cell.U[3, 1] = odd
    trajectory = run(cell, np.zeros((1, 3, 2)))
    assert not sum_bound(linearise(trajectory).reader(3)(0, 3)) < np.inf


@pytest.mark.parametrize("lack", [1e-9, 1e-3])
def test_lengths_say_what_a_frame_lacks(lack):
    """Q (I + E): the logarithms on the diagonal of R, whether the square of E counts or not."""
    rng = np.random.default_rng(2)
    Q = np.linalg.qr(rng.standard_normal((20, 8)))[0] @ (np.eye(8) + lack * rng.standard_normal((8, 8)))
    wanted = np.log(np.abs(np.diag(np.linalg.qr(Q)[1])))
    assert log_lengths(Q.T[None])[0] == pytest.approx(wanted, abs=8 * (4 * 1e-7) ** 2 + 40 * EPS)
    lost = np.insert(Q, 3, 0, axis=1)
    assert log_lengths(lost.T[None])[0] == pytest.approx(np.insert(wanted, 3, 0), abs=8 * (4 * 1e-7) ** 2 + 40 * EPS)
