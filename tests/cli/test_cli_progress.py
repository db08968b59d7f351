"""Progress: few lines where they stay. The clock is ours."""

import re

import pytest

from gradscope.cli._progress import EVERY, Progress


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


def test_plain_lines_are_few(clock):
    """Parts are named when they begin; what only counts on is told once every few seconds."""
    lines = []
    progress = Progress(lambda line: lines.append((clock.time, line)), plain=True, now=clock)
    progress("gradients")
    progress("products")
    for step in range(0, 10000, 16):
        progress(f"products: {step} of 10000 steps back")
        clock.wait(0.05)
    progress("writing")
    words = [line for _, line in lines]
    assert words[:2] == ["gradients ...", "products ..."]
    assert words[-1] == "writing ..."
    times = [t for t, _ in lines[1:-1]]
    assert all(b - a >= EVERY for a, b in zip(times, times[1:], strict=False))
    assert len(times) == pytest.approx(10000 / 16 * 0.05 / EVERY, abs=2)
    assert all(re.match(r"products: \d+ of 10000 steps back \.\.\.$", w) for w in words[2:-1])


def test_nobody_looks(clock):
    progress = Progress(None, now=clock)
    progress("products")  # and nothing happens
