"""Full Lyapunov spectra, one sequence: T steps, and in the peers a QR decomposition at every one of them.

Ours takes the first columns along the run once beforehand, and counts after a burn-in; that is in its time. The
peers count all steps from a random frame. Their numbers are held against ours from the frame that ours begins to
count with, along the same steps: then both compute the same thing, and not only almost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from bench_timing import Line, paired, rounds_of
from scipy.linalg import blas, lapack

import gradscope
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.trajectory import run
from gradscope.kernels import frame as kernel

INPUTS = 32
ALLOWED = 1e-10  # relative, of an exponent
PUBLISHED_STEPS = 10  # its steps all take equally long: time goes by steps
MEASURED_STEPS = 20  # of the limit, likewise
TORCH, WARM = "full spectrum / torch", "full spectrum / jax"
LIMIT, PUBLISHED = "full spectrum / GEMM and Cholesky QR", "full spectrum / torch as published"
CASES = {  # (cell, units, steps, asked against torch)
    "exponents-gru-64": ("gru", 64, 500, 15.0),
    "exponents-gru-128": ("gru", 128, 300, 4.0),
    "exponents-gru-256": ("gru", 256, 150, 4.0),
    "exponents-gru-512": ("gru", 512, 60, 4.0),
    "exponents-rnn-128": ("rnn", 128, 300, 3.0),
    "exponents-rnn-256": ("rnn", 256, 150, 3.0),
    "exponents-lstm-128": ("lstm", 128, 150, 3.0),
    "exponents-lstm-256": ("lstm", 256, 60, 3.0),
}


def ours(cell: Any, inputs: np.ndarray) -> Any:
    """Return the spectrum from inputs (1, T, m)."""
    return gradscope.lyapunov(linearise(run(cell, inputs)))


class Watched(NamedTuple):
    """A spectrum, and what happened on the way to it.

    Attributes:
        growth: the spectrum.
        frame: (n, n), what its counting began with: the last frame that was told to forget.
        decompositions: how often all n columns were made orthonormal.
    """

    growth: Any
    frame: np.ndarray
    decompositions: int


def watched(cell: Any, inputs: np.ndarray) -> Watched:
    """Return the spectrum, and look on."""
    frames: list[np.ndarray] = []
    done: list[bool] = []
    forget, orthonormal = kernel.Frames.start_counting, kernel.orthonormalise

    def note_frame(frame: Any, restart: Any = None) -> None:
        forget(frame, restart)
        frames.append(frame.Q[0].T.copy())

    def note_decomposition(block: np.ndarray, **options: Any) -> Any:
        found = orthonormal(block, **options)
        done.append(found is not None and block.shape[0] == block.shape[1])
        return found

    kernel.Frames.start_counting, kernel.orthonormalise = note_frame, note_decomposition  # type: ignore[method-assign]
    try:
        growth = ours(cell, inputs)
    finally:
        kernel.Frames.start_counting, kernel.orthonormalise = forget, orthonormal  # type: ignore[method-assign]
    return Watched(growth, frames[-1], sum(done))


def limit(n: int, share: float) -> Callable[[], None]:
    """Return a function that does what cannot be left out of `MEASURED_STEPS` steps with n columns.

    Args:
        n: size of the frame.
        share: of the steps after which the frame is made orthonormal again, as often as ours does it.
    """
    rng = np.random.default_rng(0)
    J, Q, out = (np.asfortranarray(rng.standard_normal((n, n)) / np.sqrt(n)) for _ in range(3))
    positive = np.asfortranarray(np.eye(n) + Q.T @ Q)

    def steps() -> None:
        for t in range(MEASURED_STEPS):
            blas.dgemm(1.0, J, Q, c=out, overwrite_c=1)
            for _ in range(int((t + 1) * share) - int(t * share)):
                blas.dsyrk(1.0, out, trans=1)
                factor, _ = lapack.dpotrf(positive, lower=0)
                blas.dtrsm(1.0, factor, out, side=1)

    return steps


def check(peer: Callable[[np.ndarray, np.ndarray, np.ndarray], Any], cell: Any, inputs: np.ndarray) -> float:
    """Return the largest relative difference of the exponents from a peer's: (inputs, state, frame) -> exponents."""
    growth, frame, _ = watched(cell, inputs)
    state = run(cell, inputs).states[growth.burn, :, 0]
    found = np.sort(np.asarray(peer(inputs[0, growth.burn :], state, frame)))[::-1]
    return float(np.abs(found / growth.exponents - 1).max())


def measure(name: str, seconds: float, steps: int | None = None) -> list[Line]:
    """Time a case against everybody who is installed, after all agree."""
    kind, units, usual, asked = CASES[name]
    steps = steps or usual
    cell = gradscope.create(kind, hidden_size=units, input_size=INPUTS, seed=0)
    inputs = np.random.default_rng(0).standard_normal((1, steps, INPUTS))
    n, w = cell.state_size, cell.weights()
    start, frame = np.zeros(n), np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    lines: list[Line] = []
    case = f"{kind} H={units} n={n} T={steps}"
    functions: dict[str, Callable[[], Any]] = {"ours": lambda: ours(cell, inputs)}
    errors, notes, times_of = {}, {}, {}
    try:
        import bench_torch

        def by_torch(x: np.ndarray, s: np.ndarray, Q: np.ndarray) -> Any:
            return bench_torch.exponents(kind, w, x, s, Q)()

        errors[TORCH] = check(by_torch, cell, inputs)
        functions[TORCH] = bench_torch.exponents(kind, w, inputs[0], start, frame)
        if n <= 128:
            few = inputs[0, :PUBLISHED_STEPS]
            functions[PUBLISHED] = bench_torch.published_exponents(kind, w, few, start, frame)
            same = bench_torch.exponents(kind, w, few, start, frame)()
            errors[PUBLISHED] = float(np.abs(functions[PUBLISHED]() / same - 1).max())
            times_of[PUBLISHED], notes[PUBLISHED] = steps / PUBLISHED_STEPS, f"from {PUBLISHED_STEPS} of its steps"
    except ImportError as absent:
        lines.append(Line(TORCH, case, note=f"not installed: {absent.name}"))
    try:
        import bench_jax

        def by_jax(x: np.ndarray, s: np.ndarray, Q: np.ndarray) -> Any:
            return bench_jax.compiled(*bench_jax.exponents(kind, w, x, s, Q))()

        errors[WARM] = check(by_jax, cell, inputs)
        began = time.perf_counter()
        functions[WARM] = bench_jax.compiled(*bench_jax.exponents(kind, w, inputs[0], start, frame))
        notes[WARM] = f"compiles in {time.perf_counter() - began:.2g} s, not counted"
    except ImportError as absent:
        lines.append(Line(WARM, case, note=f"not installed: {absent.name}"))
    share = watched(cell, inputs).decompositions / steps
    functions[LIMIT] = limit(n, share)
    times_of[LIMIT] = steps / MEASURED_STEPS
    notes[LIMIT] = f"a decomposition every {1 / share:.2g} steps"
    times = rounds_of(functions, seconds)
    for group, target in ((TORCH, asked), (WARM, 1.5), (LIMIT, 0.65), (PUBLISHED, 40.0)):
        if group in functions:
            found = paired(times["ours"], times[group], other_times=times_of.get(group, 1.0))
            allowed = ALLOWED if group in errors else None
            note = notes.get(group, "")
            lines.append(Line(group, case, *found, target=target, error=errors.get(group), allowed=allowed, note=note))
    return lines
