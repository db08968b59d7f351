"""Check drip.py, then measure it."""

import numpy as np
from drip import Drip

import gradscope
from gradscope.testing import check_cell

check_cell(Drip)

rng = np.random.default_rng(0)
n, m = 64, 8
weights = {"W": rng.standard_normal((n, m)) / np.sqrt(m), "U": rng.standard_normal((n, n)) / np.sqrt(n)}
for leak in (1.0, 0.1, 0.01):
    cell = Drip(**weights, b_ih=None, b_hh=None, leak=leak)
    result = gradscope.analyze(cell, name=f"leak {leak:g}", lags=0)
    print(f"{result}\n  skip path: {result.metrics.get('around_share', 0):.2f}")
