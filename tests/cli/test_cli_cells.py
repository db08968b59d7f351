"""The table of cells is readable in a pipe and on a terminal of any width."""

import json
import os
import pty
import subprocess
import sys

import pytest

from gradscope import plugins
from gradscope.cli._cells import COLUMNS, describe, page, table

CELLS = plugins.names("cells")
ROWS = [describe(name) for name in CELLS]


def test_a_pipe_gets_one_line_a_cell(run):
    lines = run("cells").out.splitlines()
    head = lines[0]
    assert head.split() == ["name", *COLUMNS, "what"]
    for row, line in zip(ROWS, lines[1:], strict=False):
        assert line[: head.index("state")].strip() == row["name"]
        assert line[head.index("U ") :].split()[0] == str(row["products"])
        assert line[head.index("paper") : head.index("what")].strip() == row["paper"]
        assert line[head.index("what") :] == row["summary"]


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 20])
def test_no_line_is_wider_than_the_terminal(width):
    lines = table(ROWS, width).splitlines()
    assert max(map(len, lines)) <= width
    told = "".join("".join(lines).split())  # whatever was broken where
    for row in ROWS:
        assert "".join(row["summary"].split()) in told
        assert "".join(row["paper"].split()) in told
    for row in ROWS:
        assert max(map(len, page(row, width).splitlines())) <= width
        assert "".join(page(row, width).split()) == "".join(page(row, None).split())


@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_terminal(columns):
    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": str(columns), "LINES": "50", "NO_COLOR": "1", "TERM": "xterm-256color"}
    with subprocess.Popen([sys.executable, "-m", "gradscope", "cells"], stdout=theirs, env=env) as process:
        os.close(theirs)
        text = b""
        try:
            while read := os.read(ours, 65536):
                text += read
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b" not in text
    lines = text.decode().replace("\r\n", "\n").splitlines()
    assert max(map(len, lines)) <= columns
    assert all(any(line.split()[:1] in ([name], [f"{name}:"]) for line in lines) for name in CELLS)


def test_json_says_the_same(run):
    assert json.loads(run("cells", "--json").out) == ROWS
    lstm = json.loads(run("cells", "lstm", "--json").out)
    assert (lstm["products"], lstm["cost"], lstm["around"], lstm["paper"]) == (4, "O(H^2)", True, "Hochreiter 1997")
    assert describe("gru")["choices"] == {"reset": ["after", "before"]}


def test_cells_that_are_called_otherwise_elsewhere(refused):
    for other, here in plugins.CELL_ALIASES.items():
        assert other not in CELLS
        assert {here.split()[0], here.split()[-1] if " or " in here else here.split()[0]} <= set(CELLS)
    refused(2, "it is lstm with --set projection=N here", "analyze", "--cell", "projected_lstm")
    refused(2, "it is selective_ssm here", "cells", "Mamba")
