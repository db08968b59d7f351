"""Measure your own recurrence: the antisymmetric network of Chang, Chen, Haber & Chi (2019)."""

import numpy as np

import gradscope

rng = np.random.default_rng(0)
n, m, eps, gamma = 32, 4, 0.1, 0.01
A = rng.standard_normal((n, n)) / np.sqrt(n)
V = rng.standard_normal((n, m)) / np.sqrt(m)
W = A - A.T - gamma * np.eye(n)


def step(x, s):
    return s + eps * np.tanh(W @ s + V @ x)


cell = gradscope.from_step(step, state_size=n, input_size=m)
print(gradscope.analyze(cell, steps=200, lags=0, name="antisymmetric"))

inputs = rng.standard_normal((4, 200, m))  # your own data: (sequences, steps, inputs)
print(gradscope.analyze(cell, inputs, lags=0, name="antisymmetric, own data"))
