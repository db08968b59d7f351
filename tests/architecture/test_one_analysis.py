"""An analysis is two files: in a copy of the package it shows up everywhere, with no other edit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]

ANALYSIS = '''
"""How much of the gradient arrives half way? Read from its norms, at the step in the middle of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

__all__ = ["Middle", "applies", "measure"]

NEEDS = ("finite", "gradients")
TITLE = "middle of the run"


@dataclass(frozen=True)
class Middle:
    """The gradient in the middle of the run.

    Attributes:
        lag: steps back.
        log_share: natural log of its median norm, relative to the last step.
    """

    lag: int
    log_share: float


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there is a middle."""
    return run.chain.steps > 1 and not run.answers["finite"]


def measure(run: Run, settings: Settings) -> Middle:
    """Measure the gradient half way."""
    logs = run.answers["gradients"].followed.state
    lag = run.chain.steps // 2
    return Middle(lag, float(np.median(logs[-1 - lag] - logs[-1])))
'''.lstrip()

SECTION = '''
"""How much of the gradient arrives half way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.fields import integer, number, record
from gradscope.report.model import Column, Curve, Finding, Panel, Table
from gradscope.report.numbers import LN10

if TYPE_CHECKING:
    from gradscope.analysis.middle import Middle

METRICS = {
    "middle": record(
        "The gradient half way through the run.",
        {
            "lag": integer("Steps back.", minimum=1),
            "log10_share": number("Median norm relative to the last step, log10."),
        },
        optional=True,
    )
}
LOST = -1.0  # decades, from which the middle is said to be lost
CODES = {
    "GS-LOST-HALF-WAY": {
        "level": "info",
        "summary": "the gradient is small half way",
        "means": "Half way through the run little of the gradient is left.",
        "decided": "Less than {report.sections.middle.LOST:power} of it is there.",
        "remedy": "Use a shorter run.",
        "read": ["howto/json.md"],
    }
}

Document = dict[str, Any]


def metrics(middle: Middle, case: Case) -> Document:
    """Return lag and share."""
    return {"middle": {"lag": middle.lag, "log10_share": middle.log_share / LN10}}


def findings(middle: Middle, case: Case) -> list[Finding]:
    """Say where little is left half way."""
    if middle.log_share / LN10 > LOST:
        return []
    text = f"Half way, {middle.lag} steps back, the {case.state} gradient is 10^{middle.log_share / LN10:.1f} times"
    return [Finding("GS-LOST-HALF-WAY", "info", text)]


def tables(document: Document) -> list[Table]:
    """Return one row."""
    m = document["metrics"].get("middle")
    columns = (Column("half way, steps back", "d"), Column("log10 share", ".2f"))
    return [Table("The middle of the run", columns, ((m["lag"], m["log10_share"]),))] if m else []


def panels(document: Document) -> list[Panel]:
    """Return a line from the end to the middle."""
    m = document["metrics"].get("middle")
    if not m:
        return []
    curve = Curve("median", [0, m["lag"]], [0.0, m["log10_share"]])
    return [Panel("middle", "From the end to the middle", "steps back", "share", curves=(curve,), log10=True)]
'''.lstrip()

RUN = ["-m", "gradscope", "analyze", "--cell", "rnn", "--hidden", "8", "--steps", "40", "--lags", "4"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy package and documentation, and add the two files."""
    root = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__")
    for folder in ("gradscope", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=without)
    (root / "gradscope" / "analysis" / "middle.py").write_text(ANALYSIS, encoding="utf-8")
    (root / "gradscope" / "report" / "sections" / "middle.py").write_text(SECTION, encoding="utf-8")
    return root


@pytest.fixture
def python(copy):
    """Run a Python that sees the copy."""

    def call(*arguments, errors=""):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("COLUMNS", "PYTEST"))}
        env |= {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'docs'}", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-P", *arguments], cwd=copy, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert errors in done.stderr
        return done.stdout

    return call


def test_terminal(python):
    out = python(*RUN, "--progress", "plain", errors="middle of the run ...")
    assert "The middle of the run" in out
    assert "Half way, 20 steps back, the vanishing gradient is" in out
    assert "Less than 0.1 of it is there." in python("-m", "gradscope", "explain", "lost-half-way")
    assert "GS-LOST-HALF-WAY" in python("-m", "gradscope", "explain")


def test_json_follows_the_schema_that_is_printed(python, copy):
    document = json.loads(python(*RUN, "--json"))
    assert document["metrics"]["middle"]["lag"] == 20
    assert [f["code"] for f in document["verdict"]["findings"]].count("GS-LOST-HALF-WAY") == 1
    schema = json.loads(python("-m", "gradscope", "schema", "analysis"))
    jsonschema.validate(document, schema)
    document["metrics"]["middle"]["lag"] = 0
    with pytest.raises(jsonschema.ValidationError, match="less than the minimum"):
        jsonschema.validate(document, schema)


def test_saved_results_are_drawn_with_its_panel(python, copy):
    python(*RUN, "-o", str(copy / "r.json"))
    python("-m", "gradscope", "report", str(copy / "r.json"), "-o", str(copy / "r.md"))
    assert "The middle of the run" in (copy / "r.md").read_text("utf-8")
    program = "import gradscope; print([p.name for p in gradscope.Result.read('r.json').report.panels])"
    assert "'middle'" in python("-c", program)
    python("-m", "gradscope", "report", str(copy / "r.json"), "-o", str(copy / "r.svg"))
    assert "From the end to the middle" in (copy / "r.svg").read_text("utf-8")


def test_reference_page(python):
    page = python("-c", "import generate; print(generate.schema())")
    assert "`middle.log10_share`\n: number or null. Median norm relative to the last step, log10." in page
    assert "`GS-LOST-HALF-WAY` (info): the gradient is small half way" in python(
        "-c", "import generate; print(generate.findings())"
    )


def test_not_measured_where_it_does_not_apply(python):
    assert "The middle of the run" not in python(*[a if a != "40" else "1" for a in RUN])
