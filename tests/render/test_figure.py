"""The picture: every text has its own place, and nothing depends on the user's settings."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import matplotlib
import pytest
import samples
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gradscope.render import _figure, _place, _style, _ticks, pdf, png, svg
from gradscope.report.model import Curve, Level, Mark, Panel, Report


def _texts(fig):
    """Return (text, box) of everything that is written on the page, in pixels."""
    canvas = FigureCanvasAgg(fig)
    with _style.drawing():
        canvas.draw()
    renderer = canvas.get_renderer()
    found = list(fig.texts)
    for ax in fig.axes:
        found += ax.texts
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if t.get_visible() and t.get_text().strip()]


def _overlap(a, b, slack=0.5):
    return a.x0 + slack < b.x1 and b.x0 + slack < a.x1 and a.y0 + slack < b.y1 and b.y0 + slack < a.y1


@pytest.mark.parametrize("name", samples.ALL)
def test_no_texts_overlap_and_all_lie_on_the_page(name):
    fig = _figure.figure(samples.ALL[name]())
    texts = _texts(fig)
    width, height = fig.get_size_inches() * fig.dpi
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (a, box_a), (b, box_b) in itertools.combinations(texts, 2):
        assert not _overlap(box_a, box_b), (a, b)


@pytest.mark.parametrize("count", range(1, 10))
def test_any_number_of_panels_fits_without_overlap(count):
    panels = (samples.analysis().panels * 2)[:count]
    fig = _figure.figure(Report("analysis", "STABLE: so it is", "stable", panels=panels, footer="foot"))
    assert len(fig.axes) == count
    boxes = [ax.get_position() for ax in fig.axes]
    assert all(0 < b.x0 < b.x1 < 1 and 0 < b.y0 < b.y1 < 1 for b in boxes)
    assert not any(_overlap(a, b, 0) for a, b in itertools.combinations(boxes, 2))


def _one(**settings):
    curve = Curve("y", [0, 1, 2], [0.0, -5.0, -10.0])
    panel = Panel("p", "P", "x", "y", **({"curves": (curve,), "log10": True} | settings))
    return _figure.figure(Report("analysis", "S", panels=(panel,))).axes[0]


def test_levels_out_of_reach_are_left_out():
    near, far = Level(-11.5, "near"), Level(-40.0, "far")
    ax = _one(levels=(near, far))
    written = [t.get_text() for t in ax.texts]
    assert "near" in written and "far" not in written
    assert -13 < ax.get_ylim()[0] < -11.5


@pytest.mark.parametrize("log_x", [False, True])
def test_marks_are_vertical_lines_within_the_data(log_x):
    curve = Curve("y", [1, 10, 100], [0.0, -5.0, -10.0])
    marks = (Mark(40.0, "horizon"), Mark(1.0, "at the end"), Mark(150.0, "beyond"), Mark(-3.0, "before"))
    without, ax = (_one(curves=(curve,), marks=some, log_x=log_x) for some in ((), marks))
    written = [t.get_text() for t in ax.texts]
    assert "horizon" in written and not {"at the end", "beyond", "before"} & set(written)
    (line,) = [v for v in ax.lines if list(v.get_xdata()) == [40.0, 40.0]]
    assert list(line.get_ydata()) == [0, 1]  # in shares of the height
    assert len(ax.lines) == len(without.lines) + 1
    assert (ax.get_xlim(), ax.get_ylim()) == (without.get_xlim(), without.get_ylim())


def test_the_unit_circle_is_round():
    page = _figure.figure(samples.analysis())
    ax = page.axes[1]
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    box = ax.get_window_extent()
    assert box.width / (x1 - x0) == pytest.approx(box.height / (y1 - y0))
    assert y1 >= 1.1


def test_names_are_never_mathematics():
    fig = _figure.figure(samples.hostile())
    assert not any(t.get_parse_math() for t in fig.texts)
    assert not any(t.get_parse_math() for ax in fig.axes for t in (*ax.texts, *ax.get_legend().get_texts()))


def test_nothing_to_see_is_said():
    fig = _figure.figure(samples.blank())
    assert ["not determined" in [t.get_text() for t in ax.texts] for ax in fig.axes] == [True] * 4 + [False]


def test_very_long_curves_keep_their_peaks():
    y = [0.0] * 100_000
    y[51_234] = 7.0
    ax = _one(curves=(Curve("y", list(range(len(y))), y),), log10=False)
    (line, *_) = ax.get_lines()
    assert len(line.get_xdata()) < 5000
    assert max(line.get_ydata()) == 7.0


def test_files_are_of_their_kind_without_dates():
    report = samples.comparison()
    assert png.render(report).startswith(b"\x89PNG\r\n\x1a\n")
    found = pdf.render(report)
    assert found.startswith(b"%PDF-") and b"CreationDate" not in found and b"/Type3" not in found
    drawn = svg.render(report)
    assert drawn.startswith("<?xml") and "<dc:date>" not in drawn and "<text" not in drawn


def test_the_users_settings_change_nothing_and_stay():
    before = png.render(samples.comparison())
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.facecolor": "red", "text.usetex": False}):
        assert png.render(samples.comparison()) == before
        assert matplotlib.rcParams["font.size"] == 30


SCRIPT = """
import sys
from gradscope.render import svg, pdf
from gradscope.report.model import Curve, Panel, Report
panel = Panel("p", "P", "x", "y", (Curve("a", [0, 1], [0.0, -9.0]),), log10=True)
report = Report("analysis", "S", panels=(panel,))
sys.stdout.buffer.write(svg.render(report).encode() + pdf.render(report))
"""


def test_no_home_is_no_warning_and_processes_agree(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    results = []
    for home, seed in ((blocked / "home", "1"), (tmp_path, "2")):
        env = {k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        env |= {"HOME": str(home), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, check=True)
        assert done.stderr == b""
        results.append(done.stdout)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-0.5, 0.5, ["0.5", "0.7", "1", "2", "3"]),
        (-4.0, 0.0, ["$10^{-4}$", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$", "1"]),
        (-41.0, 1.0, ["$10^{-40}$", "$10^{-30}$", "$10^{-20}$", "$10^{-10}$", "1"]),
        (-9.0, -7.5, ["$10^{-9}$", "$2\\times 10^{-9}$", "$5\\times 10^{-9}$", "$10^{-8}$", "$2\\times 10^{-8}$"]),
        (-0.01, 0.01, ["0.98", "0.99", "1.00", "1.01", "1.02"]),
    ],
)
def test_decades(low, high, labels):
    assert _ticks.decades(low, high).labels == labels


@pytest.mark.parametrize("power", [-280, -12, -3, 0, 3, 9, 280])
@pytest.mark.parametrize("span", [1, 1.3, 2.2, 3.7, 5, 9.99])
def test_ticks_are_few_within_the_ends_and_differ(power, span):
    low, high = -0.3 * 10.0**power, (span - 0.3) * 10.0**power
    for ticks in (_ticks.linear(low, high), _ticks.decades(low, high) if abs(power) < 4 else _ticks.linear(low, high)):
        assert 2 <= len(ticks.at) <= 12
        assert all(low - 1e-6 * (high - low) <= v <= high + 1e-6 * (high - low) for v in ticks.at)
        assert len(set(ticks.labels)) == len(ticks.labels)


def test_spread_moves_only_what_is_too_close():
    assert _place.spread([100.0, 50.0, 10.0], [10, 10, 10], 0, 200) == [100.0, 50.0, 10.0]
    found = _place.spread([50.0, 51.0, 49.0, 150.0], [10, 10, 10, 10], 0, 200)
    assert found == pytest.approx([50.0, 60.0, 40.0, 150.0])
    found = _place.spread([0.0, 0.0, 0.0], [10, 10, 10], 0, 200)
    assert sorted(found) == pytest.approx([5.0, 15.0, 25.0])


def test_colours_differ_in_grey_and_can_be_read():
    grey = [_style._luminance(matplotlib.colors.to_rgb(_style.colour(k))) for k in range(4)]
    assert all(abs(a - b) > 0.05 for a, b in itertools.combinations(grey, 2))
    inks = [_style._luminance(matplotlib.colors.to_rgb(_style.ink(_style.colour(k)))) for k in range(7)]
    assert all(1.05 / (ink + 0.05) >= 4.45 for ink in inks)
