"""A new plug-in is one new file: in a copy of the package it shows up everywhere, with no other edit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CELL = '''
"""Just another network (forget gate only)."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.networks import Array, Gate, OneMapCell, Partials, Parts, Preactivations, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class OneGate(OneMapCell):
    """h' = f h + (1 - f) g; state s = [h].

    f = sigmoid(p)    g = tanh(p)

    What is forgotten is what is let in: one gate, and the skip path around the weights is diag(f).
    van der Westhuizen & Lasenby (2018).
    """

    parts = ("h",)
    gates = {"f": Gate("forget", (0, 1), keeps=+1), "g": Gate("cell", (-1, 1))}

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return sigmoid(p["f"]), tanh(p["g"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        f, g = self.activations(p, s)
        return {"h": f * s["h"] + (1 - f) * g}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        f, g = self.activations(p, s)
        through = {"f": (s["h"] - g) * dsigmoid(p["f"]), "g": (1 - f) * dtanh(p["g"])}
        return Partials(through={"h": through}, around={"h": {"h": f}})
'''.lstrip()

INIT = '''
"""Small weights, all of one size."""

from __future__ import annotations

import numpy as np

from gradscope.inits import Shape, Weights, uniform, without_bias


def initialise(shape: Shape, rng: np.random.Generator) -> Weights:
    """Fill U with signs, divided by the number of units."""
    drawn = uniform(shape, rng)
    return drawn | without_bias(shape) | {"U": np.sign(drawn["U"]) / shape.hidden}
'''.lstrip()

RENDERER = '''
"""One word: the state."""

from __future__ import annotations

from gradscope.report.model import Report

BINARY = False


def render(report: Report, *, width: int | None = None, color: bool = False, reproducible: bool = False) -> str:
    """Write the verdict's state."""
    return f"{report.state or report.kind}\\n"
'''.lstrip()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the package and the contract tests, and add one file to three rooms."""
    root = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gradscope", root / "gradscope", ignore=without)
    shutil.copytree(ROOT / "tests", root / "tests", ignore=without)
    shutil.copy(ROOT / "pyproject.toml", root)
    for room, name, text in (("cells", "onegate", CELL), ("inits", "signs", INIT), ("render", "word", RENDERER)):
        assert len(text.splitlines()) < 80
        (root / "gradscope" / room / f"{name}.py").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def python(copy):
    """Run a Python that sees the copy."""

    def call(*arguments, **env):
        # -P: the working directory is not searched, the copy comes from PYTHONPATH
        base = {k: v for k, v in os.environ.items() if not k.startswith(("COLUMNS", "PYTEST"))}
        env = {**base, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1", **env}
        done = subprocess.run(
            [sys.executable, "-P", *arguments], cwd=copy, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert done.stderr == ""
        return done.stdout

    return call


def test_the_copy_is_used(python, copy):
    assert Path(python("-c", "import gradscope; print(gradscope.__file__)").strip()).is_relative_to(copy)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["analyze", "--help"], ["onegate", "signs", "word"]),
        (["compare", "--help"], ["signs"]),
        (["cells"], ["Just another network", "signs"]),
        (["cells", "onegate"], ["h' = f h + (1 - f) g", "f (forget), g (cell)", "forget_bias, cell_bias"]),
    ],
)
def test_listed(python, arguments, words):
    out = python("-m", "gradscope", *arguments)
    for word in words:
        assert word in out, out


@pytest.mark.parametrize(
    ("typed", "found"),
    [("--cell on", "onegate"), ("--init s", "signs"), ("--format w", "word"), ("--cell li", "linear")],
)
def test_completed(python, typed, found):
    env = {"_GRADSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": f"gradscope analyze {typed}", "COMP_CWORD": "3"}
    assert python("-m", "gradscope", **env).strip() == found


def test_analyzed(python, copy):
    size = ["--hidden", "8", "--steps", "40", "--lags", "4"]
    settings = ["--init", "chrono", "--set", "tmax=100", "--layers", "2"]
    out = python("-m", "gradscope", "analyze", "--cell", "onegate", *settings, *size)
    assert "ONEGATE, 8 units, 2 layers" in out
    assert "skip path" in out
    out = python("-m", "gradscope", "compare", "onegate:forget_bias=2", "onegate:init=signs", *size, "--format", "word")
    assert out == "comparison\n"
    path = copy / "verdict.word"
    python("-m", "gradscope", "analyze", "--cell", "onegate", "--init", "signs", *size, "-o", str(path))
    assert path.read_text() == "vanishing\n"


def test_in_python(python):
    program = "import gradscope; print(gradscope.analyze(gradscope.create('onegate', hidden_size=6), steps=20, lags=2))"
    assert "ONEGATE, 6 units" in python("-c", program)


@pytest.mark.parametrize(
    ("file", "name"),
    [("test_every_cell.py", "onegate"), ("test_every_init.py", "signs"), ("test_every_renderer.py", "word")],
)
def test_the_contract_tests_take_it_up(python, copy, file, name):
    """Collected by name, and passed."""
    line = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", name, f"tests/contracts/{file}"]
    collected = python(*line, "--collect-only")
    assert sum(name in row for row in collected.splitlines()) > 1
    assert " passed" in python(*line)
