"""Operations of a run: counts that follow from its sizes."""

from dataclasses import replace

import pytest

from gradscope.dynamics.budget import Plan, operations

PLAN = Plan(state=10, inputs=3, weights=10 * 13, steps=70, batch=4)
MORE = {
    "recurrent": 100,
    "measured": 50,
    "replayed": 90,
    "values": 5,
    "lags": 6,
    "sequences": 4,
    "spectra": 7,
    "paths": True,
}


def test_products_with_matrices_by_hand():
    parts = operations(PLAN, **MORE)
    assert parts["running the cell"] == 2 * 130 * 70 * 4  # a multiplication and an addition each
    assert parts["gradients"] == parts["paths"] == 2 * 100 * 50 * 4
    assert parts["memory"] == 2 * 130 * 90
    assert parts["spectra of single steps"] == 7 * (25 + 4) * 10**3
    assert list(parts)[2:] == [
        "paths",
        "memory",
        "products",
        "Lyapunov exponents",
        "eigenvalues of the product",
        "spectra of single steps",
    ]


def test_without_spectra():
    parts = operations(replace(PLAN, dense=False), **MORE | {"paths": False})
    assert list(parts) == ["running the cell", "gradients", "memory"]


@pytest.mark.parametrize(
    ("name", "part"), [("values", "Lyapunov exponents"), ("lags", "products"), ("measured", "products")]
)
def test_more_takes_more(name, part):
    assert operations(PLAN, **MORE | {name: 2 * MORE[name]})[part] > operations(PLAN, **MORE)[part]
