"""What does the cell say of itself? Numbers that only it has, from the last steps of the run."""

from __future__ import annotations

from gradscope.analysis._run import Run
from gradscope.networks.network import Property
from gradscope.settings import Settings

NEEDS = ("finite",)
LAST = 256  # steps from which a cell tells what is special to it


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are finite states."""
    return run.chain.trajectory is not None and run.is_finite


def measure(run: Run, settings: Settings) -> dict[str, Property] | None:
    """Return the numbers by name, or None where the cell has none."""
    assert run.chain.trajectory is not None
    last = run.chain.trajectory.window(max(0, run.chain.steps - LAST), run.chain.steps)
    return dict(run.chain.trajectory.cell.properties(last.inputs, last.states[:-1])) or None
