"""The map of layers and steps: in which layer does the gradient die?"""

import numpy as np

import gradscope
from gradscope import create
from gradscope.report import section
from gradscope.report.sections import depth

SIZES = {"hidden_size": 5, "input_size": 3}


def found(cell, **options):
    document = gradscope.analyze(cell, steps=30, batch=2, lags=0, **options).to_dict()
    return document, {p.name: p for p in section.panels(document)}


def test_rows_are_the_layers_outputs_and_what_goes_up_from_them():
    document, drawn = found(create("lstm", layers=3, **SIZES))
    heat, series = drawn["layers"].heat, document["series"]["log10_gradient_norm"]
    assert heat.rows == ("l2", "l1", "l0")  # the top layer is at the top
    assert list(heat.x) == list(range(31))
    for row, name in zip(heat.values, ("l2.h", "l1.h_total", "l0.h_total"), strict=True):
        assert list(row) == series[name]["median"][::-1]


def test_one_layer_has_no_map():
    assert "layers" not in found(create("gru", **SIZES))[1]


def test_drawn_also_where_nothing_arrives():
    """Weights of zero: no gradient below the top layer, at any step but the last."""
    for gain in (0.0, 1.0):
        cell = create("rnn", layers=2, gain=gain, **SIZES)
        result = gradscope.analyze(cell, steps=12, batch=2, lags=0)
        heat = {p.name: p for p in section.panels(result.to_dict())}["layers"].heat
        assert any(v is None for v in heat.values[0]) == (gain == 0)
        assert result.report is not None


def test_long_runs_have_few_columns():
    document, drawn = found(create("rnn", layers=2, **SIZES))
    long = {
        k: {q: list(np.resize(v, 5001)) for q, v in band.items()}
        for k, band in document["series"]["log10_gradient_norm"].items()
    }
    document["series"] |= {"log10_gradient_norm": long, "timestep": list(range(5001))}
    heat = {p.name: p for p in section.panels(document)}["layers"].heat
    assert len(heat.x) == len(heat.values[0]) <= depth.COLUMNS
    steps = np.diff(heat.x)
    assert (steps == steps[0]).all()


def norms_table(cell):
    tables = gradscope.analyze(cell, steps=12, batch=2, lags=0).report.tables
    (table,) = [t for t in tables if t.title.startswith("log10 |dL/ds|")]
    return table


def test_the_table_of_norms_has_outputs_of_layers_where_all_parts_do_not_fit():
    cell = create("lstm", layers=8, **SIZES)
    series = gradscope.analyze(cell, steps=12, batch=2, lags=0).series["log10_gradient_norm"]
    table = norms_table(cell)
    assert [c.title for c in table.columns][1:-2] == ["state", "l0", "l2", "l4", "l5", "l7"]
    assert table.title == "log10 |dL/ds| and, per layer, |dL/dh|, median over sequences"
    assert table.rows[0][2] == series["l0.h_total"]["median"][-1] and table.rows[0][6] == series["l7.h"]["median"][-1]
    few = norms_table(create("gru", layers=3, **SIZES))
    assert [c.title for c in few.columns][1:-2] == ["state", "l0.h", "l1.h", "l2.h", "l0.h_total", "l1.h_total"]
