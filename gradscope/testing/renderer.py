"""Does a renderer keep the contract of its room?"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from types import ModuleType

from gradscope.report.model import Column, Curve, Finding, Panel, Report, Table
from gradscope.testing.plugin import check_call, check_docstring, require

__all__ = ["check_renderer"]

HOSTILE = "a\x1b[31mred\x07 [bold]x[/bold] $x_1$ |pipe| <b> \\ \u202e\ud800 =cmd _u_ `c` & *s* " + "long " * 30
TERMINAL_COLUMNS = 40


def check_renderer(renderer: ModuleType, reports: Sequence[Report] = ()) -> None:
    """Check a renderer's module: what it defines, and what it writes for good and for hostile reports.

    Args:
        renderer: the module of the plug-in.
        reports: what to render; by default a plain report, one with hostile texts, and one that is nearly empty.

    Raises:
        AssertionError: a rule of the room is broken; the message says which.
    """
    check_docstring(renderer)
    binary = getattr(renderer, "BINARY", None)
    require(isinstance(binary, bool), f"BINARY must be True for bytes and False for text, not {binary!r}")
    check_call(renderer, "render", "report", keywords=("width", "color", "reproducible"))
    for report in reports or _examples():
        kind = f"a report of kind {report.kind}"
        before = copy.deepcopy(report)
        content = renderer.render(report)
        _check_content(renderer, content, kind)
        require(renderer.render(report) == content, f"rendering {kind} twice must give the same")
        if not getattr(renderer, "PICTURE", False):  # a picture has neither columns nor a date
            narrow = renderer.render(report, width=TERMINAL_COLUMNS, reproducible=True)
            _check_content(renderer, narrow, kind)
            require(bool(renderer.render(report, width=80, color=True)), f"with color=True, {kind} must not be empty")
        require(report == before, f"render must not change {kind}")


def _check_content(renderer: ModuleType, content: str | bytes, kind: str) -> None:
    """Check type, end and characters of what was rendered."""
    wanted = bytes if renderer.BINARY else str
    require(isinstance(content, wanted), f"render must return {wanted.__name__}, not {type(content).__name__}")
    if isinstance(content, str):
        ends = content.endswith("\n") and not content.endswith("\n\n")
        require(ends, f"the text of {kind} must end with exactly one line break")
        control = {c for c in content if not c.isprintable()} - {"\n", "\t"}
        require(not control, f"the text of {kind} holds characters that a terminal acts on: {sorted(control)!r}")


def _examples() -> list[Report]:
    """Return a report with a table and a panel, one with hostile texts, and one that is nearly empty."""
    lags = list(range(20))
    norm, missing = [-0.2 * k for k in lags], [None if k > 9 else -0.1 * k for k in lags]
    curves = (Curve("whole state", lags, norm), Curve("h", lags, missing, role=1, style="dashed"))
    panel = Panel("decay", "Gradient norm", "steps back", "|dL/ds|", curves, log10=True)
    columns = (Column("lag", "d"), Column("log10 norm", ".3g"))
    table = Table("Gradient norms", columns, tuple(zip(lags, missing, strict=True)))
    document = {"kind": "analysis", "metrics": {"rate": -0.2, "half_life": None}}
    shown = ("analysis", "VANISHING: the gradient halves every 1.5 steps", "vanishing")
    good = Report(*shown, (), (table,), table, (panel,), "gradscope, seed 0", document)
    bad_table = Table(HOSTILE, (Column(HOSTILE), Column("n", ".3g")), ((HOSTILE, None), ("=1+1", math.inf)))
    finding = Finding("GS-NOTE", "info", HOSTILE, HOSTILE)
    hostile = Report("analysis", HOSTILE, "vanishing", (finding,), (bad_table,), bad_table, footer=HOSTILE)
    return [good, hostile, Report("analysis", "Nothing was measured.")]
