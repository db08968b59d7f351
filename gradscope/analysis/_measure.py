"""Every question that is asked of one run, one after the other.

An analysis is a file of this room that has

    NEEDS                    names of the analyses whose answers it reads, or None if they do not apply
    measure(run, settings)   its answer: a frozen value, or None where there is none
    applies(run, settings)   optional: whether settings and earlier answers leave anything to measure
    TITLE                    optional: what it is called while it is measured, and where it is missing
    SPECTRAL                 optional, True: it takes products or spectra of Jacobians, which `lags=0` leaves out
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType, ModuleType
from typing import Any

from gradscope import plugins
from gradscope.analysis._run import Run
from gradscope.errors import Interrupted
from gradscope.settings import Settings

# What is quick comes first, so that who interrupts a run is left with as much as possible. Others follow.
ORDER = (
    "finite orbits gradients reach memory depth facts gates inputs precision paths crossings fisher products unread "
    "lyapunov predictability eigen steps timescales"
)
LEAST = "reach"  # without its answer there is no verdict, and an interrupted run gives nothing


def analyses() -> dict[str, ModuleType]:
    """Return the analyses of the room, each after those that it needs."""
    loaded = dict(plugins.loaded("analysis"))
    modules = {name: loaded[name] for name in (*ORDER.split(), *loaded)}
    sorted_by_needs: dict[str, ModuleType] = {}

    def add(name: str) -> None:
        if name not in sorted_by_needs and hasattr(modules[name], "measure"):
            for need in modules[name].NEEDS:
                add(need)
            sorted_by_needs[name] = modules[name]

    for name in modules:
        add(name)
    return sorted_by_needs


def measure(run: Run, settings: Settings) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Run the analyses that apply.

    Returns:
        {analysis: answer}, and the titles of those that an interrupt left out.

    Raises:
        Interrupted: somebody asked to stop before it was known how far gradients reach.
    """
    answers: dict[str, Any] = {}
    missing: list[str] = []
    run = replace(run, answers=MappingProxyType(answers))
    interrupted = False
    for name, analysis in analyses().items():
        title = getattr(analysis, "TITLE", "")
        if not _applies(analysis, run, settings):
            continue
        if interrupted:
            missing += [title] if title else []
            continue
        try:
            if title:
                run.progress(title, 0, 0)
            answer = analysis.measure(run, settings)
        except Interrupted:
            if LEAST not in answers:
                raise
            run.progress("interrupted: writing partial results", 0, 0)
            interrupted = True
            missing += [title] if title else []
        else:
            answers |= {} if answer is None else {name: answer}
    return answers, tuple(missing)


def _applies(analysis: ModuleType, run: Run, settings: Settings) -> bool:
    """Return whether settings and earlier answers leave anything to measure; there are no spectra of nan."""
    if getattr(analysis, "SPECTRAL", False) and not (settings.lags > 0 and run.is_finite):
        return False
    return not hasattr(analysis, "applies") or bool(analysis.applies(run, settings))
