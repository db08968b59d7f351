"""How long a run takes: terms that grow as the work does, and a fit that finds the speeds of a known machine."""

from dataclasses import replace

import numpy as np
import pytest

from gradscope.cost import START, Size, features, fit, predict, rough_seconds

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
