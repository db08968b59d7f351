"""gradscope doctor: versions, BLAS, threads, extras, and what is wrong with the installation."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata, util
from typing import Annotated, Any

import typer

import gradscope
from gradscope.budget import available_bytes, human
from gradscope.cli._output import write_stdout
from gradscope.cli._request import use_threads

CORE = ("numpy", "scipy", "typer", "rich", "matplotlib")


def command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)] = False,
) -> None:
    """Show versions, BLAS, threads and memory, and run a short check against closed forms."""
    use_threads(1)
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
    checks = run_selftest()
    if as_json:
        rows = [{"check": c.name, "residual": c.residual, "passed": c.passed} for c in checks]
        write_stdout(json.dumps({**facts, "warnings": warnings, "checks": rows}, indent=2) + "\n")
    else:
        wide = max(len(k) for k in facts)
        lines = [f"{k:<{wide}}  {v if v is not None else 'not set'}" for k, v in facts.items()]
        lines += [
            "",
            *(
                f"{'ok' if c.passed else 'WRONG':<6}{c.name} (residual {c.residual:.1g}, allowed {c.allowed:.1g})"
                for c in checks
            ),
        ]
        lines += ["", *(f"warning: {w}" for w in warnings)] if warnings else []
        write_stdout("\n".join(lines) + "\n")
    if not all(c.passed for c in checks):
        raise typer.Exit(1)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _warnings() -> list[str]:
    found = []
    try:
        other = metadata.distribution("gradscope")
        found.append(
            f"another distribution named gradscope ({other.version}) is installed beside this one (gradscope-rnn): "
            "pip uninstall gradscope"
        )
    except metadata.PackageNotFoundError:
        pass
    for name in CORE:
        if util.find_spec(name) is None:
            found.append(f"{name} is not installed: pip install {name}")
    return found
