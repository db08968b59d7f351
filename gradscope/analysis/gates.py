"""Which units have stopped passing gradient: what the gates do along the run.

A gate that sits at an end of its range has a derivative near zero: nothing is learned through it. That is
not bad in itself: a forget gate that stays open is what keeps an LSTM's cell alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.analysis._gate_values import GateStatistics, gate_statistics

if TYPE_CHECKING:
    from gradscope.analysis._run import Run
    from gradscope.settings import Settings

NEEDS = ()
TITLE = "gates"


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are states."""
    return run.chain.trajectory is not None


def measure(run: Run, settings: Settings) -> dict[str, GateStatistics]:
    """Count where the values of each gate lie."""
    assert run.chain.trajectory is not None
    return gate_statistics(run.chain.trajectory)
