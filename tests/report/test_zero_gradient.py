"""What is exactly zero is said and drawn as such: a logarithm has no place for it."""

import numpy as np
import pytest

from gradscope import analyze, create, from_step
from gradscope.render import png
from gradscope.report import section


def forgetful(after):
    """A step that passes nothing on after so many steps: a shift register that drops its end."""
    shift = np.eye(after, k=-1)
    return from_step(lambda x, s: shift @ s + np.sum(x), state_size=after, input_size=2)


def panels(result):
    return {p.name: p for p in section.panels(result.document)}


@pytest.mark.parametrize("after", [1, 3])
def test_a_gradient_that_ends(after):
    gradient = np.zeros(after)
    gradient[-1] = 1.0  # what was entered `after` steps ago
    result = analyze(forgetful(after), steps=20, batch=2, loss_gradient=gradient)
    found = panels(result)
    assert found["decay"].note == f"exactly zero from {after} step{'s'[: after != 1]} back"
    assert [y is not None for y in found["decay"].curves[0].y] == [lag < after for lag in range(21)]
    assert found["lyapunov"].nothing == found["convergence"].nothing == "all minus infinity"
    assert png.render(result.report)[:4] == b"\x89PNG"


def test_some_exponents_are_minus_infinity():
    """A register beside units that keep something."""
    shift = np.diag([0.5, 0.4, 0.0, 0.0])
    result = analyze(from_step(lambda x, s: shift @ s, state_size=4, input_size=1), steps=30, batch=2)
    assert panels(result)["lyapunov"].note.endswith("2 of 4 are minus infinity")


def test_nothing_is_said_where_nothing_is_zero():
    found = panels(analyze(create("rnn", hidden_size=4, input_size=2), steps=20, batch=2))
    assert found["decay"].note == "" and "infinity" not in found["lyapunov"].note


def test_one_road_is_no_panel():
    found = panels(analyze(create("mingru", hidden_size=4, input_size=2), steps=20, batch=2))
    assert "road" not in found and "crossings" not in found
    assert "road" in panels(analyze(create("gru", hidden_size=4, input_size=2), steps=20, batch=2))


@pytest.mark.parametrize(
    ("name", "layers", "what"),
    [("rnn", 1, "hidden units"), ("rnn", 2, "hidden units"), ("gru", 1, "gates"), ("mingru", 1, "gates")],
)
def test_gates_are_told_from_hidden_units(name, layers, what):
    result = analyze(create(name, hidden_size=3, input_size=2, layers=layers), steps=12, batch=1, lags=0)
    assert panels(result)["gates"].title == f"Activations of the {what}"
