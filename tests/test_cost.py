"""How long a run takes: terms that grow as the work does, and a fit that finds the speeds of a known machine."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gradscope import analyze, api, from_step
from gradscope.analysis import products
from gradscope.cost import START, Size, called, evaluations, features, fit, predict, rough_seconds
from gradscope.dynamics import chain
from gradscope.dynamics.budget import STATES

GRU = Size(state=64, recurrent=3 * 64**2, weights=3 * 64 * 96, steps=200, warmup=50, batch=8, values=16, lags=32)
SIZES = [
    replace(GRU, state=n, recurrent=3 * n * n, weights=3 * n * (n + 32), steps=T, batch=B, values=min(n, k))
    for n in (16, 64, 128, 400)
    for T in (50, 300)
    for B in (1, 8)
    for k in (8, n)
]


def machine(rng):
    """Return speeds for every term of every part."""
    return {part: rng.uniform(0.2, 5, len(terms)).tolist() for size in SIZES for part, terms in features(size).items()}


def test_a_known_machine_is_found_again():
    speeds = machine(np.random.default_rng(0))
    found = fit([(size, predict(size, speeds)) for size in SIZES])
    assert set(found) == set(speeds)
    others = [replace(s, steps=3 * s.steps, batch=4) for s in SIZES]
    for size in others:
        wanted, got = (predict(size, x) for x in (speeds, found))
        assert set(wanted) == set(got)
        for part in wanted:
            # terms that are nearly proportional in all runs can stand for one another: the sum is what is known
            assert got[part] == pytest.approx(wanted[part], rel=0.02), part


def test_a_machine_that_is_noisy():
    """Ten per cent of noise in every measurement, and predictions as good as that."""
    rng = np.random.default_rng(1)
    speeds = machine(rng)
    rows = [(s, {p: x * rng.normal(1, 0.1) for p, x in predict(s, speeds).items()}) for s in SIZES]
    found = fit(rows)
    for size in SIZES:
        assert sum(predict(size, found).values()) == pytest.approx(sum(predict(size, speeds).values()), rel=0.3)
    assert min(min(terms) for terms in found.values()) >= 0


@pytest.mark.parametrize("name", ["state", "steps", "batch", "values"])
def test_more_takes_longer(name):
    least = replace(GRU, batch=1, values=8)
    more = replace(least, **{name: 4 * getattr(least, name)})
    if name == "state":
        more = replace(more, recurrent=16 * least.recurrent, weights=16 * least.weights)
    for part, terms in features(least).items():
        if name == "state" and part == "spectra of single steps":
            continue  # of fewer steps, so that it does not
        assert sum(features(more)[part]) >= sum(terms), part
    assert rough_seconds(more) > rough_seconds(least)


def test_parts_are_those_of_the_run():
    """Their names are what a run tells when they begin: estimates are found by them."""
    from gradscope import analyze, create

    told = []
    analyze(create("gru", hidden_size=4, input_size=2), steps=20, lags=3, progress=told.append)
    parts = list(dict.fromkeys(text.partition(":")[0] for text in told))
    assert parts == [*(part for part in features(GRU) if part != START), "report"]
    told.clear()
    analyze(create("rnn", hidden_size=4, input_size=2), steps=20, lags=0, progress=told.append)
    assert told == [*(p for p in features(replace(GRU, lags=0, roads=False)) if p != START), "report"]


def test_what_is_not_known_is_left_out():
    speeds = {"gradients": [1.0] * 4, "products": [1.0]}  # of another version: another number of terms
    assert set(predict(GRU, speeds)) == {"gradients"}
    assert fit([]) == {}


def counted(n, T, B, k, lags, warmup):
    """Return how many steps and Jacobians of one sequence each part of a run takes."""
    rng, now = np.random.default_rng(0), [""]
    U, W = rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal((n, 3))
    seen = {"step": Counter(), "jacobian": Counter()}

    def step(x, s):
        seen["step"][now[0]] += 1
        return np.tanh(U @ s + W @ x)

    def jacobian(x, s):
        seen["jacobian"][now[0]] += 1
        return (1 - step(x, s) ** 2)[:, None] * U

    def told(text):
        now[0] = text.partition(":")[0]

    cell = from_step(step, state_size=n, input_size=3, jacobian=jacobian)
    for counts in seen.values():
        counts.clear()
    analyze(cell, steps=T, batch=B, spectrum=k, lags=lags, warmup=warmup, progress=told)
    steps = seen["step"] - seen["jacobian"]  # those that the Jacobian calls are not the run's
    return {p: (steps[p], seen["jacobian"][p]) for p in (*seen["step"], *seen["jacobian"])}


RUNS = [
    (n, T, B, k, lags, w)
    for n, T, B in ((4, 60, 3), (5, 40, 1))
    for k, lags in ((2, 6), (5, 6), (2, 0))
    for w in (0, 30, 130)
]


@pytest.mark.parametrize(("n", "T", "B", "k", "lags", "w"), RUNS)
def test_calls_of_a_function_are_those_of_the_run(n, T, B, k, lags, w):
    k = min(n, k)
    assert evaluations(Size(n, n * n, 0, T, w, B, k, lags, roads=False)) == counted(n, T, B, k, lags, w)


@pytest.fixture
def short(monkeypatch):
    """Let memory be short, so that no Jacobians are kept of a run."""
    monkeypatch.setattr(api, "_storage", lambda *_, **__: STATES)


@pytest.mark.parametrize(("n", "T", "B", "k", "lags", "w"), RUNS)
@pytest.mark.parametrize("sequences", [0, 1, "all", "and before"])
def test_calls_where_memory_is_short(monkeypatch, short, sequences, n, T, B, k, lags, w):
    """Up to those of single steps, two in a part, and to a factor of two where a part goes along until it is sure."""
    room = {"all": T * B, "and before": (T + min(w, 100)) * B}
    many = room[sequences] if sequences in room else sequences * T
    monkeypatch.setattr(chain, "STORED_BYTES", 8 * n * n * many)
    k = min(n, k)
    found = evaluations(Size(n, n * n, 0, T, w, B, k, lags, roads=False, remade=True))
    wanted = counted(n, T, B, k, lags, w)
    for part in {*found, *wanted}:
        steps, jacobians = found.get(part, (0, 0))
        took = wanted.get(part, (0, 0))
        assert steps == took[0], part
        factor = 1 if sequences else 2
        assert took[1] / factor - 2 * B <= jacobians <= took[1] * factor + 2 * B, part


def test_calls_for_every_lag(monkeypatch, short):
    """Large states are not multiplied out: for each lag, columns are pushed and pulled through it a few times."""
    monkeypatch.setattr(chain, "STORED_BYTES", 0)
    monkeypatch.setattr(products, "FORMED", 4)
    for lags in (3, 12):
        found = evaluations(Size(8, 64, 0, 80, 20, 2, 3, lags, roads=False, remade=True))["products"][1]
        assert found == pytest.approx(counted(8, 80, 2, 3, lags, 20)["products"][1], rel=0.5)


def test_calls_are_added_to_what_is_predicted():
    function = replace(GRU, roads=False, own=(2.0, 3.0))
    counts = evaluations(function)
    assert called(function) == {p: 2.0 * a + 3.0 * b for p, (a, b) in counts.items()}
    assert called(GRU) == {}
    bare = replace(function, own=None)
    speeds = machine(np.random.default_rng(2))
    before, after = predict(bare, speeds), predict(function, speeds)
    assert {p: after[p] - before[p] for p in counts} == pytest.approx(called(function))
    assert predict(function, {}) == called(function)
    assert rough_seconds(function) - rough_seconds(bare) == pytest.approx(sum(called(function).values()))
