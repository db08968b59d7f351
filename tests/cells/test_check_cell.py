"""`check_cell` finds what is wrong with a cell: every rule is broken once, on purpose."""

from dataclasses import dataclass

import numpy as np
import pytest

from gradscope import create, from_step
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Jacobian
from gradscope.networks import Gate, OneMapCell, Partials, dtanh, relu, tanh
from gradscope.networks.cell import cell_class
from gradscope.testing import check_cell, load_cell_file

LSTM, GRU, RNN = (cell_class(n) for n in ("lstm", "gru", "rnn"))


class Good(OneMapCell):
    """A leaky cell with two parts: m' = m / 2 + tanh(p), h' = m' m'."""

    parts = ("h", "m")
    gates = {"g": Gate("", (-1, 1))}

    def activations(self, p, s):
        return (tanh(p["g"]),)

    def advance(self, p, s):
        m = s["m"] / 2 + tanh(p["g"])
        return {"h": m * m, "m": m}

    def partials(self, p, s):
        d, m = dtanh(p["g"]), self.advance(p, s)["m"]
        through = {"h": {"g": 2 * m * d}, "m": {"g": d}}
        return Partials(through, around={"h": {"m": m}, "m": {"m": 0.5}}, within={"h": {"m": 2 * m}})


def altered(**changes):
    """Return a class like Good whose partials have other fields."""

    class Altered(Good):
        def partials(self, p, s):
            right = super().partials(p, s)
            fields = {k: getattr(right, k) for k in ("through", "around", "within")}
            return Partials(**fields | {k: f(fields[k]) for k, f in changes.items()})

    return Altered


def test_a_good_cell_passes():
    check_cell(Good)


def scaled(k):
    return lambda grid: {part: {name: k * e for name, e in row.items()} for part, row in grid.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"through": scaled(1 + 1e-10)}, "J v is not the derivative"),
        ({"around": scaled(1 + 1e-10)}, "J v is not the derivative"),
        ({"within": scaled(1 + 1e-9)}, "d h'/d m' within has relative error 1e-09 .it explains no change"),
        ({"within": lambda _: {"m": {"m": 1.0}}}, "contributes nothing to itself"),
    ],
)
def test_wrong_derivatives(change, message):
    with pytest.raises(AssertionError, match=message):
        check_cell(altered(**change))


def test_a_cell_that_mixes_its_batch():
    class Mixes(Good):
        def advance(self, p, s):
            h, m = super().advance(p, s).values()
            return {"h": h - h.mean(axis=-1, keepdims=True), "m": m}

    with pytest.raises(AssertionError, match="run alone differs"):
        check_cell(Mixes)


