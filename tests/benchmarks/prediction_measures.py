"""What is measured of a network on the input of its task: the report of gradscope, and candidates of the study.

Everything is measured at the delay: from the state after the first input of a sequence to the last state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import prediction_grid as grid

import gradscope
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.trajectory import Trajectory, run
from gradscope.networks.cell import Cell

REPORTED = 64  # sequences of the report
SEQUENCES = 256  # with derivatives, of the study's own candidates; twice as many with last states
RIDGE = 1e-6  # of the mean variance, added to covariances: more sequences than state variables, nothing to shrink
CHANNELS = {"sign": (0,), "signs": (0, 1), "order": (0, 1), "adding": (0,)}  # that matter at the first step


def trained(network: grid.Network, path: Path) -> Cell:
    """Return the cell with the trained weights of a file."""
    with np.load(path) as file:
        return with_weights(network, dict(file))


def with_weights(network: grid.Network, arrays: Mapping[str, np.ndarray]) -> Cell:
    """Return the cell with trained weights; those of the readout are left out."""
    weights = {key: array.astype(float) for key, array in arrays.items() if not key.startswith("readout_")}
    return dataclasses.replace(network.create(), **({"b_hh": None} | weights))


def measures(network: grid.Network, cell: Cell) -> dict[str, Any]:
    """Return what is measured, rounded for the record; None where it is not determined."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = reported(network, cell) | candidates(network, cell)
    return {key: _rounded(value) for key, value in values.items()}


def reported(network: grid.Network, cell: Cell) -> dict[str, Any]:
    """Return fields of the document that `gradscope.analyze` makes along the input of the task."""
    inputs, _ = grid.draw(network.task, network.delay, REPORTED, network.rng(4), np.float64)
    document = gradscope.analyze(cell, inputs, step_spectra=1, lags=8).document
    metrics, series, verdict = document["metrics"], document.get("series", {}), document["verdict"]
    singular = series.get("singular", {}).get("log10_values", [[]])[-1]
    norms = series.get("log10_gradient_norm", {}).get("state", {}).get("median", [None, None])
    return {
        "state": verdict["state"],
        "memory": (verdict.get("memory") or {}).get("state"),
        "gain": norms[1],  # of the state after the first input
        "rate": metrics.get("rate"),
        "reach": metrics.get("reach"),
        "second_singular": singular[1] if len(singular) > 1 else None,
        "lyapunov": metrics.get("lyapunov_1"),
    }


def candidates(network: grid.Network, cell: Cell) -> dict[str, Any]:
    """Return Fisher memory, coherence and memory at the delay, in the channels that matter to the task."""
    inputs, answers = grid.draw(network.task, network.delay, 2 * SEQUENCES, network.rng(5), np.float64)
    path = run(cell, inputs)
    if not np.isfinite(path.states).all():
        return dict.fromkeys(("fisher", "fisher_states", "coherence", "mean_gradient", "remembered", "readout"))
    columns = input_derivatives(linearise(path).first(SEQUENCES), CHANNELS[network.task])[:, :, cell.output]
    states = path.states[-1, cell.output]
    needed = grid.TASKS[network.task].needed
    mean = columns.mean(axis=0)
    return {
        "fisher": _log10(fisher(columns, states)[needed - 1]),
        "fisher_states": _log10(fisher(columns, states, derivatives=False)[needed - 1]),
        "coherence": coherence(columns),
        "mean_gradient": _log10(np.linalg.svd(mean, compute_uv=False)[needed - 1]),
        "remembered": remembered(path, inputs),
        "readout": readout(network, states, answers),
    }


def input_derivatives(chain: JacobianChain, channels: tuple[int, ...]) -> np.ndarray:
    """Return ds_T/dx_0 in some channels, (B, channels, n)."""
    columns = []
    for channel in channels:
        unit = np.zeros((grid.INPUTS, chain.batch))
        unit[channel] = 1
        v = chain.at(0).jvp_input(unit)
        for _, J in chain.forward(1):
            v = J.jvp(v)
        columns.append(v)
    return np.array(columns).transpose(2, 0, 1)


def fisher(columns: np.ndarray, states: np.ndarray, *, derivatives: bool = True) -> np.ndarray:
    """Return the eigenvalues of G^T (C + C_g)^-1 G, largest first; Ganguli, Huh & Sompolinsky (2008).

    Products of a sequence with itself are left out of the square of the mean: they would count what cancels between
    sequences as signal.

    Args:
        columns: (B, r, H), derivatives of the last output in the inputs.
        states: (H, S), last outputs.
        derivatives: whether the covariance C_g of the derivatives counts as noise.
    """
    batch, r, size = columns.shape
    mean = columns.mean(axis=0)
    deviations = (columns - mean).reshape(batch * r, size)
    noise = np.cov(states)
    if derivatives:
        noise = noise + deviations.T @ deviations / (batch - 1)
    noise += (RIDGE * np.trace(noise) / size + np.finfo(float).tiny) * np.eye(size)
    square = mean @ np.linalg.solve(noise, mean.T)
    own = np.einsum("bri,bsi->rs", columns - mean, np.linalg.solve(noise, deviations.T).T.reshape(columns.shape))
    return np.linalg.eigvalsh(square - own / (batch * (batch - 1)))[::-1]


def coherence(columns: np.ndarray) -> float | None:
    """Return the length of the mean derivative over its root mean square, without the bias of few sequences."""
    flat = columns.reshape(len(columns), -1)
    squares = (flat * flat).sum()
    if not 0 < squares < math.inf:
        return None
    pairs = (flat.sum(axis=0) ** 2).sum() - squares
    return float(np.sqrt(max(pairs / (len(flat) - 1) / squares, 0.0)))


def remembered(path: Trajectory, inputs: np.ndarray) -> float | None:
    """Return log10 of how much of a difference of states after the first input is left at the end.

    The state after the first input is that of another sequence; the inputs that follow are the same. The distance at
    the end is relative to that of two independent sequences.
    """
    cell = path.cell
    other = np.roll(path.states[1], 1, axis=1)
    swapped = run(cell, inputs[:, 1:], start=other.T).states[-1]
    last = path.states[-1]
    independent = np.linalg.norm(last - np.roll(last, 1, axis=1), axis=0).mean()
    return _log10(np.linalg.norm(swapped - last, axis=0).mean() / independent) if independent > 0 else None


def readout(network: grid.Network, states: np.ndarray, answers: np.ndarray) -> float:
    """Return the score of a linear readout of the untrained network, from 0 (chance) to 1: it sees the answers."""
    task = grid.TASKS[network.task]
    y = np.eye(task.classes)[answers] if task.classes else answers[:, None].astype(float)
    x = np.concatenate([states, np.ones((1, states.shape[1]))]).T
    half = len(x) // 2
    gram = x[:half].T @ x[:half]
    ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    predicted = x[half:] @ np.linalg.solve(gram + ridge, x[:half].T @ y[:half])
    if not task.classes:
        return float(1 - np.square(predicted - y[half:]).sum() / np.square(y[half:]).sum())
    return float((np.mean(predicted.argmax(axis=1) == answers[half:]) - task.chance) / (1 - task.chance))


def _log10(value: float) -> float | None:
    return float(np.log10(value)) if 0 < value < math.inf else None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
