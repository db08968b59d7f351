"""How much memory, and how many operations, does a run take? And --dry-run, which says so and runs nothing.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.cli._models import Model
from gradscope.dynamics.budget import (
    CHECKPOINTS,
    EVERYTHING,
    STATES,
    Plan,
    available_bytes,
    human,
    operations,
)

if TYPE_CHECKING:
    from gradscope.networks.network import Network

__all__ = ["calls_of", "plan_of", "plan_text"]

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
    lines = []
    for model, batch, steps in models:
        plan = plan_of(model, batch, steps)
        lines += [f"{model.title}: {steps} steps with warm-up, {batch} sequences, state of {model.cell.state_size}"]
        lines += [f"  {name}: {human(size)}" for name, size in plan.parts.items() if size]
        lines += [f"  kept of the run: {_stored(plan)}"]
        lines += [f"  in all about {human(plan.total)}; {human(available_bytes())} are free"]
        counts = _operations(model, batch, steps)
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


def plan_of(model: Model, batch: int, steps: int) -> Plan:
    """Return what a run of so many sequences and steps, warm-up included, takes of memory."""
    from gradscope.analysis.lyapunov import affordable
    from gradscope.kernels.kinds import kernel_of
    from gradscope.networks.gate import keep_signs
    from gradscope.networks.stack import cells_of

    settings, cell = model.settings, model.cell
    weights = sum(w.size for w in cell.weights().values())
    dense, inputs = settings.lags > 0 and not cell.diagonal, cell.network.network_input_size
    without_gate = [c for c in cells_of(cell) if not keep_signs(c.gates)] if settings.remedies else []
    polar = sum(c.U.size for c in without_gate if c.U is not None)
    values = min(settings.spectrum, cell.state_size)
    columns = 2 * values * min(batch, affordable(steps, cell.state_size, values))  # one frame leads, one counts
    size, kernel = cell.dtype.itemsize, kernel_of(cell)
    saved, name = sum(kernel.saved_rows), kernel.saved_name
    plan = Plan(cell.state_size, inputs, weights, steps, batch, size, dense, polar, columns, saved, saved_name=name)
    return plan.fitting(settings.max_memory)


def _operations(model: Model, batch: int, steps: int) -> dict[str, float]:
    """Return the number of floating-point operations of each part of a run; `steps` include the warm-up."""
    from gradscope.analysis.lyapunov import affordable
    from gradscope.analysis.steps import SPECTRA_WORK
    from gradscope.networks.stack import cells_of

    settings, n, cells = model.settings, model.cell.state_size, cells_of(model.cell)
    measured = max(1, steps - settings.warmup_steps)
    values = min(settings.spectrum, n)
    return operations(
        plan_of(model, batch, steps),
        # Jacobians of a function are matrices
        recurrent=sum(c.U.size for c in cells if c.U is not None) if cells else n**2,
        measured=measured,
        values=values,
        lags=min(settings.lags, measured),
        sequences=min(batch, affordable(steps, n, values)),
        spectra=min(measured * batch, settings.step_spectra or max(6, int(SPECTRA_WORK / n**3))),
        paths=any(len(c.gates) > 1 for c in cells),
    )


def calls_of(cell: Network, batch: int, steps: int) -> int:
    """Return the number of calls of a user's function: for the run, and once for its Jacobians; 0 for other cells."""
    from gradscope.networks.function import FunctionCell

    return steps * batch * (1 + cell.jacobian_calls) if isinstance(cell, FunctionCell) else 0
