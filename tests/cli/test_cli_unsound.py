"""Slips in a cell of one's own: one sentence with the file and the class, before anything runs."""

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.errors import InputError
from gradscope.networks.cell import Cell, cell_class
from gradscope.networks.sound import fits

CELL = '''
from dataclasses import dataclass
from typing import ClassVar

from gradscope.networks.cell import Cell
from gradscope.networks.elementwise import dtanh, tanh
from gradscope.maps.jacobian import Partials


@dataclass(frozen=True, eq=False)
class Seep(Cell):
    """h' = keep h + rate tanh(a + v)."""

    rate: float = 0.25
    gate_names: ClassVar = {"h": "hidden"}

    def activations(self, a, v, s):
        return tuple(tanh(a + v))

    def advance(self, a, v, s):
        return (self.rate * tanh(a + v)[0] + (1 - self.rate) * s[0],)

    def partials(self, a, v, s):
        return Partials(through=[[self.rate * dtanh((a + v)[0])]], around=[[1 - self.rate]])
'''
NAMES = '    gate_names: ClassVar = {"h": "hidden"}\n'
ADVANCE, PARTIALS = CELL.index("    def advance"), CELL.index("    def partials")
NEW = "(self.rate * tanh(a + v)[0] + (1 - self.rate) * s[0],)"
LITTLE = ("--steps", "20", "--batch", "2", "--lags", "0", "--hidden", "5", "--quiet")
OWN = "    @classmethod\n    def own(cls, hidden, inputs, rng, **settings):\n        return {}\n\n    def activations"


def with_line(line):
    return CELL.replace(NAMES, f"{NAMES}    {line}\n")


def before_new(line):
    return CELL.replace(f"        return {NEW}", f"        {line}\n        return {NEW}")


