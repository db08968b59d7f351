"""Round numbers on axes."""

import pytest

from gradscope.render._ticks import linear


@pytest.mark.parametrize(
    ("low", "high"), [(1, 16), (0.5, 1.5), (0, 2), (0.9, 3.1), (1, 8), (0.99, 1.01), (0, 25), (0, 1e6)]
)
def test_what_is_counted_has_whole_numbers(low, high):
    ticks = linear(low, high, whole=True)
    assert 1 <= len(ticks.at) <= 6
    assert all(float(x).is_integer() for x in ticks.at)
    assert all(low - 1e-6 <= x <= high + 1e-6 for x in ticks.at)


def test_other_axes_may_have_halves():
    assert linear(1, 16).labels == ["2.5", "5.0", "7.5", "10.0", "12.5", "15.0"]
