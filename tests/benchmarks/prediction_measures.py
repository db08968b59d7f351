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
from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import Cell

REPORTED = 64  # sequences of the report
SEQUENCES = 256  # with derivatives, of the study's own candidates; twice as many with last states
PATTERNS = 19  # random signs of sequences: the largest eigenvalue is exceeded by chance in 1 of 20 cases
RIDGE = 1e-6  # of the mean variance, added to covariances: more sequences than state variables, nothing to shrink
CANDIDATES = ("fisher", "chance", "contrast", "chance_contrast", "fisher_states", "chance_states")
CANDIDATES += ("coherence", "mean_gradient", "readout")
CHANNELS = {"sign": (0,), "signs": (0, 1), "order": (0, 1), "adding": (0,)}  # that matter at the first step


def trained(network: grid.Network, path: Path) -> Cell:
    """Return the cell with the trained weights of a file."""
    with np.load(path) as file:
        return with_weights(network, dict(file))


def with_weights(network: grid.Network, arrays: Mapping[str, np.ndarray]) -> Cell:
    """Return the cell with trained weights; those of the readout are left out."""
    weights = {key: array.astype(float) for key, array in arrays.items() if not key.startswith("readout_")}
    return dataclasses.replace(network.create(), **({"b_hh": None} | weights))


