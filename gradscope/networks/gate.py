"""What is there to say of one gate of a cell?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Gate", "gate_intervals", "gate_names", "keep_signs"]


class Gate(NamedTuple):
    """One gate: `gates = {"f": Gate("forget", (0, 1), keeps=+1), ...}`, in the order of the rows of the weights.

    Attributes:
        name: what the literature calls the gate; "forget" gives the setting `forget_bias`. "" for no name.
        interval: the interval that the gate's values lie in; values at its ends are counted as saturated. None where
            there are no bounds.
        keeps: +1 where an open gate keeps the old state, -1 where an open gate replaces the old state, 0 for neither.
        split: whether the recurrent and the input preactivation of the gate stay apart: `p["n"]` is then U h + b_hh,
            and `p["n_x"]` is W x + b_ih.
    """

    name: str = ""
    interval: tuple[float, float] | None = None
    keeps: int = 0
    split: bool = False


def gate_names(gates: Mapping[str, Gate]) -> dict[str, str]:
    """Return {gate: its name} of the gates that have one."""
    return {key: gate.name for key, gate in gates.items() if gate.name}


def keep_signs(gates: Mapping[str, Gate]) -> dict[str, int]:
    """Return {gate: +1 or -1} of the gates that decide how much old state is kept.

    Gates that keep come first, and the last ones in the weights before the others: these act nearest to the output.
    """
    signs = {key: gate.keeps for key, gate in reversed(list(gates.items())) if gate.keeps}
    return dict(sorted(signs.items(), key=lambda item: -item[1]))


def gate_intervals(gates: Mapping[str, Gate]) -> dict[str, tuple[float, float]]:
    """Return {gate: its interval} of the gates that have bounds."""
    return {key: gate.interval for key, gate in gates.items() if gate.interval is not None}
