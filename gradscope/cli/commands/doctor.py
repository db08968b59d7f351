"""gradscope doctor: versions, BLAS, threads, extras, and what is wrong with the installation."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import sys
from importlib import metadata, util
from typing import TYPE_CHECKING, Annotated, Any

import typer

import gradscope
from gradscope.cli._blas import one_blas_thread
from gradscope.cli._options import Output
from gradscope.cli._output import terminal_width, write_stdout
from gradscope.cli._signature import with_options
from gradscope.dynamics.budget import available_bytes, human

if TYPE_CHECKING:
    from gradscope.selftest import Check

EPILOG = "Example: gradscope doctor --selftest"
CORE = ("numpy", "scipy", "typer", "rich", "matplotlib")


@with_options
def command(
    selftest: Annotated[
        bool,
        typer.Option("--selftest", help="Run all closed-form checks; takes a few seconds.", show_default=False),
    ] = False,
    *,
    output: Output,
) -> None:
    """Show versions, BLAS, threads and memory, and check the installation against closed-form results."""
    one_blas_thread()
    from gradscope.report import environment
    from gradscope.selftest import run_selftest

    facts: dict[str, Any] = {
        "gradscope": gradscope.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in CORE},
        "blas": environment.blas(),
        "blas architecture": os.environ.get("OPENBLAS_CORETYPE", "detected"),
        "threads": environment.threads(),
        "free memory": human(available_bytes()),
    }
    warnings = _warnings()
    checks = run_selftest(full=selftest)
    if output.json:
        text = json.dumps(
            {**facts, "warnings": warnings, "checks": [_row(c) for c in checks]}, indent=2, allow_nan=False
        )
        write_stdout(text + "\n")
    else:
        wide = max(len(k) for k in facts)
        lines = [f"{k:<{wide}}  {v if v is not None else 'not set'}" for k, v in facts.items()]
        lines += ["", *_table(checks)]
        lines += ["", *(f"warning: {w}" for w in warnings)] if warnings else []
        write_stdout("\n".join(lines) + "\n")
    if not all(c.passed for c in checks):
        raise typer.Exit(1)


def _row(c: Check) -> dict[str, Any]:
    numbers = {"residual": c.residual, "allowed": c.allowed, "scaled_residual": c.scaled}
    finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
    return {"check": c.name, "group": c.group, **finite, "tolerance": c.why, "passed": c.passed}


def _table(checks: list[Check]) -> list[str]:
    """Return one line a check; below one of what is allowed is right."""
    wide = max(len(c.name) for c in checks)
    lines = [f"{'':<7}{'closed form':<{wide}}  residual / tolerance (below 1: passed)"]
    width = terminal_width() if sys.stdout.isatty() else None
    for group, some in itertools.groupby(checks, key=lambda c: c.group):
        lines += ["", group] if group else []
        for c in some:
            state = "ok" if c.passed else "WRONG"
            line, why = f"{state:<7}{c.name:<{wide}}  {c.scaled:8.2g}", f"of {c.allowed:.2g} ({c.why})"
            short = width and len(line) + len(why) + 2 > width
            lines += [line, f"{'':<9}{why}"] if short else [f"{line}  {why}"]
    return lines


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _warnings() -> list[str]:
    problems: list[str] = []
    try:
        other = metadata.distribution("gradscope")
        problems.append(
            f"another distribution named gradscope ({other.version}) is installed beside this one (gradscope-rnn): "
            "pip uninstall gradscope"
        )
    except metadata.PackageNotFoundError:
        pass
    for name in CORE:
        if util.find_spec(name) is None:
            problems.append(f"{name} is not installed: pip install {name}")
    return problems
