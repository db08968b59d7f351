"""--dry-run: what would be done, and how much memory it takes."""

from __future__ import annotations

from gradscope.budget import available_bytes, human
from gradscope.cli._measure import lengths, plan_of
from gradscope.cli._models import Model
from gradscope.cli._request import Request

__all__ = ["plan_text"]


def plan_text(request: Request, models: list[Model]) -> str:
    """Return the plan as text: one block a model, with bytes by purpose."""
    lines = []
    for model in models:
        cell = model.cell
        batch, steps = lengths(request, model)
        plan = plan_of(request, model, batch, steps)
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state of {cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items()]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
    if request.remedies:
        lines.append("--remedies: then one run for each change, one after the other")
    return "\n".join(lines) + "\n"
