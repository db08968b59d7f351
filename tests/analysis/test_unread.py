"""A direction that the product keeps and the loss does not read: known matrices, and an LSTM with saturated outputs."""

import numpy as np
import pytest

from gradscope import JacobianChain, analyze
from gradscope.analysis.unread import leading_direction
from gradscope.networks import cell_class

STEPS = 30


def test_leading_direction_is_the_left_singular_vector():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((STEPS, 5, 5)) / 3
    product = np.linalg.multi_dot(J[::-1])
    left = np.linalg.svd(product)[0][:, 0]
    # the cosine of two rounds settles to 1e-6, and the next singular value is far below
    assert abs(left @ leading_direction(JacobianChain.from_arrays(J))) == pytest.approx(1, abs=1e-5)


def test_a_readout_across_the_kept_direction():
    """Of diag(1, 1e-1, ...) the first direction is kept; a loss that reads the others alone receives 10^-T of it."""
    chain = JacobianChain.from_arrays(np.repeat(np.diag([1.0, 0.1, 0.1, 0.1])[None], STEPS, axis=0))
    across, along = [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    unread = analyze(chain, loss_gradient=across).metrics["unread"]
    assert unread["log10_norm"] == pytest.approx(0, abs=1e-12)
    assert unread["log10_gain"] == pytest.approx(-STEPS, rel=1e-12)
    assert unread["parts"] == {"s": pytest.approx(1)}
    assert "unread" not in analyze(chain, loss_gradient=along).metrics


def test_a_product_that_keeps_nothing_has_no_such_direction():
    chain = JacobianChain.from_arrays(np.repeat(np.diag([0.5, 0.1, 0.1])[None], STEPS, axis=0))
    assert "unread" not in analyze(chain, loss_gradient=[0.0, 1.0, 0.0]).metrics


def test_saturated_lstm_keeps_c_and_reads_h():
    units, inputs = 6, 3
    rng = np.random.default_rng(1)
    b = np.repeat([-40.0, 40.0, 0.0, 0.5], units)  # i, f, g, o: c stays as it is
    W = 0.1 * rng.standard_normal((4 * units, inputs))
    b[: 2 * units] = np.repeat([-1.0, 40.0], units)
    b[2 * units : 3 * units] = 2.0  # c grows at every step, and tanh(c) saturates
    cell = cell_class("lstm")(W, np.zeros((4 * units, units)), b, None)
    result = analyze(cell, rng.standard_normal((8, 60, inputs)), warmup=30)
    assert result.verdict["state"] == "stable"
    (finding,) = [f for f in result.verdict["findings"] if f["code"] == "GS-UNREAD"]
    assert "lies in c" in finding["message"]
    unread = result.metrics["unread"]
    assert unread["parts"]["c"] > 0.99
    assert unread["log10_norm"] == pytest.approx(0, abs=1e-6)
    assert unread["log10_gain"] < -2.5
