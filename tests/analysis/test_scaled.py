"""Numbers with an exponent of their own, and where values stop being finite."""

import numpy as np
import pytest

from gradscope import create
from gradscope.analysis.finite import nonfinite
from gradscope.dynamics.trajectory import run
from gradscope.numerics.nonfinite import NonFinite, nonfinite_in
from gradscope.numerics.scaled import LN2, add, log_norm, rescale

ZERO = np.zeros(1, np.int64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rescaling_is_exact(dtype):
    info = np.finfo(dtype)
    for value in (1.0, 3.0, info.tiny, info.smallest_subnormal, info.max, 0.7):
        u = np.array([[value], [value / 3]], dtype)
        new, exponent = rescale(u, ZERO + 5)
        assert new.dtype == dtype
        assert 0.5 <= np.abs(new).max() < 1
        assert np.array_equal(np.ldexp(new.astype(np.longdouble), int(exponent[0]) - 5), u.astype(np.longdouble))


def test_rescaling_zero_and_non_finite():
    for value in (0.0, np.inf, np.nan):
        new, exponent = rescale(np.array([[value]]), ZERO + 3)
        assert np.array_equal(new, [[value]], equal_nan=True)
        assert exponent[0] == 3


def test_columns_have_their_own_scale():
    u = np.array([[1e-200, 1e200, 3.0], [0.0, 1e199, 4.0]])
    new, exponent = rescale(u, np.zeros(3, np.int64))
    logs = log_norm(new, exponent)
    assert logs == pytest.approx([np.log(1e-200), np.log(1e200) + np.log(1.01) / 2, np.log(5)], rel=1e-15)


def test_log_norm():
    assert log_norm(np.zeros((3, 1)), ZERO)[0] == -np.inf
    assert np.isnan(log_norm(np.array([[np.inf]]), ZERO)[0])
    assert np.isnan(log_norm(np.array([[np.nan], [1.0]]), ZERO)[0])
    assert log_norm(np.full((4, 1), 1e-300), ZERO)[0] == pytest.approx(np.log(2e-300), rel=1e-15)
    assert log_norm(np.ones((1, 1)), ZERO - 10_000)[0] == -10_000 * LN2


@pytest.mark.parametrize("gap", [0, 1, 52, 53, 2000, 10**6])
@pytest.mark.parametrize("sign", [1, -1])
def test_adding_across_scales(gap, sign):
    """3 2^gap + 1 in either order: below 2^-53 of the larger the smaller is lost, and rightly."""
    u, direct = np.array([[3.0]]), np.array([[1.0]])
    value, exponent = add(u, ZERO + sign * gap, direct)
    wanted = np.logaddexp(np.log(3) + sign * gap * LN2, 0.0)
    assert log_norm(value, exponent)[0] == pytest.approx(wanted, rel=1e-15, abs=4e-16)


def test_adding_zeros():
    one, none = np.array([[1.5]]), np.array([[0.0]])
    value, exponent = add(none, ZERO - 5000, one)
    assert log_norm(value, exponent)[0] == pytest.approx(np.log(1.5), rel=1e-15)
    value, exponent = add(one, ZERO - 5000, none)
    assert log_norm(value, exponent)[0] == pytest.approx(np.log(1.5) - 5000 * LN2, rel=1e-15)
    value, exponent = add(none, ZERO - 5000, none)
    assert log_norm(value, exponent)[0] == -np.inf
    value, exponent = add(one, ZERO, -one)
    assert log_norm(value, exponent)[0] == -np.inf


def test_finding_what_is_not_finite():
    a = np.zeros((3, 4))
    assert nonfinite_in("data", a) == []
    a[1, 2] = a[2, 0] = np.nan
    a[0, 3] = np.inf
    a[2, 3] = -np.inf
    assert nonfinite_in("data", a) == [
        NonFinite("data", "nan", 2, (1, 2)),
        NonFinite("data", "inf", 1, (0, 3)),
        NonFinite("data", "-inf", 1, (2, 3)),
    ]


def test_finding_it_along_a_run():
    cell = create("rnn", hidden_size=3, input_size=2)
    inputs = np.zeros((2, 5, 2))
    assert nonfinite(run(cell, inputs)) == []
    inputs[1, 3, 0] = np.nan
    records = {r.path: r for r in nonfinite(run(cell, inputs))}
    assert set(records) == {"inputs", "states"}
    assert records["inputs"].first == (3, 0, 1)  # step, input, sequence
    assert (records["states"].first, records["states"].count) == ((4, 0, 1), 6)  # the state after step 3, and the next
    U = cell.U.copy()
    U[2, 1] = np.inf
    with np.errstate(invalid="ignore"):
        records = nonfinite(run(cell.replace(U=U), np.zeros((1, 2, 2))))
    assert records[0] == NonFinite("model.weights.U", "inf", 1, (2, 1))
