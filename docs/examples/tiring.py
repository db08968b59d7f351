"""Rate units with adaptation: a slow average of its activity inhibits each unit."""

import numpy as np

N, leak, slow = 32, 0.2, 0.02
rng = np.random.default_rng(0)
U, W = rng.standard_normal((N, N)) / np.sqrt(N), rng.standard_normal((N, 8)) / np.sqrt(8)

state_size, input_size = 2 * N, 8
parts = {"h": N, "t": N}


def step(x, s, *, weight=1.0):
    h, t = s[:N], s[N:]
    rate = np.tanh(U @ h + W @ x - weight * t)
    return np.concatenate([h + leak * (rate - h), t + slow * (h - t)])
