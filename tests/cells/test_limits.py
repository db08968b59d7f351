"""Settings that the formulas cannot take are refused with the interval that they have to lie in."""

import pytest

from gradscope import create, plugins
from gradscope.errors import UsageError
from gradscope.networks.cell import cell_class

LIMITED = [(name, setting) for name in plugins.names("cells") for setting in cell_class(name).limits]


def ends(name, setting):
    """Return the interval of a setting, with other settings at their defaults."""
    cls = cell_class(name)
    interval = cls.limits[setting]
    named = [end.strip() for end in interval[1:-1].split(",")]
    return interval, [float(cls.settings()[end]) if end in cls.settings() else float(end) for end in named]


@pytest.mark.parametrize(("name", "setting"), LIMITED)
def test_ends(name, setting):
    interval, (low, high) = ends(name, setting)
    whole = isinstance(cell_class(name).settings()[setting], int)
    for end, bracket, beyond in ((low, interval[0], -1), (high, interval[-1], 1)):
        if abs(end) == float("inf"):
            continue
        outside = [end + beyond] + ([] if bracket in "[]" else [end])
        for value in outside:
            with pytest.raises(UsageError, match=setting):
                create(name, hidden_size=4, input_size=2, **{setting: value})
        if bracket in "[]" and not (whole and end > 100):  # as large as that takes memory
            create(name, hidden_size=4, input_size=2, **{setting: end})


@pytest.mark.parametrize(("name", "setting"), LIMITED)
def test_the_default_lies_inside(name, setting):
    _, (low, high) = ends(name, setting)
    assert low <= cell_class(name).settings()[setting] <= high


def test_a_cell_of_one_s_own_arrays_is_checked_too():
    cell = create("leaky", hidden_size=3, input_size=2)
    with pytest.raises(UsageError, match=r"alpha must lie in \(0, 1\], not 1.5"):
        cell.replace(alpha=1.5)
    with pytest.raises(UsageError, match=r"dt_min must lie in \(0, dt_max\], not 0.2"):
        create("s4d", hidden_size=3, dt_min=0.2)
