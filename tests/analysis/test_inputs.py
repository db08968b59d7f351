"""Raw inputs that shut the gates: statistics against NumPy, and units whose saturation is known in closed form."""

import json

import numpy as np
import pytest

import gradscope
from gradscope.analysis.inputs import LARGE, column_statistics, large_columns, standardised
from gradscope.checking.create import directions
from gradscope.cli.app import main
from gradscope.networks.cell import cell_class


def findings(result):
    return [f for f in result.verdict["findings"] if f["code"] == "GS-RAW-INPUTS"]


def unit(weight, bias=0.0, **settings):
    """h' = tanh(weight x + bias), one unit for each of two inputs."""
    return cell_class("rnn")(weight * np.eye(2), np.zeros((2, 2)), np.full(2, bias), None, **settings)


def raw(mean, sd=1.0, steps=60, batch=3):
    """Return two columns: one of this mean and standard deviation, and one of noise."""
    x = np.random.default_rng(0).standard_normal((batch, steps, 2))
    x[..., 0] = mean + sd * x[..., 0]
    return x


@pytest.mark.parametrize("factor", [1.0, 1e200, 1e-200])
def test_statistics_are_those_of_numpy(factor):
    x = np.random.default_rng(0).standard_normal((700, 3, 4)) * [[2.0], [30.0], [0.0]] + [[1.0], [-800.0], [7.0]]
    mean, sd = column_statistics(x * factor)
    assert mean == pytest.approx(x.mean(axis=(0, 2)) * factor, rel=1e-12)
    assert sd == pytest.approx(x.std(axis=(0, 2)) * factor, rel=1e-12, abs=1e-13 * factor)
    y = standardised(x, *column_statistics(x))
    assert y.mean(axis=(0, 2)) == pytest.approx(np.zeros(3), abs=1e-12)
    assert y.std(axis=(0, 2)) == pytest.approx([1, 1, 0], abs=1e-12)


def test_statistics_of_single_precision_are_in_double():
    x = (1e4 + np.random.default_rng(0).standard_normal((5000, 1, 1))).astype(np.float32)
    mean, sd = column_statistics(x)
    assert mean == pytest.approx([x.astype(float).mean()], rel=1e-12)
    assert sd == pytest.approx([x.astype(float).std()], rel=1e-6)


def test_large_columns_come_in_order_of_size():
    mean, sd = np.array([0.0, -800.0, LARGE, 0.0]), np.array([1.0, 3.0, 1.0, 2 * LARGE])
    assert [(c.index, c.name) for c in large_columns(mean, sd, ["a", "b", "c", "d"])] == [(1, "b"), (3, "d")]
    assert [c.name for c in large_columns(mean, sd)] == ["", ""]


def test_a_large_mean_that_shuts_a_unit():
    """tanh(2 * 800) is 1 in every step; standardised, |tanh(2 z)| > 0.9 where |z| > 0.736, in 46 % of normal numbers.

    The other unit has |tanh(2 z)| > 0.9 in 46 % of its values in both cases.
    """
    result = gradscope.analyze(unit(2.0), raw(800.0, 12.0, steps=2000))
    shares = result.metrics["raw_inputs"]["gates"]["h"] if "raw_inputs" in result.metrics else None
    assert shares is None  # (1 + .46) / 2 = .73, and .46 of that is more than half: not the inputs alone
    result = gradscope.analyze(unit(0.5), raw(800.0, 12.0, steps=2000))
    shares = result.metrics["raw_inputs"]["gates"]["h"]
    # |tanh(z / 2)| > 0.9 where |z| > 2 artanh 0.9 = 2.944: 0.324 % of normal numbers; 12000 values, 5 sigma: 0.26 %
    assert shares["saturated"] == pytest.approx((1 + 0.00324) / 2, abs=0.0026)
    assert shares["standardised"] == pytest.approx(0.00324, abs=0.0026)
    (finding,) = findings(result)
    assert result.verdict["findings"][0] == finding
    assert "column 0 has mean 800 and standard deviation 1" in finding["message"]
    assert "GS-SATURATED" not in [f["code"] for f in result.verdict["findings"]]  # said once, with the reason
    (column,) = result.metrics["raw_inputs"]["columns"]
    assert (column["index"], column["name"]) == (0, None)


