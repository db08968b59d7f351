"""--dry-run: what would be done, and how much memory it takes."""

from __future__ import annotations

from gradscope.budget import Plan, available_bytes, human
from gradscope.cli._request import Model, Request

__all__ = ["plan_text"]


def plan_text(request: Request, models: list[Model]) -> str:
    """Return the plan as text: one block a model, with bytes by purpose."""
    lines = []
    for model in models:
        cell = model.cell
        steps = (request.steps or 200) + (request.warmup if request.warmup is not None else 0 if request.data else 50)
        weights = sum(w.size for w in cell.weights().values())
        plan = Plan(
            cell.state_size, cell.input_size, weights, steps, request.batch or 8, cell.dtype.itemsize, request.lags > 0
        )
        what = "as long as the data" if request.data and request.steps is None else f"{steps} steps with warm-up"
        lines += [f"{model.title}: {what}, {request.batch or 8} sequences, state of {cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items()]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
    return "\n".join(lines) + "\n"
