"""Overflow at lower precision: powers of two, and NumPy's own limits of the formats."""

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain
from gradscope.analysis.precision import largest_states, overflow_lags
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING
from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import cell_class
from gradscope.numerics.formats import LARGEST_FINITE

LN2 = np.log(2.0)
NONE = dict.fromkeys(LARGEST_FINITE)


def overflow(result):
    return [f for f in result.verdict["findings"] if f["code"] == "GS-OVERFLOW"]


def doubling(steps, factor=2.0):
    """h' = factor h + x: with x = 1 at the first step only, h_t = factor^(t - 1)."""
    cell = cell_class("linear")(np.ones((1, 1)), np.full((1, 1), factor), None, None)
    x = np.zeros((2, steps, 1))
    x[:, 0] = 1
    return cell, x


def test_limits_of_the_formats():
    for name in ("float32", "float16"):
        assert LARGEST_FINITE[name] == float(np.finfo(name).max)
    bits = np.array([0x7F7F0000], np.uint32)  # bfloat16 is the upper half of a float32; its largest is 0x7F7F
    assert LARGEST_FINITE["bfloat16"] == float(bits.view(np.float32)[0])


def test_lags_of_powers_of_two():
    """2^15 < 65504 < 2^16; the largest numbers of the other two are just below 2^128."""
    logs = LN2 * np.arange(200, -1, -1.0)[:, None]
    assert overflow_lags(logs) == {"float32": 128, "bfloat16": 128, "float16": 16}
    assert overflow_lags(logs[-101:]) == NONE | {"float16": 16}
    assert overflow_lags(-logs) == NONE
    assert overflow_lags(logs + 16 * LN2)["float16"] == 0  # a loss gradient that does not fit
    assert overflow_lags(np.full((5, 1), np.nan)) == NONE


def test_the_median_decides():
    logs = np.arange(20, -1, -1.0)[:, None] * np.array([0.1, 1.0, 9.0])
    assert overflow_lags(logs) == NONE | {"float16": 12}  # e^11 < 65504 < e^12


def test_a_peak_overflows_where_it_is():
    logs = np.zeros((31, 1))
    logs[20] = 12.0  # ten steps back, and nowhere else
    assert overflow_lags(logs) == NONE | {"float16": 10}


def test_own_jacobians():
    result = gradscope.analyze(JacobianChain.from_arrays(np.full((40, 1, 1), 2.0)), loss_gradient=np.ones(1))
    assert result.metrics["overflow_lag"] == NONE | {"float16": 16}
    assert "largest_state" not in result.metrics
    (finding,) = overflow(result)
    assert "of float16 (65504) at lag 16." in finding["message"]
    assert "float32" not in finding["message"]


def test_states():
    """h_t = 2^(t - 1) exceeds 65504 at t = 17."""
    result = gradscope.analyze(*doubling(40))
    assert result.metrics["largest_state"] == 2.0**39
    assert result.metrics["state_overflow_step"] == NONE | {"float16": 17}
    (finding,) = overflow(result)  # one, on gradients and states
    assert "States reach 5.5e11 and exceed the largest number of float16 (65504) from step 17 on." in finding["message"]
    long = gradscope.analyze(*doubling(140))
    assert long.metrics["state_overflow_step"] == {"float32": 129, "bfloat16": 129, "float16": 17}
    rows = {row[0]: row for row in long.report.tables[0].rows}
    assert rows["largest state"][1:] == (
        2.0**139,
        "overflows float32 and bfloat16 (3.4e38) from step 129 on, float16 (65504) from step 17 on",
    )
    assert [rows[f"overflow in {n}"][1] for n in LARGEST_FINITE] == [128, 128, 16]


def test_nothing_is_said_where_nothing_overflows():
    result = gradscope.analyze(*doubling(40, factor=1.0))
    assert result.metrics["largest_state"] == 1
    assert result.metrics["overflow_lag"] == result.metrics["state_overflow_step"] == NONE
    assert not overflow(result)
    assert not any("overflow" in row[0] or row[0] == "largest state" for row in result.report.tables[0].rows)


@pytest.mark.parametrize("storage", [EVERYTHING, CHECKPOINTS])
def test_largest_states_with_any_storage(storage):
    cell = gradscope.create("lstm", hidden_size=4, input_size=2)
    x = np.random.default_rng(0).standard_normal((3, 600, 2))
    naive = np.abs(run(cell, x).states).max(axis=(1, 2))
    assert largest_states(run(cell, x, storage=storage)) == pytest.approx(naive, rel=1e-15)
