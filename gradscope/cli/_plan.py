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
    STATES: "states of every step; {} are recomputed",
    CHECKPOINTS: "checkpointed states; the others are recomputed",
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
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state size {model.cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items() if size]
        lines += [f"  stored: {_stored(plan)}"]
        lines += [f"  total: about {human(plan.total)}; free memory: {human(available_bytes())}"]
        counts = operations_of(model.cell, model.settings, plan)
        each = (f"{part} {count:.1e}" for part, count in sorted(counts.items(), key=lambda row: -row[1]))
        lines += [f"  floating-point operations: about {sum(counts.values()):.1e} ({', '.join(each)})"]
        if calls := calls_of(model.cell, batch, steps, model.settings.warmup_steps):
            again = "" if plan.storage == EVERYTHING else "; calls for Jacobians are repeated when needed"
            lines += [f"  function calls: about {calls}{again}"]
    if any(model.settings.remedies for model, _, _ in models):
        lines.append("--remedies adds one run per change, which these operation counts do not include")
    return "\n".join(lines) + "\n"


def _stored(plan: Plan) -> str:
    return STORED[plan.storage].format(plan.saved_name) if plan.saved else STORED[plan.storage].replace(" and {}", "")
