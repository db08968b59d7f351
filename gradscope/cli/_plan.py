"""How much memory, and how many operations, does a run take? And --dry-run, which says so and runs nothing.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from gradscope.cli._models import Model
from gradscope.dynamics.budget import (
    CHECKPOINTS,
    EVERYTHING,
    STATES,
    Plan,
    available_bytes,
    human,
)

STORED = {
    EVERYTHING: "states and {} of every step",
    STATES: "states of every step; {} are computed again",
    CHECKPOINTS: "the state of every so many steps; the others are computed again",
}


def plan_text(models: list[tuple[Model, int, int]]) -> str:
    """Return the plan as text: one block a model, with bytes by purpose and operations by part.

    Args:
        models: (model, sequences, steps with warm-up).
    """
    from gradscope.analysis._plan import calls_of, operations_of, plan_of

    lines = []
    for model, batch, steps in models:
        plan = plan_of(model.cell, model.settings, batch, steps)
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state of {model.cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items() if size]
        lines += [f"  kept of the run: {_stored(plan)}"]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
        counts = operations_of(model.cell, model.settings, plan)
        each = (f"{part} {count:.1e}" for part, count in sorted(counts.items(), key=lambda row: -row[1]))
        lines += [f"  about {sum(counts.values()):.1e} floating-point operations: {', '.join(each)}"]
        if calls := calls_of(model.cell, batch, steps):
            again = "" if plan.storage == EVERYTHING else ", and those for Jacobians again whenever they are needed"
            lines += [f"  about {calls} calls of the function{again}"]
    if any(model.settings.remedies for model, _, _ in models):
        lines.append("--remedies: then one run for each change, one after the other; operations are without them")
    return "\n".join(lines) + "\n"


def _stored(plan: Plan) -> str:
    return STORED[plan.storage].format(plan.saved_name) if plan.saved else STORED[plan.storage].replace(" and {}", "")
