"""check-cell: a cell of the user's own."""

from __future__ import annotations

import pytest

DRAIN = """
from dataclasses import dataclass
from typing import ClassVar

from gradscope.cells._base import Cell
from gradscope.cells._math import dtanh, tanh
from gradscope.jacobian import Partials


@dataclass(frozen=True, eq=False)
class Drain(Cell):
    leak: float = 0.25
    gate_names: ClassVar = {"h": "hidden"}
    squash: ClassVar = {"h": (-1, 1)}

    def activations(self, a, v, s):
        return tuple(tanh(a + v))

    def advance(self, a, v, s):
        return (self.leak * tanh(a + v)[0] + (1 - self.leak) * s[0],)

    def partials(self, a, v, s):
        return Partials(through=[[self.leak * dtanh(a + v)[0]]], around=[[AROUND]])
"""


@pytest.mark.parametrize("suffix", ["", ":Drain"])
def test_a_right_cell_passes(run, tmp_path, suffix):
    path = tmp_path / "drain.py"
    path.write_text(DRAIN.replace("AROUND", "1 - self.leak"))
    done = run("check-cell", f"{path}{suffix}")
    assert (done.code, done.err) == (0, "")
    assert "Drain: its Jacobian is the derivative of its step" in done.out
    assert "WRONG" not in done.out


def test_a_wrong_derivative_is_found(run, tmp_path):
    path = tmp_path / "drain.py"
    path.write_text(DRAIN.replace("AROUND", "self.leak"))
    done = run("check-cell", path)
    assert done.code == 4
    assert "not a right cell: Drain: " in done.err


def test_files_that_are_no_cells(run, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "other.py").write_text(DRAIN.replace("AROUND", "1"))
    for name, code, words in (
        ("missing.py", 4, "there is no file"),
        ("broken.py", 4, "ModuleNotFoundError"),
        ("empty.py", 2, "defines no cell"),
        ("other.py:Other", 2, "no cell named 'Other'"),
        ("notes.txt", 4, "not a Python file"),
    ):
        done = run("check-cell", tmp_path / name)
        assert done.code == code, name
        assert words in done.err
        assert "Traceback" not in done.err
