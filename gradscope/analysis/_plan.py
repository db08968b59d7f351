"""How much memory, and how many operations, do the run of a network and its analyses take? Asked before they begin."""

from __future__ import annotations

from gradscope.analysis.lyapunov import affordable
from gradscope.analysis.memory import replayed_steps
from gradscope.analysis.steps import FEWEST_SPECTRA, SPECTRA_WORK
from gradscope.dynamics.budget import Plan, operations
from gradscope.kernels.kinds import kernel_of
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.gate import keep_signs
from gradscope.networks.network import Network
from gradscope.networks.stack import cells_of
from gradscope.settings import INPUT_SIZE, Settings


def plan_of(cell: Network, settings: Settings, batch: int, steps: int) -> Plan:
    """Return the memory that a run takes, with as much of the run stored as fits.

    Args:
        cell: the network.
        settings: of the analyses, and the limit.
        batch: sequences.
        steps: steps, warm-up included.
    """
    without_gate = [c for c in cells_of(cell) if not keep_signs(c.gates)] if settings.remedies else []
    values, kernel = min(settings.spectrum, cell.state_size), kernel_of(cell)
    plan = Plan(
        state=cell.state_size,
        inputs=cell.network.network_input_size,
        weights=sum(w.size for w in cell.weights().values()),
        steps=steps,
        batch=batch,
        itemsize=cell.dtype.itemsize,
        dense=settings.lags > 0 and not cell.diagonal,
        polar=sum(c.U.size for c in without_gate if c.U is not None),
        # one frame leads, one counts
        columns=2 * values * min(batch, affordable(steps, cell.state_size, values)),
        saved=sum(kernel.saved_rows),
        saved_name=kernel.saved_name,
    )
    return plan.fitting(settings.max_memory)


def plan_of_class(cls: type[Cell], settings: Settings) -> Plan:
    """Return the memory that a cell with random weights and its run take at least, before the weights are drawn."""
    hidden, inputs, directions = settings.hidden, settings.input_size or INPUT_SIZE, 1 + settings.bidirectional
    rows = len(cls.gates) * hidden * directions
    matrices = cls.recurrent_weights or bool(cls.products)
    recurrent = hidden if matrices else 0  # columns of U
    above = rows * (recurrent + hidden * directions + 2) * (settings.layers - 1)
    return Plan(
        state=hidden * len(cls.parts) * (1 if settings.bidirectional else settings.layers),
        inputs=inputs,
        weights=rows * (recurrent + inputs + 2) + above,
        steps=settings.measured_steps + settings.warmup_steps,
        batch=settings.sequences,
        itemsize=4 if settings.dtype == "float32" else 8,
        dense=settings.lags > 0 and (matrices or settings.layers > 1 or settings.closed_loop),
    )


def operations_of(cell: Network, settings: Settings, plan: Plan) -> dict[str, float]:
    """Return the number of floating-point operations of each part of a run."""
    n, batch, cells = cell.state_size, plan.batch, cells_of(cell)
    measured = max(1, plan.steps - settings.warmup_steps)
    values = min(settings.spectrum, n)
    return operations(
        plan,
        # Jacobians of a function are matrices
        recurrent=sum(c.U.size for c in cells if c.U is not None) if cells else n**2,
        measured=measured,
        replayed=replayed_steps(batch, measured),
        values=values,
        lags=min(settings.lags, measured),
        sequences=min(batch, affordable(plan.steps, n, values)),
        spectra=min(measured * batch, settings.step_spectra or max(FEWEST_SPECTRA, int(SPECTRA_WORK / n**3))),
        paths=any(len(c.gates) > 1 for c in cells),
    )


def calls_of(cell: Network, batch: int, steps: int, warmup: int = 0) -> int:
    """Return the number of calls of a user's function: for the run, its Jacobians, and runs from another past.

    Args:
        cell: the network; 0 for other cells than functions.
        batch: sequences.
        steps: steps, warm-up included.
        warmup: those that are not measured.
    """
    if not isinstance(cell, FunctionCell):
        return 0
    return steps * batch * (1 + cell.jacobian_calls) + replayed_steps(batch, steps - warmup)
