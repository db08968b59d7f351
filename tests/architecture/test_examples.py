"""Scripts on the pages say what the library says."""

import importlib.util
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import gradscope
from gradscope.cli.app import build
from gradscope.testing import check_cell, load_cell_file

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
FOLK = EXAMPLES.parent / "explanation" / "folk-story.md"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout


@pytest.fixture(scope="module")
def twelve():
    spec = importlib.util.spec_from_file_location("twelve_networks", EXAMPLES / "twelve_networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_twelve_networks_are_those_of_python(tmp_path):
    text = run(
        "twelve_networks.py", "--only=LSTM, chrono", "--seeds=2", "--steps=12", "--hidden=6", f"-o={tmp_path / 'a.png'}"
    )
    row = text.splitlines()[1]
    shown = [float(x) for x in re.findall(r"(?<=[ +-])[+-]?\d+\.\d+", row)]
    found = []
    for seed in (0, 1):
        cell = gradscope.create("lstm", init="chrono", tmax=200, hidden_size=6, seed=seed)
        result = gradscope.analyze(cell, steps=12, seed=seed, lags=1, spectrum=1)
        norms = result.series["log10_gradient_norm"]
        found.append([norms["h"]["median"][0], norms["c"]["median"][0], result.metrics["lyapunov_1"]])
    known = [f(column) for column in zip(*found, strict=True) for f in (statistics.mean, statistics.stdev)]
    # printed with two digits, the exponent with four: wrong by half a unit of the last one
    assert np.all(np.abs(np.subtract(shown, known)) <= np.array([5e-3] * 4 + [5e-5] * 2) * (1 + 1e-9))
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_all_twelve_are_understood(twelve):
    command = typer.main.get_command(build()).commands["analyze"]
    assert len(twelve.NETWORKS) == 12
    for options in twelve.NETWORKS.values():
        context = command.make_context("analyze", [*options.split(), *twelve.LESS.split()])
        assert context.params["cell"] in options


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 3.0], "+2.00 +- 1.41"),
        ([1.0, 3.0, -math.inf], "+2.00 +- 1.41 (1 -inf)"),
        ([None, None], "-"),
    ],
)
def test_spread_says_what_is_left_out(twelve, values, text):
    assert twelve.spread(values, 2) == text


def test_folk_rules_are_the_closed_forms():
    rows = re.findall(r"^  (.{23}) (.*)$", run("folk_rules.py"), re.MULTILINE)
    numbers = [[float(x) for x in re.findall(r"-?inf|-?[\d.]+", value)] for _, value in rows]
    radii, singular, eigen, growth = (numbers[i::4] for i in range(4))
    down, gold = 200 * math.log(0.99), 2 * math.log((1 + 5**0.5) / 2)  # gold: log radius of [[2, 1], [1, 1]]
    bend, half = math.asinh(200 / 1.98), 100 * math.log(0.2)
    none, double = -math.inf, 200 * math.log(2)
    digits = {"rtol": 0, "atol": 6e-5}  # as they are printed
    np.testing.assert_allclose(np.ravel(radii), [down, none, double, 0], **digits)
    known = [[down + bend, down - bend], [double, none], [half, half]]
    np.testing.assert_allclose(singular[:3], known, **digits)
    np.testing.assert_allclose(eigen, [[down] * 2, *known[1:], [100 * gold, -100 * gold]], **digits)
    np.testing.assert_allclose(growth[1:], [[math.log(2), none], [half / 200] * 2, [gold / 2, -gold / 2]], **digits)
    assert abs(sum(growth[0]) - 2 * math.log(0.99)) < 2e-4


def test_page_has_the_critical_gains_of_the_formula():
    z, weight = np.polynomial.hermite_e.hermegauss(100)
    weight /= weight.sum()

    def mean(f, variance):
        return float(weight @ f(np.sqrt(variance) * z))

    def slope(x):
        return (1 - np.tanh(x) ** 2) ** 2

    page = FOLK.read_text("utf-8")
    table = {row: [float(x) for x in re.search(rf"^\| {row} \|(.*)\|$", page, re.M)[1].split("|")] for row in "vg"}
    for v, g in zip(table["v"], table["g"], strict=True):
        signs = []
        for gain in (g - 1e-3, g + 1e-3):  # three digits are printed
            q = 0.5
            for _ in range(2000):  # a contraction: the slope of the map at its fixed point is below one
                q = gain**2 * mean(lambda x: np.tanh(x) ** 2, q + v)
            signs.append(gain**2 * mean(slope, q + v) > 1)
        assert signs == [False, True], (v, g)


@pytest.mark.parametrize("name", ["drip", "fade"])
def test_cells_of_the_pages_are_right(name):
    check_cell(load_cell_file(EXAMPLES / f"{name}.py"))


def test_units_that_fade_do_not_see_one_another():
    cell = gradscope.create(load_cell_file(EXAMPLES / "fade.py"), hidden_size=5, input_size=3, forget_bias=1)
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal(3), rng.standard_normal(5)
    f = 1 / (1 + np.exp(-(cell.W[:5] @ x + 1)))  # the bias alone, and no recurrent weights
    assert cell.U is None
    assert cell.diagonal
    assert np.allclose(cell.jacobian(x, s).dense(), np.diag(f), rtol=1e-14, atol=0)
