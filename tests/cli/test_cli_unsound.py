"""Slips in a cell of one's own: one sentence with the file and the class, before anything runs."""

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.checking.trial import try_out
from gradscope.errors import InputError
from gradscope.networks.cell import MapsCell, OneMapCell, cell_class

CELL = """
from dataclasses import dataclass

from gradscope.networks import Gate, OneMapCell, Partials, dtanh, tanh


@dataclass(frozen=True, eq=False)
class Seep(OneMapCell):
    "h' = keep h + rate tanh(p)."

    rate: float = 0.25
    parts = ("h",)
    gates = {"h": Gate("hidden")}

    def activations(self, p, s):
        return (tanh(p["h"]),)

    def advance(self, p, s):
        return {"h": self.rate * tanh(p["h"]) + (1 - self.rate) * s["h"]}

    def partials(self, p, s):
        return Partials(through={"h": {"h": self.rate * dtanh(p["h"])}}, around={"h": {"h": 1 - self.rate}})
"""
NAMES = '    gates = {"h": Gate("hidden")}\n'
ADVANCE, PARTIALS = CELL.index("    def advance"), CELL.index("    def partials")
NEW = '{"h": self.rate * tanh(p["h"]) + (1 - self.rate) * s["h"]}'
AROUND = '{"h": {"h": 1 - self.rate}}'
LITTLE = ("--steps", "20", "--batch", "2", "--lags", "0", "--hidden", "5", "--quiet")
DRAW = "    @classmethod\n    def init_parameters(cls, *_, **settings):\n        return {}\n\n    def activations"


def with_line(line):
    return CELL.replace(NAMES, f"{NAMES}    {line}\n")


def with_gates(text):
    return CELL.replace('{"h": Gate("hidden")}', text)


def before_new(line):
    return CELL.replace(f"        return {NEW}", f"        {line}\n        return {NEW}")


