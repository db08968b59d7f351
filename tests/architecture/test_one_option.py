"""A new option is a line in the table and the place where it acts: in a copy of the package it shows up everywhere."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradscope.options import table
from gradscope.settings import Settings

ROOT = Path(__file__).parents[2]
ROW = '    shift: int = analysis(0, "Number that is added to the seed", Count(0), python=True, record=ALWAYS)\n'
BEFORE = "    threads: int = analysis("
ACT = "    settings = replace(settings, seed=settings.seed + settings.shift)\n"
AFTER = "    started, clock = datetime.now(UTC), time.perf_counter()\n"
SIZE = ["--hidden", "4", "--steps", "20", "--lags", "2"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the package and the generator of reference pages, and add an option to two files."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("gradscope", "docs"):
        shutil.copytree(
            ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "generated", "_build")
        )
    for name, anchor, text in (("settings.py", BEFORE, ROW + BEFORE), ("api.py", AFTER, AFTER + ACT)):
        path = root / "gradscope" / name
        source = path.read_text(encoding="utf-8")
        assert source.count(anchor) == 1, name
        path.write_text(source.replace(anchor, text), encoding="utf-8")
    return root


@pytest.fixture
def python(copy):
    """Run a Python that sees the copy."""

    def call(*arguments):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("COLUMNS", "PYTEST"))}
        env |= {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'docs'}", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-P", *arguments], cwd=copy, env=env, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return call


def gradscope(python, *arguments):
    return python("-m", "gradscope", *arguments)


def test_analyze(python):
    document = json.loads(gradscope(python, "analyze", "--cell", "gru", *SIZE, "--shift", "3", "--json"))
    assert (document["config"]["shift"], document["config"]["seed"]) == (3, 3)
    assert "seed 3)" in document["verdict"]["sentence"]
    assert json.loads(gradscope(python, "analyze", "--cell", "gru", *SIZE, "--json"))["config"]["shift"] == 0


def test_compare(python):
    document = json.loads(gradscope(python, "compare", "gru", "rnn", *SIZE, "--shift", "1", "--json"))
    assert [r["config"]["shift"] for r in document["results"]] == [1, 1]
    assert document["config"]["seed"] == 1


def test_a_file_of_options(python, copy):
    path = copy / "run.toml"
    path.write_text("shift = 5\n", encoding="utf-8")
    out = gradscope(python, "analyze", "--cell", "gru", *SIZE, "--config", str(path), "--json")
    assert json.loads(out)["config"]["shift"] == 5


def test_in_python(python):
    program = """
import inspect, gradscope
cell = gradscope.create("gru", hidden_size=4, input_size=2)
result = gradscope.analyze(cell, steps=20, lags=2, shift=4)
print(result.document["config"]["shift"], result.document["config"]["seed"])
print("shift" in inspect.signature(gradscope.analyze).parameters, "added to the seed" in gradscope.analyze.__doc__)
try:
    gradscope.analyze(cell, shift=-1)
except gradscope.GradscopeError as error:
    print(error.message)
"""
    assert python("-c", program).split("\n") == ["4 4", "True True", "shift must be at least 0, not -1", ""]


@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_help_and_the_reference_page(python, command):
    text = "Number that is added to the seed (0)."
    assert text in " ".join(gradscope(python, command, "--help").replace("│", " ").split())
    page = python("-c", "import generate; print(generate.commands())")
    assert "| `--shift` | 0 | `shift` | yes |" in python("-c", "import generate; print(generate.settings())")
    section = page.partition(f"## gradscope {command}\n")[2].partition("\n## ")[0]
    assert f"{{option}} --shift N\n{text}" in section


def test_commands_and_python_agree():
    """Nothing that analyze takes is missing in compare, but the name of the one cell; Python takes what acts there."""
    from gradscope import analyze

    rows = table(Settings)
    assert [n for n, row in rows.items() if ("analyze" in row.commands) != ("compare" in row.commands)] == ["cell"]
    assert {n for n, row in rows.items() if row.python} <= set(inspect.signature(analyze).parameters)
