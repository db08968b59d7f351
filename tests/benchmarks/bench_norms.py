"""The spectral norm of the product at every lag, one sequence, back from the last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bench_timing import Line, paired, rounds_of

import gradscope
from gradscope import spectral_norms
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run

INPUTS = 32
ALLOWED = 1e-10  # relative, of a norm
TORCH = "spectral norm at every lag / torch"
CASES = {  # (cell, units, steps)
    "norms-rnn-256": ("rnn", 256, 100),
    "norms-gru-256": ("gru", 256, 100),
    "norms-lstm-256": ("lstm", 256, 30),
    "norms-gru-512": ("gru", 512, 30),
}


def ours(cell: Any, inputs: np.ndarray) -> np.ndarray:
    """Return log norms (T,) from inputs (1, T, m)."""
    return spectral_norms(linearise(run(cell, inputs)))


def measure(name: str, seconds: float, steps: int | None = None) -> list[Line]:
    """Time a case, after both agree."""
    kind, units, usual = CASES[name]
    steps = steps or usual
    cell = gradscope.create(kind, hidden_size=units, input_size=INPUTS, seed=0)
    inputs = np.random.default_rng(0).standard_normal((1, steps, INPUTS))
    case = f"{kind} H={units} n={cell.state_size} T={steps}"
    try:
        import bench_torch
    except ImportError as absent:
        return [Line(TORCH, case, note=f"not installed: {absent.name}")]
    peer = bench_torch.norms(kind, cell.weights(), inputs[0], np.zeros(cell.state_size))
    error = float(np.abs(np.expm1(ours(cell, inputs) - peer())).max())
    functions: dict[str, Callable[[], Any]] = {"ours": lambda: ours(cell, inputs), TORCH: peer}
    times = rounds_of(functions, seconds)
    return [Line(TORCH, case, *paired(times["ours"], times[TORCH]), target=5.0, error=error, allowed=ALLOWED)]
