"""How roads are shown: the large ones as curves, the slight ones by name, and results of before they were known."""

import copy

import pytest

from gradscope import analyze, create
from gradscope.report.present import from_document
from gradscope.report.sections.paths import SLIGHT, VISIBLE


@pytest.fixture(scope="module")
def document():
    return analyze(create("lstm", layers=2, hidden_size=6, input_size=3), steps=60, batch=3, lags=4).document


def panel(document, name):
    return next((p for p in from_document(document).panels if p.name == name), None)


def test_the_large_roads_are_drawn_and_the_others_named(document):
    document = copy.deepcopy(document)
    means = document["metrics"]["gate_share"]
    means |= dict.fromkeys(means, 0.5 * SLIGHT) | {"l0 to l1": 3 * SLIGHT, "l1.g": -0.5, "l1.f": 0.2}
    road = panel(document, "road")
    shares = document["series"]["paths"]["gate_share"]
    assert [c.label for c in road.curves] == ["skip path", "l0 to l1", "weights of l1.f", "weights of l1.g"]
    assert road.curves[3].y == shares["l1.g"][::-1]  # by steps back
    assert road.note.endswith("not drawn: l0.i, l0.f, l0.g, l0.o, l1.i, l1.o")
    kinds = [(c.role, c.style) for c in road.curves]
    assert len(set(kinds)) == len(kinds)
    gates = {b.label: b.role for b in panel(document, "gates").bars}
    assert gates["l1.g"] == road.curves[3].role  # one colour in both panels


def test_crossings_are_drawn_where_they_can_be_seen(document):
    found, crossed = panel(document, "crossings"), document["series"]["paths"]["crossings"]
    bar = VISIBLE * max(abs(x) for x in crossed["share"])
    (curve,) = found.curves
    assert abs(curve.y[0]) >= bar and abs(curve.y[-1]) >= bar
    assert set(zip(curve.x, curve.y, strict=True)) < set(zip(crossed["count"], crossed["share"], strict=True))
    missing = set(crossed["share"]) - set(curve.y)
    assert max(abs(x) for x in missing) < bar
    assert crossed["cancellation"] > 1.1  # a mean over shares of both signs is none
    assert "times" not in found.title
    assert f"add up to {crossed['cancellation']:.3g}" in found.note
    one_sign = copy.deepcopy(document)
    one_sign["series"]["paths"]["crossings"]["cancellation"] = 1.0
    assert f"{crossed['mean']:.3g} on average in 60 steps" in panel(one_sign, "crossings").title


def test_results_from_before_gates_were_told_apart(document):
    old = copy.deepcopy(document)
    del old["metrics"]["gate_share"], old["series"]["paths"]["gate_share"], old["series"]["paths"]["crossings"]
    assert [c.label for c in panel(old, "road").curves] == ["skip path"]
    assert panel(old, "crossings") is None
    assert "Gradient paths: skip path vs. recurrent weights" not in [t.title for t in from_document(old).tables]


def test_the_table_adds_up(document):
    (table,) = [
        t for t in from_document(document).tables if t.title == "Gradient paths: skip path vs. recurrent weights"
    ]
    names, shares, _ = zip(*table.rows, strict=True)
    assert names[0] == "skip path"
    assert "input weights, l0 to l1" in names
    assert sum(shares[:-1]) == pytest.approx(1, abs=1e-12)
    assert names[-1] == "weight crossings, signed mean"
    assert shares[-1] == f"{document['series']['paths']['crossings']['mean']:.3g}"
