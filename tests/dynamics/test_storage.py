"""What is kept of a run decides on memory and time, never on a number."""

import numpy as np
import pytest

from gradscope import analyze, create
from gradscope.analysis._cotangents import Cotangents, gradient_norms
from gradscope.analysis.finite import nonfinite
from gradscope.analysis.paths import paths
from gradscope.dynamics import trajectory
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING, STATES, STORAGE, Plan
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.errors import ResourceError

T, B, M = 83, 3, 2
CELLS = {
    "rnn": ("rnn", {}),
    "gru": ("gru", {}),
    "gru before": ("gru", {"reset": "before"}),
    "lstm": ("lstm", {}),
    "stack": ("lstm", {"layers": 2}),
}
INPUTS = np.random.default_rng(0).standard_normal((B, T, M))
SAME = 1e-12  # products are taken in other groups: a few roundings in each of 83 steps


def chains(name, keep=7):
    """Return one chain for each way of keeping a run."""
    kind, settings = CELLS[name]
    cell = create(kind, hidden_size=5, input_size=M, seed=3, **settings)
    found = {}
    for storage in STORAGE:
        whole = run(cell, INPUTS, warmup=10, keep=keep, storage=storage)
        found[storage] = linearise(whole.after(keep))
    return found


@pytest.mark.parametrize("loss", ["last", "mean"])
@pytest.mark.parametrize("name", CELLS)
def test_norms_and_shares_are_the_same(name, loss):
    found = {}
    for storage, chain in chains(name).items():
        asked = random_loss(chain, loss)
        norms = gradient_norms(chain, asked, keep=not asked.at_every_step)
        share = None if asked.at_every_step else paths(chain, norms)
        assert isinstance(norms.cotangents, Cotangents) == (storage == CHECKPOINTS and loss == "last")
        found[storage] = norms, share
    norms, share = found[EVERYTHING]
    for other, shared in (found[STATES], found[CHECKPOINTS]):
        for part, logs in norms.logs.items():
            np.testing.assert_allclose(other.logs[part], logs, rtol=SAME, atol=SAME)
        if share is not None:
            np.testing.assert_allclose(shared.around_share, share.around_share, rtol=1e-9, atol=1e-11)
            for t in (0, 1, 40, T - 10, -1):
                np.testing.assert_allclose(other.cotangents[t], norms.cotangents[t], rtol=0, atol=SAME)


@pytest.mark.parametrize("name", CELLS)
def test_states_are_the_same_wherever_one_looks(name):
    whole, states, some = (chains(name)[s].trajectory for s in STORAGE)
    assert states.saved == () and some.at is not None and len(some.states) < len(whole.states) / 2
    for start, stop in ((0, 3), (5, 30), (29, 31), (60, 73), (0, 73), (72, 73), (10, 10)):
        for part in (states, some):
            np.testing.assert_allclose(part.window(start, stop).states, whole.window(start, stop).states, atol=SAME)
    for t in (0, 1, 36, 72, 73):
        np.testing.assert_allclose(some.state(t), whole.state(t), atol=SAME)
    part = some.between(1, 3)
    np.testing.assert_allclose(part.window(20, 25).states, whole.window(20, 25).states[..., 1:3], atol=SAME)
    assert [start for start, _ in some.windows(30)] == [0, 30, 60]


def test_the_whole_document_is_the_same():
    cell = create("gru", hidden_size=4, input_size=M, seed=1)
    few = Plan(4, M, 1, T, B).total  # too little for anything that could be computed again
    one, other = (analyze(cell, INPUTS, warmup=5, lags=6, max_memory=limit).to_dict() for limit in (1 << 30, few // 2))
    a, b = (d["series"]["log10_gradient_norm"]["state"]["median"] for d in (one, other))
    np.testing.assert_allclose(a, b, rtol=SAME, atol=SAME)
    for name in ("rate", "lyapunov_1", "around_share"):
        assert one["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-9)


def test_values_that_are_not_finite_are_found_between_checkpoints():
    """A state may pass through infinity and come back: tanh of it is one."""
    cell = create("rnn", hidden_size=3, input_size=M, seed=0)
    inputs = INPUTS.copy()
    inputs[1, 40, 0] = np.nan
    records = [nonfinite(run(cell, inputs, storage=storage)) for storage in STORAGE]
    assert [r.path for r in records[0]] == ["inputs", "states"]
    assert records[1] == records[0] and records[2] == records[0]


def test_as_much_as_fits_is_kept():
    plan = Plan(state=256, inputs=32, weights=0, steps=100_000, batch=1, dense=False, saved=1024)
    everything, states, checkpoints = (next(p for p in plans(plan) if p.storage == s) for s in STORAGE)
    assert everything.total > states.total > checkpoints.total
    for p in (everything, states, checkpoints):
        assert plan.fitting(p.total).storage == p.storage
    assert plan.fitting(checkpoints.total - 1).storage == CHECKPOINTS
    checkpoints.check(checkpoints.total)
    with pytest.raises(ResourceError, match="for inputs"):
        plan.check(230 << 20)


def plans(plan):
    import dataclasses

    return [dataclasses.replace(plan, storage=storage) for storage in STORAGE]


def test_a_million_steps_fit_into_a_gibibyte():
    plan = Plan(state=256, inputs=32, weights=3 * 256 * 290, steps=1_000_000, batch=1, dense=False, saved=1024)
    assert plan.fitting(1 << 30).total <= 1 << 30


def test_pieces_between_checkpoints_are_computed_once_a_pass(monkeypatch):
    """Whichever way, and in whatever blocks: these begin and end inside of pieces."""
    cell = create("gru", hidden_size=3, input_size=2)
    inputs = np.random.default_rng(0).standard_normal((2, 300, 2))
    longer = linearise(run(cell, inputs, warmup=20, keep=20, storage=CHECKPOINTS))
    made = []
    inner = trajectory._recompute
    monkeypatch.setattr(trajectory, "_recompute", lambda path, number: made.append(number) or inner(path, number))
    pieces = list(range(len(longer.trajectory.at) - 1))
    assert len(pieces) > 10 and longer.block_steps < longer.steps
    ways = (lambda: list(longer.passing()), lambda: list(longer.blocks(backward=True)), lambda: longer.first_nonfinite)
    for way in ways:
        longer.trajectory._last.clear()
        made.clear()
        way()
        assert sorted(made) == pieces
