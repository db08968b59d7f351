"""--dry-run: what would be done, how much memory it takes, and how long, where the machine is known."""

from __future__ import annotations

from gradscope.cli._calibrate import read_speeds
from gradscope.cli._measure import Job, lengths, plan_of, size_of
from gradscope.cli._models import Model
from gradscope.cli._progress import Progress
from gradscope.cli._request import Request
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING, STATES, Plan, available_bytes, human
from gradscope.errors import GradscopeError

__all__ = ["expect", "plan_text"]

KEPT = {
    EVERYTHING: "states and {} of every step",
    STATES: "states of every step; {} are computed again",
    CHECKPOINTS: "the state of every so many steps; the others are computed again",
}
UNKNOWN = "time: not known on this machine; gradscope doctor --calibrate measures how fast it is"


def plan_text(request: Request, models: list[Model]) -> str:
    """Return the plan as text: one block a model, with bytes and seconds by purpose."""
    from gradscope.cost import called, predict

    speeds = read_speeds()
    lines = []
    for model in models:
        cell = model.cell
        batch, steps = lengths(request, model)
        plan = plan_of(request, model, batch, steps)
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state of {cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items() if size]
        lines += [f"  kept of the run: {_kept(plan)}"]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
        size = size_of(request, model, batch, steps)
        if own := called(size):
            lines += [f"  calls of the function: about {_short(sum(own.values()))}, as long as a few of them took"]
        if speeds:
            seconds = predict(size, speeds.speeds)
            parts = (f"{part} {_short(s)}" for part, s in sorted(seconds.items(), key=lambda row: -row[1]))
            whole = _short(sum(seconds.values()))
            lines += [f"  time: about {whole} on a core that is free", f"    {', '.join(parts)}"]
    if not speeds:
        lines.append(UNKNOWN)
    if request.remedies:
        lines.append("--remedies: then one run for each change, one after the other; seconds are without them")
    return "\n".join(lines) + "\n"


def expect(tell: Progress, jobs: list[Job]) -> None:
    """Say what the parts of a run will take, for estimates of the whole; nothing where it is not known."""
    speeds = read_speeds() if tell.shown else None
    if speeds is None or any(job.request.remedies or job.request.threads > 1 for job in jobs):
        return
    from gradscope.cost import START, predict

    parts: list[tuple[str, float]] = []
    for job in jobs:
        prefix = f"{job.model.label}: " if len(jobs) > 1 else ""
        try:
            batch, steps = lengths(job.request, job.model)
        except GradscopeError:  # it will be said in its turn
            return
        seconds = predict(size_of(job.request, job.model, batch, steps), speeds.speeds)
        parts += [(prefix + part, s) for part, s in seconds.items() if part != START]
    tell.expect(parts)


def _kept(plan: Plan) -> str:
    return KEPT[plan.storage].format(plan.kept) if plan.keeps else KEPT[plan.storage].replace(" and {}", "")


def _short(seconds: float) -> str:
    """Write seconds to two digits."""
    if seconds < 99.5:
        return f"{max(seconds, 0.01):.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 5970 else f"{seconds / 3600:.2g} h"
