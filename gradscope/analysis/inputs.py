"""Do raw inputs shut the gates?

A column of mean 800 adds 800 times its input weight to every preactivation: gates and units sit at the ends of their
ranges, whatever the network does, and pass no gradient. Two things have to come together: columns far from mean zero
and standard deviation one, and gates that are saturated because of them. For the second, the network is run again along
the same inputs, standardised, and the saturated shares of both runs are compared.

LeCun, Bottou, Orr & Mueller (1998), Efficient BackProp, on why inputs are standardised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.analysis._gate_values import GateStatistics, gate_statistics
from gradscope.dynamics.trajectory import Trajectory, run_again
from gradscope.maps.jacobian import Array
from gradscope.networks.stack import Direction
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.analysis._run import Run

NEEDS = ("finite", "gates")
TITLE = "scale of the inputs"

LARGE = 5.0  # absolute mean, or standard deviation, from which a column counts as raw: standardised ones have 0 and 1
SHUT = 0.5  # share of a gate's values from which it counts as shut
SWITCHED_OFF = 0.2  # share of relu units that are always zero, likewise: a large mean switches off about half of them
RELIEVED = 0.5  # of that share, which is left at most with standardised inputs if the inputs are the reason
SEQUENCES, STEPS = 8, 1000  # along which the network is run again, at most
CHUNK_STEPS = 256  # of the inputs that are copied at once


@dataclass(frozen=True)
class InputColumn:
    """One column of the inputs, over steps and sequences.

    Attributes:
        index: its number, from 0.
        name: its name in the file; "" where it has none.
        mean: mean.
        sd: standard deviation.
    """

    index: int
    name: str
    mean: float
    sd: float


@dataclass(frozen=True)
class RawInputs:
    """Inputs that saturate gates.

    Attributes:
        columns: those far from mean zero and standard deviation one, the largest first.
        inputs: number of all columns.
        gates: {gate: (saturated share of its values, the same with standardised inputs)}; of relu, the share of units
            that are always zero.
    """

    columns: tuple[InputColumn, ...]
    inputs: int
    gates: dict[str, tuple[float, float]]


def column_statistics(inputs: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column, (m,) each, of inputs (T, m, B), in float64."""
    top = np.maximum(np.abs(inputs).max(axis=(0, 2)), np.finfo(float).tiny).astype(float)  # squares stay in range
    chunks = [inputs[t : t + CHUNK_STEPS] for t in range(0, len(inputs), CHUNK_STEPS)]  # no copy of the whole input
    number = len(inputs) * inputs.shape[2]
    mean = np.sum([(x / top[:, None]).sum(axis=(0, 2)) for x in chunks], axis=0) / number
    square = np.sum([np.square(x / top[:, None] - mean[:, None]).sum(axis=(0, 2)) for x in chunks], axis=0)
    return mean * top, np.sqrt(square / number) * top


def standardised(inputs: Array, mean: Array, sd: Array) -> Array:
    """Return inputs (T, m, B) with mean zero and standard deviation one in each column; zero where it is constant."""
    scale = np.where(sd > 0, sd, 1.0)
    return np.asarray((inputs - mean[:, None]) / scale[:, None])


def large_columns(mean: Array, sd: Array, names: Sequence[str] = ()) -> tuple[InputColumn, ...]:
    """Return the columns that are far from mean zero and standard deviation one, the largest first."""
    size = np.maximum(np.abs(mean), sd)
    order = np.argsort(-size, kind="stable")
    name = names if len(names) == len(mean) else [""] * len(mean)
    return tuple(InputColumn(int(j), name[j], float(mean[j]), float(sd[j])) for j in order if size[j] > LARGE)


def applies(run: Run, settings: Settings) -> bool:
    """Return whether there are inputs from outside, and gates that are saturated."""
    path = run.chain.trajectory
    if path is None or not run.is_finite or not path.inputs.shape[1]:
        return False
    if isinstance(path.cell, Direction) and path.cell.below:  # it sees the outputs of other layers
        return False
    return bool(_shut(run.answers["gates"]))


def measure(run: Run, settings: Settings) -> RawInputs | None:
    """Measure whether large inputs are why gates are saturated; None where they are not."""
    path = run.chain.trajectory
    assert path is not None
    mean, sd = column_statistics(path.inputs)
    columns = large_columns(mean, sd, run.columns)
    if not columns:
        return None
    again = _saturated(gate_statistics(_standardised_run(path, mean, sd)))
    shut = _shut(run.answers["gates"])
    gates = {name: (share, again[name]) for name, share in shut.items() if again[name] <= RELIEVED * share}
    return RawInputs(columns, len(mean), gates) if gates else None


def _standardised_run(path: Trajectory, mean: Array, sd: Array) -> Trajectory:
    """Run the network along standardised inputs from a state of zeros."""
    inputs = standardised(path.inputs[:STEPS, :, :SEQUENCES], mean, sd)
    return run_again(path, inputs, np.zeros((path.cell.state_size, inputs.shape[2])))


def _shut(gates: dict[str, GateStatistics]) -> dict[str, float]:
    """Return {gate: saturated share} of the gates that count as shut."""
    least = {name: SHUT if s.never_active is None else SWITCHED_OFF for name, s in gates.items()}
    return {name: share for name, share in _saturated(gates).items() if share >= least[name]}


def _saturated(gates: dict[str, GateStatistics]) -> dict[str, float]:
    """Return the share of each gate's values at the ends of its range; of relu, of units that are always zero."""
    shares = {}
    for name, s in gates.items():
        shares[name] = s.low_share + s.high_share if s.never_active is None else s.never_active
    return shares