SLIPS = {
    "keep_gates a tuple": (with_line('keep_gates = ("h",)'), "keep_gates of Seep must be a dict, and not ('h',)"),
    "keep_gates in words": (
        with_line('keep_gates: ClassVar = {"h": "up"}'),
        "keep_gates of Seep has 'up' for the gate h",
    ),
    "keep_gates of no gate": (with_line('keep_gates: ClassVar = {"f": 1}'), "names the gate 'f'; its gates are h"),
    "names of no gate": (CELL.replace('{"h": "hidden"}', '{"f": "forget"}'), "names the gate 'f'; its gates are h"),
    "a range of no gate": (with_line('squash: ClassVar = {"f": (0, 1)}'), "squash of Seep names the gate 'f'"),
    "a range turned round": (with_line('squash: ClassVar = {"h": (1, 0)}'), "squash of Seep has (1, 0)"),
    "parts a word": (with_line('parts = "h"'), "parts of Seep must be a tuple of names"),
    "no gates": (with_line("gates = ()"), "gates of Seep must be a tuple of names, and not ()"),
    "a part twice": (with_line('parts = ("h", "h")'), "parts of Seep has 'h' twice"),
    "weights that read no part": (with_line('parts = ("y",)'), "read the part 'h', and its parts are y"),
    "choices of no setting": (with_line('choices: ClassVar = {"form": ("a", "b")}'), "'form', which is no setting"),
    "limits of no setting": (with_line('limits: ClassVar = {"form": "(0, 1]"}'), "'form', which is no setting"),
    "no advance": (CELL[:ADVANCE] + CELL[PARTIALS:], "Seep does not define advance"),
    "no partials": (CELL[:PARTIALS], "Seep does not define partials"),
    "no default": (CELL.replace("rate: float = 0.25", "rate: float"), "the field rate of Seep has no default"),
    "no dataclass": (CELL.replace("@dataclass(frozen=True, eq=False)\n", ""), "is no dataclass"),
    "own of no field": (
        CELL.replace("    def activations", OWN.replace("{}", '{"bend": rng.uniform(0, 1, hidden)}')),
        "own of Seep returns 'bend', which is no field of it",
    ),
    "own of nothing": (CELL.replace("    def activations", OWN.replace("{}", "None")), "own of Seep returns None"),
    "three gates, one column": (with_line('gates = ("a", "b", "h")'), "through in partials of Seep has rows of 1"),
    "two parts, one array": (with_line('parts = ("h", "c")'), "advance of Seep returns 1 of them"),
    "no tuple": (CELL.replace(f"return {NEW}", f"return {NEW[1:-2]}"), "advance of Seep returns an array of shape"),
    "a mean over sequences": (
        CELL.replace("* s[0],)", "* s[0].mean(axis=-1),)"),
        "advance of Seep fails: ValueError",
    ),
    "one unit": (CELL.replace(NEW, "(s[0][:1],)"), "returns shape (1, 2) for the part h of 5 units"),
    "parts left out": (before_new("h, c = s"), "line 21: advance of Seep fails: ValueError: not enough values"),
    "a part too many": (CELL.replace("* s[0],)", "* s[1],)"), "line 21: advance of Seep fails: IndexError"),
    "an error of two lines": (
        before_new('raise ValueError("one\\n two")'),
        "advance of Seep fails: ValueError: one two",
    ),
    "s written to": (before_new("s[0] *= 0.5"), "advance of Seep writes into s[0]"),
    "a part replaced": (before_new("s[0] = s[0] / 2"), "advance of Seep writes into s[0]"),
    "a written to": (
        CELL.replace("        return Partials", "        a += v\n        return Partials"),
        "partials of Seep writes into a",
    ),
    "a dict of derivatives": (CELL.replace("return Partials(", "return dict("), "partials of Seep returns something"),
    "None for no path": (CELL.replace("[[1 - self.rate]]", "[[None]]"), "has for part h and old part h None"),
    "another grid": (CELL.replace("[[1 - self.rate]]", "[1 - self.rate]"), "around in partials of Seep is no grid"),
    "a derivative a sequence": (
        CELL.replace("[[1 - self.rate]]", "[[s[0].mean(axis=1)[:, None].T]]"),
        "has for part h and old part h shape (1, 5)",
    ),
    "one gate too few": (
        CELL.replace("return tuple(tanh(a + v))", "return ()"),
        "activations of Seep returns 0 of them",
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips(refused, tmp_path, name):
    text, words = SLIPS[name]
    path = tmp_path / "seep.py"
    path.write_text(text)
    for command in (("analyze", *LITTLE, "--cell"), ("compare", "gru", *LITTLE), ("check-cell",)):
        told = refused(4, [f"{path}", words], *command, path)
        assert len(told.splitlines()) == 2  # a sentence and a hint


def test_a_plug_in_is_asked_too(finished, tmp_path):
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradscope.cells]\nseep = other_seep\n")
    (tmp_path / "other_seep.py").write_text(SLIPS["keep_gates a tuple"][0])
    done = finished("analyze", "--cell", "seep", *LITTLE, env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"error: {tmp_path / 'other_seep.py'}: keep_gates of Seep must be a dict")


def test_a_gate_that_keeps_and_has_no_name(run, tmp_path):
    path = tmp_path / "seep.py"
    path.write_text(CELL.replace(NAMES, '    keep_gates: ClassVar = {"h": 1}\n'))
    done = run("analyze", "--cell", path, *LITTLE)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "name", [n for n in plugins.names("cells", builtin=True) if cell_class(n).evolve is Cell.evolve]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nothing_is_found_in_cells_that_are_right(name, dtype):
    for setting, values in {"": ("",), **cell_class(name).choices}.items():
        for value in values:
            fits(create(name, hidden_size=6, input_size=3, dtype=dtype, **({setting: value} if setting else {})))


def test_a_class_of_a_script_has_no_file_to_name():
    class Sink(Cell):
        keep_gates = ("h",)

    Sink.__module__ = "typed_in"
    with pytest.raises(InputError, match="^keep_gates of Sink must be a dict"):
        create(Sink, hidden_size=4, input_size=2)


def test_states_that_are_no_numbers_are_not_asked_about():
    """Only shapes are: formulas may have poles."""

    class Pole(cell_class("rnn")):
        def advance(self, a, v, s):
            return (super().advance(a, v, s)[0] + np.log(-1 - s[0] ** 2),)

    assert create(Pole, hidden_size=4, input_size=2).state_size == 4