def reported(network: grid.Network, cell: Cell) -> dict[str, Any]:
    """Return fields of the document that `gradscope.analyze` makes along the input of the task, for the record."""
    inputs, _ = grid.draw(network.task, network.delay, REPORTED, network.rng(4), np.float64)
    document = gradscope.analyze(cell, inputs, step_spectra=1, lags=8).document
    metrics, series, verdict = document["metrics"], document.get("series", {}), document["verdict"]
    needed = "largest" if grid.TASKS[network.task].needed == 1 else "second"
    singular = _last(series, "singular", "log10_values") or []
    norms = series.get("log10_gradient_norm", {}).get("state", {}).get("median", [None, None])
    left, length = _last(series, "memory", "ratio"), metrics.get("memory_length")
    return _rounded(
        {
            "state": verdict["state"],
            "memory": (verdict.get("memory") or series.get("memory") or {}).get("state"),
            "gain": norms[1],  # of the state after the first input
            "gain_half": norms[1 + network.delay // 2] if len(norms) > 2 else None,
            "rate": metrics.get("rate"),
            "reach": metrics.get("reach"),
            "memory_length": length,
            "memory_left": _log10(left) if left else None,
            "second_singular": singular[1] if len(singular) > 1 else None,
            "lyapunov": metrics.get("lyapunov_1"),
            "any_fisher": _last(series, "fisher", f"log10_{needed}"),
        }
    )


def _last(series: Mapping[str, Any], name: str, field: str) -> Any:
    """Return the last value of a series, at the longest lag; None where it was not measured."""
    values = series.get(name, {}).get(field) or [None]
    return values[-1]


def candidates(network: grid.Network, cell: Cell) -> dict[str, Any]:
    """Return Fisher memory and coherence at the delay, in the channels that matter to the task, for the record."""
    inputs, answers = grid.draw(network.task, network.delay, 2 * SEQUENCES, network.rng(5), np.float64)
    path = run(cell, inputs)
    if not np.isfinite(path.states).all():
        return dict.fromkeys(CANDIDATES)
    signs = network.rng(6).choice([-1.0, 1.0], (PATTERNS, SEQUENCES))
    columns = input_derivatives(linearise(path).first(SEQUENCES), CHANNELS[network.task])[:, :, cell.output]
    states = path.states[-1, cell.output]
    needed = grid.TASKS[network.task].needed
    values, chance = fisher(columns, states, signs)
    differences, chance_of_differences = fisher(contrasts(network, cell, inputs[:SEQUENCES]), states, signs)
    of_states, chance_of_states = fisher(columns, states, signs, derivatives=False)
    mean = columns.mean(axis=0)
    return _rounded(
        {
            "fisher": _log10(values[needed - 1]),
            "chance": _log10(chance[:, needed - 1].max()),
            "contrast": _log10(differences[needed - 1]),
            "chance_contrast": _log10(chance_of_differences[:, needed - 1].max()),
            "fisher_states": _log10(of_states[needed - 1]),
            "chance_states": _log10(chance_of_states[:, needed - 1].max()),
            "coherence": coherence(columns),
            "mean_gradient": _log10(np.linalg.svd(mean, compute_uv=False)[needed - 1]),
            "readout": readout(network, states, answers),
        }
    )


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


def contrasts(network: grid.Network, cell: Cell, inputs: np.ndarray) -> np.ndarray:
    """Return how far answers move the last output, with the same noise: half of the difference, (B, needed, H).

    one sign, two signs: each sign is changed. order: the two symbols are exchanged. adding: the number at the first
    mark is 1/2 or -1/2.
    """
    each, pairs = np.arange(len(inputs)), []
    for channel in range(grid.TASKS[network.task].needed):
        plus, minus = inputs.copy(), inputs.copy()
        if network.task == "order":
            swap = inputs[:, :, 0].argmax(axis=1) > inputs[:, :, 1].argmax(axis=1)
            minus[:, :, :2] = inputs[:, :, 1::-1]
            plus[swap], minus[swap] = minus[swap], plus[swap]
        else:
            steps = inputs[:, :, 1].argmax(axis=1) if network.task == "adding" else 0
            size = 0.5 if network.task == "adding" else 1.0
            plus[each, steps, channel], minus[each, steps, channel] = size, -size
        last = [run(cell, x).states[-1, cell.output] for x in (plus, minus)]
        pairs.append((last[0] - last[1]) / 2)
    return np.array(pairs).transpose(2, 0, 1)


def fisher(
    columns: np.ndarray, states: np.ndarray, signs: np.ndarray, *, derivatives: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of G^T (C + C_g)^-1 G, largest first; Ganguli, Huh & Sompolinsky (2008).

    Products of a sequence with itself are left out of the square of the mean: they would count what cancels between
    sequences as signal.

    Args:
        columns: (B, r, H), derivatives of the last output in the inputs.
        states: (H, S), last outputs.
        signs: (P, B), random signs of sequences.
        derivatives: whether the covariance C_g of the derivatives counts as noise.

    Returns:
        eigenvalues (r,), and for each pattern of signs those that sequences without a common sign have, (P, r).
    """
    batch, r, size = columns.shape
    deviations = (columns - columns.mean(axis=0)).reshape(batch * r, size)
    noise = np.cov(states)
    if derivatives:
        noise = noise + deviations.T @ deviations / (batch - 1)
    noise += (RIDGE * np.trace(noise) / size + np.finfo(float).tiny) * np.eye(size)
    solved = np.linalg.solve(noise, columns.reshape(batch * r, size).T).T.reshape(columns.shape)
    itself = np.einsum("bri,bsi->rs", columns, solved)
    patterns = np.concatenate([np.ones((1, batch)), signs])
    sums, solved_sums = (np.einsum("pb,bri->pri", patterns, x) for x in (columns, solved))
    pairs = np.einsum("pri,psi->prs", sums, solved_sums) - itself
    values = np.linalg.eigvalsh((pairs + pairs.swapaxes(1, 2)) / 2)[:, ::-1] / (batch * (batch - 1))
    return values[0], values[1:]


def coherence(columns: np.ndarray) -> float | None:
    """Return the length of the mean derivative over its root mean square, without the bias of few sequences."""
    flat = columns.reshape(len(columns), -1)
    squares = (flat * flat).sum()
    if not 0 < squares < math.inf:
        return None
    pairs = (flat.sum(axis=0) ** 2).sum() - squares
    return float(np.sqrt(max(pairs / (len(flat) - 1) / squares, 0.0)))


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


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return numbers with the digits that a record needs; None for what is not finite."""
    return {
        key: (float(f"{x:.5g}") if math.isfinite(x) else None) if isinstance(x, float) else x
        for key, x in values.items()
    }