def test_changes_that_are_no_changes_of_the_cell():
    class Wider(Good):
        def changes(self, missing_factor, steps):
            return {"more units": lambda: create("rnn", hidden_size=9, input_size=3)}

    class InPlace(Good):
        def changes(self, missing_factor, steps):
            def double():
                self.U[:] *= 2
                return self

            return {"recurrent weights times 2": double}

    class Single(Good):
        def changes(self, missing_factor, steps):
            return {"float32": lambda: self.astype(np.float32)} if missing_factor < 1 else {}

    for cls, message in (
        (Wider, "'more units' has a different state"),
        (InPlace, "touch U"),
        (Single, "a different precision"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_cell(cls)


def test_a_cell_that_changes_its_arguments():
    class Changes(Good):
        def evolve(self, x, s):
            new = super().evolve(x, s)
            s *= 1.0 + 1e-13  # within the tolerance of every comparison
            return new

    with pytest.raises(AssertionError, match="evolve changes s"):
        check_cell(Changes)


def test_a_cell_that_leaves_float32():
    class Widens(Good):
        def advance(self, p, s):
            h, m = super().advance(p, s).values()
            return {"h": h * np.ones(1), "m": m}

    with pytest.raises(AssertionError, match="float32 cell returns float64"):
        check_cell(Widens)


def test_a_cell_that_is_not_finite_when_saturated():
    def naive_tanh(a):
        e = np.exp(2 * a)
        return (e - 1) / (e + 1)

    class Overflows(Good):
        def advance(self, p, s):
            m = s["m"] / 2 + naive_tanh(p["g"])
            return {"h": m * m, "m": m}

    with np.errstate(all="ignore"), pytest.raises(AssertionError, match="not finite with weights 1000 times"):
        check_cell(Overflows)


def test_a_gate_outside_its_range():
    class Wide(Good):
        gates = {"g": Gate("", (-0.01, 0.01))}

    with pytest.raises(AssertionError, match="leaves its range"):
        check_cell(Wide)


def test_names_that_do_not_exist():
    class Unknown(Good):
        def partials(self, p, s):
            return Partials(through={"h": {"f": 1.0}})

    with pytest.raises(KeyError, match="f"):
        check_cell(Unknown)


def test_a_cell_of_another_size():
    class Loses(Good):
        def advance(self, p, s):
            return {part: new[:-1] for part, new in super().advance(p, s).items()}

    with pytest.raises(AssertionError, match="the new state has shape"):
        check_cell(Loses)


class Kinked(RNN):
    """An RNN with relu, whose activation setting is still tanh: it must say that it has kinks."""

    kinks = True

    def activations(self, p, s):
        return (relu(p["h"]),)

    def advance(self, p, s):
        return {"h": relu(p["h"])}

    def partials(self, p, s):
        return Partials(through={"h": {"h": (p["h"] > 0).astype(p["h"].dtype)}})

    @property
    def gate_ranges(self):
        return {"h": (0.0, np.inf)}


def test_kinks():
    check_cell(Kinked)
    assert create("rnn", activation="relu").kinks
    assert not create("rnn").kinks
    assert create("rnn", activation="relu", layers=2).kinks

    class Wrong(Kinked):
        def partials(self, p, s):
            return Partials(through={"h": {"h": (p["h"] > 0) * (1 + 1e-6)}})

    with pytest.raises(AssertionError, match="J v is not the derivative"):
        check_cell(Wrong)


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_swapped_gates_are_found(cls):
    """The commonest mistake: derivatives of two gates in the wrong columns."""

    class Swapped(cls):
        def partials(self, p, s):
            right = super().partials(p, s)
            one, other, *_ = self.gates
            swapped = {part: row | {one: row[other], other: row[one]} for part, row in right.through.items()}
            return Partials(swapped, right.around, right.within)

    with pytest.raises(AssertionError, match="J v is not the derivative"):
        check_cell(Swapped)


def test_a_function_is_checked_too():
    W = np.random.default_rng(0).standard_normal((3, 3))
    check_cell(from_step(lambda x, s: np.tanh(W @ s + x.sum()), state_size=3, input_size=2))
    options = {"state_size": 3, "input_size": 1, "jacobian": lambda x, s: W}
    with pytest.raises(InputError, match="the jacobian is not the derivative of the step"):
        from_step(lambda x, s: np.tanh(W @ s), **options)
    wrong = from_step(lambda x, s: np.tanh(W @ s), **options, examine=False)
    with pytest.raises(AssertionError, match="the jacobian is not the derivative of the step"):
        check_cell(wrong)
    check_cell(from_step(lambda x, s: np.tanh(W @ s), **options, surrogate=True))


@dataclass
class NotACell:
    """Something else."""


def test_load_cell_file(tmp_path):
    text = "from gradscope.networks.cell import cell_class\n\n\nclass Mine(cell_class('rnn')):\n    pass\n"
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert load_cell_file(path).__name__ == "Mine"
    check_cell(load_cell_file(path, "Mine"))
    with pytest.raises(UsageError, match="no cell named 'Other'"):
        load_cell_file(path, "Other")
    path.write_text(text + "\n\nclass Second(Mine):\n    pass\n")
    with pytest.raises(UsageError, match="several cells: Mine, Second"):
        load_cell_file(path)
    path.write_text("1 / 0\n")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_cell_file(path)
    with pytest.raises(InputError, match="there is no file"):
        load_cell_file(tmp_path / "none.py")
    with pytest.raises(InputError, match="not a Python file"):
        load_cell_file(tmp_path / "cell.txt")


def test_a_wrong_determinant(monkeypatch):
    right = Jacobian.log_abs_det
    monkeypatch.setattr(Jacobian, "log_abs_det", lambda J: right(J) + 1e-6)
    with pytest.raises(AssertionError, match=r"log\|det J\| is .* by the dense J, from"):
        check_cell(LSTM)
