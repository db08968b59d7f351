"""Series of very long runs leave steps out: what is printed of them stands beside the step that it belongs to."""

import pytest

from gradscope import analyze, create, plugins
from gradscope.report import numbers


@pytest.fixture(params=[36, 37, 44])
def thinned(request, monkeypatch):
    """A run whose series have a third, a quarter, or a fifth of its steps."""
    monkeypatch.setattr(numbers, "LONGEST_SERIES", 12 if request.param == 36 else 10)
    return analyze(create("lstm", hidden_size=4, input_size=2), steps=request.param, lags=4)


@pytest.mark.parametrize("format", plugins.names("render"))
def test_every_format_is_written(thinned, format):  # noqa: A002  the word of the command line
    assert thinned.render(format)


def test_rows_are_of_the_steps_that_they_name(thinned):
    series, (table,) = thinned.series, [t for t in thinned.report.tables if t.title.startswith("log10 |dL/ds|")]
    names = [c.title for c in table.columns]
    steps = series["timestep"][-1]
    lags = [row[0] for row in table.rows]
    assert lags == sorted(set(lags))
    assert (lags[0], lags[-1]) == (0, steps)
    assert len(lags) > 4
    for row in table.rows:
        at = series["timestep"].index(steps - row[0])
        for name in ("state", "c_total"):
            assert row[names.index(name)] == series["log10_gradient_norm"][name]["median"][at]
        assert row[-2] == series["log10_gradient_norm"]["state"]["p05"][at]
