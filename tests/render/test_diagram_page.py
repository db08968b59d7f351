"""Diagrams: no text lies on another, on a line or off the page, in any cell; widths are the shares."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import gradscope
from gradscope import create, plugins
from gradscope.render import _diagram, _figure, _style, pdf, svg
from gradscope.report.diagram import cell_report, with_diagrams
from gradscope.report.model import Diagram, Edge, Node, Report

CELLS = plugins.names("cells")


def _drawn(report):
    fig = _figure.figure(report)
    canvas = FigureCanvasAgg(fig)
    with _style.drawing():
        canvas.draw()
    return fig, canvas.get_renderer()


def _texts(fig, renderer):
    return [(t.get_text(), t.get_window_extent(renderer)) for t in fig.axes[0].texts]


def _lines(fig):
    """Return points along every line that is not white, 2 pixels apart."""
    (ax,) = fig.axes
    found = []
    for line in ax.lines:
        if line.get_color() != "white":
            corners = ax.transData.transform(np.column_stack(line.get_data()))
            for a, b in itertools.pairwise(corners):
                count = int(np.hypot(*(b - a)) / 2) + 2
                found.append(a + (b - a) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(found)


def check(report):
    """Assert that every text has its own place."""
    fig, renderer = _drawn(report)
    texts = _texts(fig, renderer)
    width, height = fig.get_size_inches() * fig.dpi
    points = _lines(fig)
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
        on = (points > (box.x0, box.y0)).all(axis=1) & (points < (box.x1, box.y1)).all(axis=1)
        assert not on.any(), text
    for (a, one), (b, other) in itertools.combinations(texts, 2):
        # boxes of texts in two lines of the same size may touch: they hold the room of letters that are not there
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
        assert apart, (a, b)
    return fig


@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name):
    fig = check(cell_report(name, plugins.outline("cells", name).summary))
    assert 85 / 25.4 <= fig.get_size_inches()[0] <= 170 / 25.4


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_measured(name):
    cell = create(name, hidden_size=4, input_size=3, layers=2)
    report = with_diagrams(gradscope.analyze(cell, steps=8, batch=2, lags=0).report, {"": cell})
    fig = check(report)
    assert fig.get_size_inches()[0] <= 170 / 25.4


@pytest.mark.parametrize(
    ("name", "words"),
    [("lru", "no recurrent weights: the"), ("lstm", "Coloured: the skip path"), ("rnn", "There is no skip path")],
)
def test_what_the_colour_means(name, words):
    fig, _ = _drawn(cell_report(name, ""))
    assert words in " ".join(t.get_text() for t in fig.axes[0].texts)


def test_a_function():
    """Of what is inside nothing is said, not even that there is no skip path."""
    cell = gradscope.from_step(lambda x, s: np.tanh(s), state_size=3, input_size=2, parts={"a": 1, "b": 2})
    report = gradscope.analyze(cell, steps=8, batch=2, lags=0).report
    written = " ".join(t.get_text() for t in check(with_diagrams(report, {"": cell})).axes[0].texts)
    assert "not known" in written and "no skip path" not in written


def _small(*shares):
    """Two gates and a skip path, with shares."""
    nodes = [
        Node("old h", "old", "h"),
        Node("gate a", "gate", "a"),
        Node("gate b", "gate", "b"),
        Node("new h", "new", "h'"),
    ]
    edges = [Edge("old h", "new h", "around", share=shares[0])]
    for gate, share in zip("ab", shares[1:], strict=True):
        edges += [
            Edge("old h", f"gate {gate}", "weights", "U", share),
            Edge(f"gate {gate}", "new h", "gate", "", share),
        ]
    return Diagram(tuple(nodes), tuple(edges), measured=True)


def _widths(fig, value):
    return {round(line.get_linewidth(), 6) for line in fig.axes[0].lines if line.get_color() == value}


def test_widths_grow_with_the_share():
    """From `LEAN` for none in proportion to `WIDEST` for all."""
    fig, _ = _drawn(Report("analysis", "S", diagrams=(_small(0.5, 0.25, 0.25),)))
    lean, rise = _diagram.LEAST_POINTS, _diagram.WIDEST_POINTS - _diagram.LEAST_POINTS
    (around,), (gate,) = _widths(fig, _style.colour(4)), _widths(fig, _style.BLACK)
    assert around == pytest.approx(lean + rise / 2)
    assert gate == pytest.approx(lean + rise / 4)


def test_shares_that_cancel_are_dashed_and_said():
    fig, renderer = _drawn(Report("analysis", "S", diagrams=(_small(1.25, -0.25, 0.0),)))
    dashed = [line for line in fig.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2  # into the gate and out of it
    written = [t for t, _ in _texts(fig, renderer)]
    assert "-25%" in written and "skip 125%" in written
    assert any("dashed: negative" in t for t in written)


def test_a_share_just_below_zero_is_not_minus_nothing():
    for share, text in ((-0.0049, "-0.5%"), (-0.001, "-0.1%"), (-0.0005, "-0.1%"), (-0.0004, "about 0%")):
        report = Report("analysis", "S", diagrams=(_small(1 - share, share, 0.0),))
        written = [t.get_text() for t in check(report).axes[0].texts]
        assert text in written and not {"-0%", "-0.0%", ">-1%"} & {*written}


def test_many_layers_and_long_names():
    names = [
        Node("old h", "old", "a_very_long_name"),
        Node("gate a", "gate", "$x_1$", "é" * 30),
        Node("new h", "new", "h'"),
    ]
    edges = (Edge("old h", "gate a", "weights", "U"), Edge("gate a", "new h", "gate"), Edge("old h", "new h", "around"))
    one = Diagram(tuple(names), edges)
    report = Report(
        "cell", "word " * 40, diagrams=tuple(replace(one, title=f"layer {i}") for i in range(40)), footer="f" * 300
    )
    fig = check(report)
    written = " ".join(t.get_text() for t in fig.axes[0].texts)
    drawn = written.count("layer ")
    assert f"{40 - drawn} more are not drawn." in written and drawn in (8, 16)
    assert not any(t.get_parse_math() for t in fig.axes[0].texts)


@pytest.mark.parametrize("count", [8, 9, 12, 16, 17])
def test_layers_side_by_side(count):
    """In columns from nine on, in rows of the same height, in their order, all as large as they are alone."""
    (one,) = cell_report("rnn", "").diagrams[:1]
    report = Report("cell", "S", diagrams=tuple(replace(one, title=f"layer {i}") for i in range(count)))
    fig = check(report)
    wide, high = fig.get_size_inches()
    places = {
        int(t.get_text().removeprefix("layer ")): t.get_position()
        for t in fig.axes[0].texts
        if t.get_text().startswith("layer ")
    }
    columns = -(-count // 8)
    assert len(places) == count and len({x for x, _ in places.values()}) == columns
    order = sorted(places, key=lambda i: (-places[i][1], places[i][0]))
    assert order == list(range(count))
    steps = np.diff(sorted({y for _, y in places.values()}))
    assert steps == pytest.approx(np.full(-(-count // columns) - 1, steps[0]))
    assert wide <= _diagram.MOST_WIDTH and high >= 8 / columns * steps[0]
    alone = check(replace(report, diagrams=report.diagrams[:1]))
    assert count * len(alone.axes[0].lines) == len(fig.axes[0].lines)


def test_files_repeat_and_hold_outlines():
    report = cell_report("gru", "Gated recurrent unit")
    assert svg.render(report) == svg.render(report)
    found = pdf.render(report)
    assert found.startswith(b"%PDF-") and found == pdf.render(report)
