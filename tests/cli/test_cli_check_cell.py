"""check-cell: a cell of the user's own."""

from __future__ import annotations

import json

import pytest

DRAIN = """
from dataclasses import dataclass

from gradscope.networks import Gate, OneMapCell, Partials, dtanh, tanh


@dataclass(frozen=True, eq=False)
class Drain(OneMapCell):
    leak: float = 0.25
    gates = {"h": Gate("hidden", (-1, 1))}

    def activations(self, p, s):
        return (tanh(p["h"]),)

    def advance(self, p, s):
        return {"h": self.leak * tanh(p["h"]) + (1 - self.leak) * s["h"]}

    def partials(self, p, s):
        return Partials(through={"h": {"h": self.leak * dtanh(p["h"])}}, around={"h": {"h": AROUND}})
"""


@pytest.mark.parametrize("suffix", ["", ":Drain"])
def test_a_right_cell_passes(run, tmp_path, suffix):
    path = tmp_path / "drain.py"
    path.write_text(DRAIN.replace("AROUND", "1 - self.leak"))
    done = run("check-cell", f"{path}{suffix}")
    assert (done.code, done.err) == (0, "")
    assert "Drain: the Jacobian is the derivative of the step" in done.out
    assert "WRONG" not in done.out


def test_a_wrong_derivative_is_found(run, tmp_path):
    path = tmp_path / "drain.py"
    path.write_text(DRAIN.replace("AROUND", "self.leak"))
    done = run("check-cell", path)
    assert done.code == 4
    assert "invalid cell: Drain: " in done.err


def test_files_that_are_no_cells(run, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "other.py").write_text(DRAIN.replace("AROUND", "1"))
    for name, code, words in (
        ("missing.py", 4, "there is no file"),
        ("broken.py", 4, "ModuleNotFoundError"),
        ("empty.py", 4, "the file is empty"),
        ("other.py:Other", 2, "no cell named 'Other'"),
        ("notes.txt", 4, "not a Python file"),
    ):
        done = run("check-cell", tmp_path / name)
        assert done.code == code, name
        assert words in done.err
        assert "Traceback" not in done.err


# --- options, and cells that are no file


STEP = """
import numpy as np

state_size, input_size = 6, 3
U = np.random.default_rng(7).standard_normal((6, 6)) / 3


def step(x, s):
    return np.tanh(U @ s + x.sum())
"""


@pytest.fixture
def drain(tmp_path):
    path = tmp_path / "drain.py"
    path.write_text(DRAIN.replace("AROUND", "1 - self.leak"))
    return path


@pytest.mark.parametrize(("option", "words"), [("--hidden", "state_size = 6"), ("--input-size", "input_size = 3")])
def test_sizes_that_a_function_has_itself(refused, tmp_path, option, words):
    path = tmp_path / "step.py"
    path.write_text(STEP)
    refused(2, [f"{option} has no effect", words], "check-cell", path, option, "5")


def test_sizes_that_have_an_effect(run, drain, tmp_path):
    assert run("check-cell", drain, "--hidden", "7", "--input-size", "2").code == 0
    path = tmp_path / "step.py"
    path.write_text("def step(x, s):\n    return 0.5 * s\n")
    assert "shape (7,)" in run("check-cell", path, "--hidden", "7").out


def test_quiet_leaves_the_table_out(run, drain):
    done = run("check-cell", "-q", drain)
    assert done.out == "Drain: the Jacobian is the derivative of the step, and every check of the cell passes\n"
    assert run("check-cell", drain).out.count("\n") > 3
    drain.write_text(DRAIN.replace("AROUND", "self.leak"))
    wrong = run("check-cell", "--quiet", drain)
    assert (wrong.code, wrong.out) == (4, "")
    assert "invalid cell: Drain: d h'/d h around" in wrong.err


@pytest.mark.parametrize("settings", [(), ("--set", "forget_bias=1", "--hidden", "4")])
def test_a_cell_of_the_list(run, settings):
    done = run("check-cell", "lstm", *settings)
    assert (done.code, done.err) == (0, "")
    assert "d c'/d p_f  through" in done.out
    assert done.out.endswith("lstm: the Jacobian is the derivative of the step, and every check of the cell passes\n")


def test_names_that_are_none(refused):
    refused(2, ["no cell named 'lstn'", "did you mean lstm?"], "check-cell", "lstn")
    refused(2, ["settings go to --set", "--set forget_bias=1"], "check-cell", "lstm:forget_bias=1")


def test_hints_point_to_the_page(run, drain, tmp_path):
    drain.write_text(DRAIN.replace("AROUND", "self.leak"))
    path = tmp_path / "step.py"
    path.write_text(STEP.replace("    return", "    U[0, 0] += 1\n    return"))
    for target, words in ((drain, "requirements of a cell"), (path, "a step must be a function")):
        hint = run("check-cell", target).err.splitlines()[-1]
        assert hint.startswith("hint: ") and "docs/howto/write-a-cell.md" in hint
        assert words in hint


# --- JSON


def test_json_of_a_right_cell(run, drain):
    done = run("check-cell", drain, "--json", "--set", "leak=0.5")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["kind"], found["model"]["cell"], found["model"]["function"]) == ("check", "Drain", False)
    assert found["model"]["path"] == "drain.py"
    assert found["config"] == {"cell": "drain.py:Drain", "hidden": 5, "input_size": 3, "set": {"leak": "0.5"}}
    assert found["verdict"]["passed"]
    assert [(d["part"], d["road"], d["of"]) for d in found["derivatives"]] == [
        ("h", "through", "h"),
        ("h", "around", "h"),
    ]
    assert all(d["right"] and d["error"] <= d["allowed"] for d in found["derivatives"])
    assert found["facts"] == []


def test_json_of_a_wrong_cell(run, drain, tmp_path):
    drain.write_text(DRAIN.replace("AROUND", "self.leak - 1"))
    done = run("check-cell", drain, "--json")
    assert done.code == 4
    found = json.loads(done.out)
    assert not found["verdict"]["passed"]
    assert found["verdict"]["sentence"] in done.err
    (wrong,) = [d for d in found["derivatives"] if not d["right"]]
    assert (wrong["road"], wrong["of"], wrong["remark"]) == ("around", "h", "wrong sign")
    assert wrong["error"] == pytest.approx(2)  # of -k beside k, relative to k
    saved = tmp_path / "check.json"
    saved.write_text(done.out)
    again = run("report", saved)
    assert again.code == 0
    assert again.out.startswith(found["verdict"]["sentence"])
    assert "WRONG: wrong sign" in again.out
    assert "holds a check, which cannot be compared" in run("compare", saved, "lstm").err


def test_json_of_a_derivative_that_is_no_number(run, drain):
    drain.write_text(DRAIN.replace("AROUND", "float('inf')"))
    found = json.loads(run("check-cell", drain, "--json").out)
    assert [d["error"] for d in found["derivatives"] if d["road"] == "around"] == [None]


def test_json_of_a_function_and_of_several_maps(run, tmp_path):
    path = tmp_path / "step.py"
    path.write_text(STEP)
    found = json.loads(run("check-cell", path, "--json").out)
    assert found["config"] == {"cell": "step.py:step", "set": {}}
    assert found["derivatives"] == []
    assert "Jacobian" in [f["what"] for f in found["facts"] if f["right"]]
    found = json.loads(run("check-cell", "gru", "--set", "reset=before", "--json").out)
    assert {d["map"] for d in found["derivatives"]} == {1, 2}
