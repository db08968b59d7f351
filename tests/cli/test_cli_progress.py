"""How much longer: an estimate that is never below zero, and none where nothing is known. The clock is ours."""

import re

import pytest

from gradscope.cli._progress import EVERY, Progress
from gradscope.cli._remaining import LEAST, Remaining, duration


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


@pytest.fixture
def remaining(clock):
    return Remaining(clock)


def seconds_in(text):
    found = re.match(r", about ([\d.]+) (s|min|h|days) left (in all|of this part)$", text)
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600, "days": 86400}[found[2]], found[3]


def test_a_stage_that_goes_on_evenly(remaining, clock):
    """After t of T steps at one pace, T - t are left at that pace; the estimate says that it is of the part."""
    assert remaining.text == ""
    for step in range(0, 1000, 16):
        remaining.heard(f"products: {step} of 1000 steps back")
        if clock.time - 1000 >= 1.0 and step >= 10:
            left, of = seconds_in(remaining.text)
            assert of == "of this part"
            assert left == pytest.approx((1000 - step) * 0.1, abs=30 if step < 450 else LEAST)  # in minutes at first
        else:
            assert remaining.text == ""
        clock.wait(1.6)


def test_a_stage_begins_anew(remaining, clock):
    """What the part did before says nothing of how fast the way forward goes."""
    for step in (0, 50, 99):
        remaining.heard(f"products: {step} of 100 steps back")
        clock.wait(100)
    remaining.heard("products: 0 of 100 steps forward")
    assert remaining.text == ""
    clock.wait(10)
    remaining.heard("products: 50 of 100 steps forward")
    assert seconds_in(remaining.text) == (10, "of this part")


def test_a_stage_that_is_repeated(remaining, clock):
    """The next group of sequences counts from zero again."""
    for _ in range(2):
        remaining.heard("Lyapunov exponents: 0 of 100 steps")
        assert remaining.text == ""
        clock.wait(30)
        remaining.heard("Lyapunov exponents: 50 of 100 steps")
        assert seconds_in(remaining.text) == (30, "of this part")
        clock.wait(30)


def test_a_stage_that_does_not_begin_at_zero(remaining, clock):
    remaining.heard("products: 400 of 500 steps back")
    clock.wait(20)
    remaining.heard("products: 450 of 500 steps back")
    assert seconds_in(remaining.text) == (20, "of this part")


def test_a_stage_that_stands_still(remaining, clock):
    """Nothing is heard for minutes: the estimate grows, and is never "0 s" in the meantime."""
    remaining.heard("products: 0 of 100 steps back")
    clock.wait(10)
    remaining.heard("products: 99 of 100 steps back")
    before = 0.0
    for _ in range(60):
        left, _ = seconds_in(remaining.text)
        assert left >= max(before, LEAST)
        before = left
        clock.wait(60)
    assert before > LEAST


PARTS = [("gradients", 2.0), ("products", 40.0), ("Lyapunov exponents", 20.0), ("spectra of single steps", 8.0)]


def test_the_whole_run_as_predicted(remaining, clock):
    remaining.expect(PARTS)
    assert remaining.text == ""  # reading: not a part of it
    left = sum(s for _, s in PARTS)
    for part, seconds in PARTS:
        remaining.heard(part)
        for _ in range(10):
            assert seconds_in(remaining.text)[1] == "in all"
            assert seconds_in(remaining.text)[0] == pytest.approx(left, abs=max(LEAST, 30 if left > 57 else 2.5))
            clock.wait(seconds / 10)
            left -= seconds / 10


@pytest.mark.parametrize("pace", [0.5, 3.0])
def test_the_whole_run_at_another_pace(remaining, clock, pace):
    """A machine that is slower than it was is found out from the parts that are over."""
    remaining.expect([(part, 10 * s) for part, s in PARTS])
    for part, seconds in PARTS[:2]:
        remaining.heard(part)
        clock.wait(pace * 10 * seconds)
    remaining.heard("Lyapunov exponents")
    assert seconds_in(remaining.text)[0] == pytest.approx(pace * 280, abs=30)


def test_longer_than_was_foreseen(remaining, clock):
    """A part that does not count, and takes longer: no number, rather than "0 s left" for minutes."""
    remaining.expect(PARTS)
    remaining.heard("spectra of single steps")
    clock.wait(7.9)
    assert seconds_in(remaining.text) == (LEAST, "in all")
    clock.wait(0.2)
    assert remaining.text == ""
    remaining.heard("report")
    assert remaining.text == ""


def test_longer_than_was_foreseen_and_counted(remaining, clock):
    remaining.expect(PARTS)
    remaining.heard("products")
    remaining.heard("products: 0 of 100 steps back")
    clock.wait(50)
    remaining.heard("products: 50 of 100 steps back")
    assert seconds_in(remaining.text)[0] == pytest.approx(50 + 28, abs=30)


def test_parts_that_are_left_out(remaining, clock):
    """A network that is not finite has no spectra: what comes after is not waited for in vain."""
    remaining.expect(PARTS)
    remaining.heard("gradients")
    clock.wait(2)
    remaining.heard("spectra of single steps")
    assert seconds_in(remaining.text) == (10, "in all")  # 8, in steps of 5


def test_several_models(remaining, clock):
    remaining.expect([(f"{name}: {part}", s) for name in ("rnn", "gru") for part, s in PARTS])
    remaining.heard("rnn: input")
    remaining.heard("rnn: products: 0 of 100 steps back")
    assert seconds_in(remaining.text)[0] == pytest.approx(68 + 70, abs=30)
    clock.wait(40)
    remaining.heard("gru: spectra of single steps")
    assert seconds_in(remaining.text) == (10, "in all")


def test_durations():
    assert [duration(s) for s in (0, 1, 7, 12, 41, 59, 65, 200, 5399)] == [
        "about 5 s",
        "about 5 s",
        "about 5 s",
        "about 10 s",
        "about 40 s",
        "about 1 min",
        "about 1 min",
        "about 3 min",
        "about 90 min",
    ]
    assert [duration(s) for s in (9000, 40000, 400000, 1e6)] == [
        "about 2.5 h",
        "about 11 h",
        "about 5 days",
        "about 12 days",
    ]


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
    assert all(
        re.match(r"products: \d+ of 10000 steps back, about \d+ s left of this part \.\.\.$", w) for w in words[2:-1]
    )


def test_a_terminal_is_drawn_anew(clock):
    """What is shown is asked for again at every drawing: a line that counts down while nothing is heard."""
    shown = []
    progress = Progress(shown.append, now=clock)
    progress.expect([("products", 100.0)])
    progress("products")
    first = str(shown[-1].__rich__())
    clock.wait(50)
    assert first == "products, about 2 min left in all"
    assert str(shown[-1].__rich__()) == "products, about 50 s left in all"


def test_nobody_looks(clock):
    progress = Progress(None, now=clock)
    assert not progress.shown
    progress("products")  # and nothing happens
