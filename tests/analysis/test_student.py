"""Student's t, against its closed forms and scipy."""

import math

import numpy as np
import pytest
import scipy.special

from gradscope.numerics.statistics import student
from gradscope.numerics.student import EXPANSION_ABOVE, quantile


@pytest.mark.parametrize("level", [0.6, 0.9, 0.975, 0.999])
def test_closed_forms(level):
    """One degree: Cauchy's distribution. Two: x = a / sqrt(2 p (1 - p)), a = 2 p - 1."""
    assert quantile(1, level) == pytest.approx(math.tan(math.pi * (level - 0.5)), rel=1e-12)
    assert quantile(2, level) == pytest.approx((2 * level - 1) / math.sqrt(2 * level * (1 - level)), rel=1e-12)


@pytest.mark.parametrize("level", [0.6, 0.975, 0.999])
def test_against_scipy(level):
    many = [*range(1, 80), 99, 100, 501, EXPANSION_ABOVE - 1, EXPANSION_ABOVE, EXPANSION_ABOVE + 1, 5000, 10**6]
    assert [quantile(n, level) for n in many] == pytest.approx(scipy.special.stdtrit(many, level), rel=1e-11)


def test_arrays():
    freedom = np.array([[7, 0, 3], [7, 7, 12]])
    found = student(freedom)
    assert found == pytest.approx(scipy.special.stdtrit(np.maximum(freedom, 1), 0.975), rel=1e-12)
    assert student(4).shape == ()
