"""Gradient norms at every step, from inputs (B, T, m) to (T + 1, B) logarithms, forward run included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from bench_timing import Line, paired, rounds_of

import gradscope
from gradscope.analysis.gradients import gradient_norms
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run

STEPS, INPUTS = 200, 32
ALLOWED = 1e-12  # relative, of a gradient norm
WIDE = 512  # units from which one sequence is held against the memory that its weights have to cross
TORCH, TRAINED = "gradient norms / torch", "gradient norms / torch, weights not frozen"
WARM, COMPILED = "gradient norms / jax", "gradient norms / jax and its compilation"
LIMIT = "gradient norms / gemv of the weights"
CASES = {
    f"gradients-{kind}-{units}-{batch}": (kind, units, batch)
    for kind in ("rnn", "gru", "lstm")
    for units in (64, 128, 256, 512)
    for batch in (1, 8, 32)
} | {f"gradients-{kind}-1024-1": (kind, 1024, 1) for kind in ("rnn", "gru", "lstm")}


def ours(cell: Any, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Return {part: log norms} with c, where there is one, as frameworks count it."""
    chain = linearise(run(cell, inputs))
    logs = gradient_norms(chain, random_loss(chain)).logs
    return {"h": logs["h"]} | ({"c": logs["c_total"]} if "c" in logs else {})


def difference(a: dict[str, np.ndarray], b: dict[str, Any]) -> float:
    """Return the largest relative difference of two sets of norms that are given by their logarithms.

    The state that the run starts from has no earlier half of a step: its c is counted as a part by itself by us.
    """
    gaps = [np.abs(a[name][1:] - np.asarray(b[name])[1:]) for name in a]
    gaps += [np.abs(a["h"][:1] - np.asarray(b["h"])[:1])]
    return float(np.expm1(max(g.max() for g in gaps)))


def gemv(cell: Any, steps: int) -> Callable[[], None]:
    """Return a function that takes the weights through memory as a run and its gradient have to: twice a step."""
    U = cell.U
    u, v = np.ones(U.shape[0]), np.ones(U.shape[1])
    forth, back = np.empty(U.shape[0]), np.empty(U.shape[1])

    def cross() -> None:
        for _ in range(steps):
            np.dot(U, v, out=forth)
        for _ in range(steps):
            np.dot(u, U, out=back)

    return cross


def measure(name: str, seconds: float, steps: int = STEPS) -> list[Line]:
    """Time a case against everybody who is installed, after all agree."""
    kind, units, batch = CASES[name]
    cell = gradscope.create(kind, hidden_size=units, input_size=INPUTS, seed=0)
    inputs = np.random.default_rng(0).standard_normal((batch, steps, INPUTS))
    readout = np.ascontiguousarray(random_loss(linearise(run(cell, inputs))).direct.T)
    case, mine = f"{kind} H={units} B={batch} T={steps}", ours(cell, inputs)
    asked = 8.0 if (units, batch) == (64, 1) else 1.5
    lines: list[Line] = []
    functions: dict[str, Callable[[], Any]] = {"ours": lambda: ours(cell, inputs)}
    errors, compilation = {}, 0.0
    if units <= WIDE:
        try:
            import bench_torch

            for group in (TORCH, TRAINED):
                weights, frozen = cell.weights(), group == TORCH
                functions[group] = bench_torch.gradient_norms(kind, weights, inputs, readout, frozen=frozen)
                errors[group] = difference(mine, functions[group]())
        except ImportError as absent:
            lines.append(Line(TORCH, case, note=f"not installed: {absent.name}"))
        try:
            import bench_jax

            began = time.perf_counter()
            program = bench_jax.compiled(*bench_jax.gradient_norms(kind, cell.weights(), inputs, readout))
            compilation = time.perf_counter() - began
            functions[WARM], errors[WARM] = program, difference(mine, program())
        except ImportError as absent:
            lines.append(Line(WARM, case, note=f"not installed: {absent.name}"))
    if batch == 1 and units >= WIDE:
        functions[LIMIT] = gemv(cell, steps)
    times = rounds_of(functions, seconds)
    for group in functions:
        if group != "ours":
            target = {TORCH: asked, LIMIT: 0.9}.get(group)
            found = paired(times["ours"], times[group])
            lines.append(
                Line(group, case, *found, target=target, error=errors.get(group), allowed=ALLOWED if errors else None)
            )
        if group == WARM:
            both = [compilation + t for t in times[WARM]]
            lines.append(Line(COMPILED, case, *paired(times["ours"], both), note=f"compiles in {compilation:.2g} s"))
    return lines