SLIPS = {
    "gates a tuple": (with_gates('("h",)'), "gates of Seep must be a dict of gates, not ('h',)"),
    "no gates": (with_gates("{}"), "gates of Seep must be a dict of gates, not {}"),
    "a gate a word": (with_gates('{"h": "hidden"}'), "gates of Seep has 'hidden' for 'h', which is not a Gate"),
    "keeps in words": (with_gates('{"h": Gate("hidden", keeps="up")}'), "gate h of Seep has keeps 'up'"),
    "a name of two words": (with_gates('{"h": Gate("hidden gate")}'), "gate h of Seep has name 'hidden gate'"),
    "a range turned round": (with_gates('{"h": Gate("hidden", (1, 0))}'), "gate h of Seep has interval (1, 0)"),
    "a name for two": (
        with_gates('{"h": Gate(split=True), "h_x": Gate()}'),
        "the input preactivation of gate h has that name",
    ),
    "parts a word": (with_line('parts = "h"'), "parts of Seep must be a tuple of names"),
    "a part twice": (with_line('parts = ("h", "h")'), "parts of Seep has 'h' twice"),
    "weights that read no part": (with_line('parts = ("y",)'), "read the part 'h', and its parts are y"),
    "choices of no setting": (with_line('choices = {"form": ("a", "b")}'), "'form', which is not a setting"),
    "limits of no setting": (with_line('limits = {"form": "(0, 1]"}'), "'form', which is not a setting"),
    "no advance": (CELL[:ADVANCE] + CELL[PARTIALS:], "seep.py: Seep must define advance"),
    "no partials": (CELL[:PARTIALS], "seep.py: Seep must define partials"),
    "no kind": (CELL.replace("OneMapCell", "Cell"), "Seep is not a kind of Cell"),
    "no maps": (CELL.replace("OneMapCell", "MapsCell"), "seep.py: Seep must define maps"),
    "no default": (CELL.replace("rate: float = 0.25", "rate: float"), "the field rate of Seep has no default"),
    "not a dataclass": (CELL.replace("@dataclass(frozen=True, eq=False)\n", ""), "is not a dataclass"),
    "arrays of no field": (
        CELL.replace("    def activations", DRAW.replace("{}", '{"bend": None}')),
        "init_parameters of Seep returns 'bend', which is not a field of the class",
    ),
    "no arrays": (
        CELL.replace("    def activations", DRAW.replace("{}", "None")),
        "init_parameters of Seep returns None",
    ),
    "a path of another part": (
        CELL.replace(AROUND, '{"c": {"h": 1}}'),
        "partials of Seep has 'c' in around, which is not a new part (h)",
    ),
    "a path of another gate": (
        CELL.replace('{"h": self.rate * dtanh', '{"f": self.rate * dtanh'),
        "partials of Seep has 'f' in through['h'], which is not a gate (h)",
    ),
    "two parts, one array": (
        with_line('parts = ("h", "c")'),
        "advance of Seep returns the parts h, not a dict of the new parts: h, c",
    ),
    "no dict": (CELL.replace(f"return {NEW}", 'return s["h"]'), "advance of Seep returns an array of shape"),
    "a mean over sequences": (
        CELL.replace('* s["h"]}', '* s["h"].mean(axis=-1)}'),
        "advance of Seep fails: ValueError",
    ),
    "one unit": (
        CELL.replace(NEW, '{"h": s["h"][:1]}'),
        "advance of Seep returns shape (1, 2) for the part h, (units, sequences) is (5, 2)",
    ),
    "a part too many": (before_new('h, c = s["h", "c"]'), "line 19: advance of Seep fails: KeyError: 'c'"),
    "a gate too many": (before_new('f, h = p["f", "h"]'), "line 19: advance of Seep fails: KeyError: 'f'"),
    "an error of two lines": (
        before_new('raise ValueError("one\\n two")'),
        "advance of Seep fails: ValueError: one two",
    ),
    "s written to": (before_new('s["h"] *= 0.5'), "line 19: advance of Seep writes into its arguments"),
    "a part replaced": (before_new('s["h"] = s["h"] / 2'), "advance of Seep writes into its arguments: s['h']"),
    "p written to": (
        CELL.replace("        return Partials", '        p["h"] += 1\n        return Partials'),
        ": partials of Seep writes into its arguments",
    ),
    "a dict of derivatives": (CELL.replace("return Partials(", "return dict("), "partials of Seep returns something"),
    "None for no path": (
        CELL.replace("{1 - self.rate}", "None").replace(AROUND, '{"h": {"h": None}}'),
        "has None in around['h']['h']",
    ),
    "no names": (CELL.replace(AROUND, "[[1 - self.rate]]"), "has something of type list for around, not a dict"),
    "one name": (
        CELL.replace(AROUND, '{"h": 1 - self.rate}'),
        "has something of type float for around['h'], not a dict by old part (h)",
    ),
    "a derivative a sequence": (
        CELL.replace(AROUND, '{"h": {"h": s["h"].mean(axis=1)[:, None].T}}'),
        "has shape (1, 5) in around['h']['h']",
    ),
    "one gate too few": (
        CELL.replace('return (tanh(p["h"]),)', "return ()"),
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
    (tmp_path / "other_seep.py").write_text(SLIPS["gates a tuple"][0])
    done = finished("analyze", "--cell", "seep", *LITTLE, env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"error: {tmp_path / 'other_seep.py'}: gates of Seep must be a dict")


def test_a_gate_that_keeps_and_has_no_name(run, tmp_path):
    path = tmp_path / "seep.py"
    path.write_text(with_gates('{"h": Gate(keeps=1)}'))
    done = run("analyze", "--cell", path, *LITTLE)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "name", [n for n in plugins.names("cells", builtin=True) if issubclass(cell_class(n), MapsCell)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nothing_is_found_in_cells_that_are_right(name, dtype):
    for setting, values in {"": ("",), **cell_class(name).choices}.items():
        for value in values:
            try_out(create(name, hidden_size=6, input_size=3, dtype=dtype, **({setting: value} if setting else {})))


def test_a_class_of_a_script_has_no_file_to_name():
    class Sink(OneMapCell):
        gates = ("h",)

    Sink.__module__ = "typed_in"
    with pytest.raises(InputError, match="^gates of Sink must be a dict"):
        create(Sink, hidden_size=4, input_size=2)


def test_states_that_are_no_numbers_are_not_asked_about():
    """Only shapes are: formulas may have poles."""

    class Pole(cell_class("rnn")):
        def advance(self, p, s):
            return {"h": super().advance(p, s)["h"] + np.log(-1 - s["h"] ** 2)}

    assert create(Pole, hidden_size=4, input_size=2).state_size == 4