@pytest.mark.parametrize(
    ("cell", "x"),
    [
        (unit(0.5), raw(0.0)),  # normal data
        (unit(1e-4), raw(800.0)),  # large inputs, and weights that take them down: tanh(0.08)
        (unit(0.5, bias=9.0), raw(0.0)),  # saturated by the bias, without large inputs
        (unit(0.5, bias=9.0), raw(20.0)),  # with large inputs, and saturated all the same without them
    ],
)
def test_no_alarm_where_only_one_of_both_holds(cell, x):
    result = gradscope.analyze(cell, x)
    assert not findings(result)
    assert "raw_inputs" not in result.metrics


def test_relu_units_that_a_large_mean_switches_off():
    cell = unit(1.0, activation="relu")
    result = gradscope.analyze(cell, raw(-800.0))
    # of two units one is always zero; standardised, each is on half of the time
    assert result.metrics["raw_inputs"]["gates"] == {"h": {"saturated": 0.5, "standardised": 0.0}}


def test_the_upper_layers_of_a_bidirectional_network_see_no_data():
    sizes = {"hidden_size": 6, "input_size": 2}
    found = {
        name: findings(gradscope.analyze(c, raw(800.0))) for name, c in directions("rnn", layers=2, **sizes).items()
    }
    assert [bool(f) for f in found.values()] == ["l0" in name for name in found]


def analysed(capsys, *line):
    with pytest.raises(SystemExit) as stop:
        main(["analyze", "--cell", "lstm", "--hidden", "8", "--lags", "0", "--json", *line])
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (0, "")
    return json.loads(out)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    columns = [800 + 12 * rng.standard_normal(100), rng.standard_normal(100), np.full(100, 40.0)]
    path = tmp_path / "weather.csv"
    np.savetxt(path, np.column_stack(columns), delimiter=",", header="pressure,wind,station", comments="")
    return path


def test_columns_by_their_names(table, capsys):
    document = analysed(capsys, "--data", str(table))
    first = document["verdict"]["findings"][0]
    assert (first["code"], first["level"]) == ("GS-RAW-INPUTS", "warning")
    assert "'pressure' has mean 8" in first["message"] and ", 'station' 40 and 0" in first["message"]
    assert "'wind'" not in first["message"]
    assert first["remedy"].endswith("in pandas: d = (d - d.mean()) / d.std().replace(0, 1)")
    assert [c["name"] for c in document["metrics"]["raw_inputs"]["columns"]] == ["pressure", "station"]


def test_chosen_columns_have_their_own_names(table, capsys):
    document = analysed(capsys, "--data", str(table), "--columns", "wind,pressure")
    assert [c["name"] for c in document["metrics"]["raw_inputs"]["columns"]] == ["pressure"]
    assert document["metrics"]["raw_inputs"]["columns"][0]["index"] == 1
    assert not [f for f in analysed(capsys, "--data", str(table), "--columns", "wind")["verdict"]["findings"]
                if f["code"] == "GS-RAW-INPUTS"]  # fmt: skip


def test_what_is_advised_removes_the_finding(table, capsys, tmp_path):
    d = np.loadtxt(table, delimiter=",", skiprows=1)
    sd = d.std(axis=0)
    np.savetxt(tmp_path / "z.csv", (d - d.mean(axis=0)) / np.where(sd > 0, sd, 1), delimiter=",")
    document = analysed(capsys, "--data", str(tmp_path / "z.csv"))
    assert not [f for f in document["verdict"]["findings"] if f["code"] == "GS-RAW-INPUTS"]


def test_numpy_lines_that_are_advised():
    for x in (raw(800.0)[0], raw(800.0)):
        (finding,) = findings(gradscope.analyze(unit(0.5), x))
        scope = {"x": x, "np": np}
        exec(finding["remedy"].partition("NumPy: ")[2], scope)
        assert not findings(gradscope.analyze(unit(0.5), scope["x"]))


def test_the_scale_of_synthetic_input(capsys):
    document = analysed(capsys, "--input-scale", "1e3")
    first = document["verdict"]["findings"][0]
    assert first["code"] == "GS-RAW-INPUTS"
    assert "The synthetic input, of scale 1000, saturates the gates." in first["message"]
    assert "--input-scale 1" in first["remedy"]
    assert "GS-RAW-INPUTS" not in [f["code"] for f in analysed(capsys)["verdict"]["findings"]]


def test_a_table_of_the_columns():
    result = gradscope.analyze(unit(0.5), raw(800.0))
    (table,) = [t for t in result.report.tables if t.title == "Inputs that are not standardised"]
    assert [row[0] for row in table.rows] == ["column 0"]
    assert table.rows[0][1] == pytest.approx(800, abs=1)
