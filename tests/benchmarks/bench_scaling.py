"""How does the time grow with units H, steps T, sequences B and columns k?"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from bench_timing import rounds_of

import gradscope
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.products import products
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run

INPUTS = 32
USUAL = {"H": 128, "T": 200, "B": 1, "k": 16}
NAMES = {"H": "units H", "T": "steps T", "B": "sequences B", "k": "columns k"}
CASES = {  # what grows, and where
    "scaling-gradients-H": [32, 64, 128, 256, 512, 1024],
    "scaling-gradients-T": [100, 200, 400, 800, 1600, 3200],
    "scaling-gradients-B": [1, 2, 4, 8, 16, 32, 64],
    "scaling-exponents-H": [32, 64, 128, 256, 512],
    "scaling-exponents-T": [100, 200, 400, 800, 1600],
    "scaling-exponents-B": [1, 2, 4, 8, 16],
    "scaling-exponents-k": [1, 4, 16, 64, 128],
    "scaling-products-H": [32, 64, 128, 256],
    "scaling-products-T": [50, 100, 200, 400, 800],
    "scaling-products-B": [1, 2, 4, 8],
    "scaling-products-k": [1, 4, 16, 64, 128],
}
FIXED = {
    "exponents-H": {"k": None},
    "exponents-T": {"k": None},
    "gradients-H": {"B": 8},
    "gradients-T": {"B": 8},
    "products-H": {"T": 100},
    "products-B": {"H": 64},
}


def once(analysis: str, sizes: dict[str, Any]) -> Any:
    """Return a function that does one analysis of a GRU, forward run included."""
    cell = gradscope.create("gru", hidden_size=sizes["H"], input_size=INPUTS, seed=0)
    inputs = np.random.default_rng(0).standard_normal((sizes["B"], sizes["T"], INPUTS))

    def gradients() -> Any:
        chain = linearise(run(cell, inputs))
        return gradient_norms(chain, random_loss(chain))

    def exponents() -> Any:
        return gradscope.lyapunov(linearise(run(cell, inputs)), sizes["k"], sequences=sizes["B"])

    def lags() -> Any:
        return products(linearise(run(cell, inputs)), values=sizes["k"], sequences=sizes["B"])

    return {"gradients": gradients, "exponents": exponents, "products": lags}[analysis]


def measure(name: str, *, quick: bool = False) -> dict[str, Any]:
    """Time one curve, and say what was fixed."""
    _, analysis, over = name.split("-")
    sizes = {**USUAL, **FIXED.get(f"{analysis}-{over}", {})}
    xs = CASES[name][:3] if quick else CASES[name]
    functions = {str(x): once(analysis, sizes | {over: x}) for x in xs}
    times = rounds_of(functions, 0.1 if quick else 2.0, least=3)
    fixed = {key: value for key, value in sizes.items() if key != over and (key != "k" or analysis != "gradients")}
    said = ", ".join(f"{key} = {'n' if value is None else value}" for key, value in fixed.items())
    seconds = [statistics.median(times[str(x)]) for x in xs]
    label = {"gradients": "gradient norms", "exponents": "exponents", "products": "products"}[analysis]
    return {name: {"analysis": label, "over": NAMES[over], "fixed": said, "x": xs, "seconds": seconds}}
