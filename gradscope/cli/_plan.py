"""--dry-run: what would be done, how much memory it takes, and how many operations."""

from __future__ import annotations

from gradscope.cli._measure import calls_of, lengths, operations_of, plan_of
from gradscope.cli._models import Model
from gradscope.cli._request import Request
from gradscope.dynamics.budget import CHECKPOINTS, EVERYTHING, STATES, Plan, available_bytes, human

__all__ = ["plan_text"]

KEPT = {
    EVERYTHING: "states and {} of every step",
    STATES: "states of every step; {} are computed again",
    CHECKPOINTS: "the state of every so many steps; the others are computed again",
}


def plan_text(request: Request, models: list[Model]) -> str:
    """Return the plan as text: one block a model, with bytes by purpose and operations by part."""
    lines = []
    for model in models:
        cell = model.cell
        batch, steps = lengths(request, model)
        plan = plan_of(request, model, batch, steps)
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state of {cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items() if size]
        lines += [f"  kept of the run: {_kept(plan)}"]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
        counts = operations_of(request, model, batch, steps)
        each = (f"{part} {count:.1e}" for part, count in sorted(counts.items(), key=lambda row: -row[1]))
        lines += [f"  about {sum(counts.values()):.1e} floating-point operations: {', '.join(each)}"]
        if calls := calls_of(model, batch, steps):
            again = "" if plan.storage == EVERYTHING else ", and those for Jacobians again whenever they are needed"
            lines += [f"  about {calls} calls of the function{again}"]
    if request.remedies:
        lines.append("--remedies: then one run for each change, one after the other; operations are without them")
    return "\n".join(lines) + "\n"


def _kept(plan: Plan) -> str:
    return KEPT[plan.storage].format(plan.kept) if plan.keeps else KEPT[plan.storage].replace(" and {}", "")
