"""Progress: few lines where they stay, bars on a terminal. The clock is ours."""

import re
import threading

import pytest

from gradscope.cli import _progress
from gradscope.cli._progress import LINE_SECONDS, PlainLines, progress


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


def test_plain_lines_are_few(clock):
    """A part is named when it begins; how far it is, is written every few seconds."""
    lines = []
    report = PlainLines(lambda line: lines.append((clock.time, line)), clock)
    report("gradients", 0, 0)
    report("products", 0, 0)
    for step in range(0, 10000, 16):
        report("products", step, 10000)
        clock.time += 0.05
    report("writing", 0, 0)
    words = [line for _, line in lines]
    assert words[:2] == ["gradients ...", "products ..."]
    assert words[-1] == "writing ..."
    times = [t for t, _ in lines[1:-1]]
    assert all(b - a >= LINE_SECONDS for a, b in zip(times, times[1:], strict=False))
    assert len(times) == pytest.approx(10000 / 16 * 0.05 / LINE_SECONDS, abs=2)
    assert all(re.match(r"products: \d+ of 10000 \.\.\.$", w) for w in words[2:-1])


def test_plain_lines_of_models_that_are_measured_at_the_same_time(clock):
    lines = []
    report = PlainLines(lines.append, clock)
    for step in range(100):
        for model in ("rnn", "gru"):
            report(f"{model}: products", step, 100)
    assert lines == ["rnn: products ...", "gru: products ..."]


@pytest.mark.parametrize(("choice", "quiet"), [("auto", False), ("none", False), ("plain", True)])
def test_nothing_is_shown(capsys, choice, quiet):
    with progress(choice, quiet) as report:
        report("products", 0, 100)
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal(capsys, monkeypatch):
    """One for each thread: name, bar and the time that is left; brackets of a name are no markup."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(_progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")

    def other():
        report("rnn[odd]: products", 3, 10)

    with progress("auto") as report:
        report("gru: gradients", 0, 0)
        report("gru: products", 16, 400)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    last = shown[shown.rindex("gru: products") :]
    assert "rnn[odd]: products" in last
    assert "━" in last
    assert "-:--:--" in last  # not known yet
    assert "gru: gradients" not in last
    assert "reading" not in last
