"""Time constants of units, from the shortest to the longest."""

import math

import numpy as np

from gradscope import analyze, create
from gradscope.report import section


def found(cell, **options):
    document = analyze(cell, steps=20, batch=2, **options).document
    return document, {p.name: p for p in section.panels(document)}


def test_a_state_space_has_the_time_constants_of_its_poles():
    cell = create("lru", hidden_size=6, input_size=2, seed=3)
    document, drawn = found(cell)
    want = np.repeat(np.sort(np.exp(-cell.nu)), 2)  # |a| = exp(-exp(nu)), in both sequences
    series = document["series"]["time_constant"]
    np.testing.assert_allclose(series["steps"], want, rtol=1e-12)
    assert series["share"] == np.linspace(0, 1, 12).tolist()
    np.testing.assert_allclose(drawn["times"].curves[0].y, np.log10(want), rtol=1e-12, atol=1e-15)
    assert drawn["times"].note == ""


def decays(*factors):
    """Units of h <- a h + 1, all of them on the straight side of relu."""
    n = len(factors)
    cell = create("indrnn", hidden_size=n, input_size=1)
    return cell.replace(W=np.zeros((n, 1)), b_ih=np.ones(n), u=np.array(factors))


def test_what_has_no_logarithm_is_said():
    document, drawn = found(decays(1.0, 0.5, 0.0), warmup=0)
    t = document["series"]["time_constant"]["steps"]
    assert t[0] == t[1] == 0.0 and t[4] is None and t[5] is None
    np.testing.assert_allclose(t[2:4], -1 / math.log(0.5), rtol=1e-12)
    assert drawn["times"].note == "some are zero; some are infinite; not drawn"
    assert [y is None for y in drawn["times"].curves[0].y] == [True, True, False, False, True, True]


def test_cells_whose_units_see_one_another_have_none():
    document, drawn = found(create("gru", hidden_size=3, input_size=2))
    assert "time_constant" not in document["series"] and "times" not in drawn


def test_all_of_one_kind():
    for factors, words in (((1.0, 1.0), "all are infinite"), ((0.0, 0.0), "all are zero")):
        panel = found(decays(*factors), warmup=0)[1]["times"]
        assert panel.nothing == words and panel.note == ""
