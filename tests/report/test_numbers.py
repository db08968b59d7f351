"""The statistics of the document against numpy, row by row."""

from __future__ import annotations

import numpy as np

from gradscope.report.numbers import band, spread


def test_a_row_with_zeros_does_not_change_the_others():
    values = np.random.default_rng(0).normal(size=(4, 8))
    values[2, :3] = -np.inf
    values[3] = -np.inf
    found = spread(values)
    for row in (0, 1):
        for key, q in (("p05", 5), ("median", 50), ("p95", 95)):
            assert found[key][row] == np.percentile(values[row], q)
    # an order statistic of the values themselves where the lowest are zero
    assert found["median"][2] in values[2]
    assert found["median"][3] == -np.inf
    assert not np.isnan([found[k] for k in found]).any()


def test_mean_square_is_that_of_the_norms():
    log10 = np.array([[0.0, 1.0], [-400.0, -401.0], [-np.inf, -np.inf], [-np.inf, 0.0]])
    want = [np.log10((1 + 100) / 2), -800 + np.log10((1 + 0.01) / 2), -np.inf, np.log10(0.5)]
    # one rounding of log10 near 800 is 1e-13
    np.testing.assert_allclose(band(log10)["mean_square"], want, atol=1e-12)
