"""Make a cell, measure it, look at one step."""

import numpy as np

import gradscope

cell = gradscope.create("gru", hidden_size=64, input_size=16, update_bias=2)
result = gradscope.analyze(cell, steps=300)
print(result)
print({name: result.metrics[name] for name in ("reach", "half_life", "around_share")})
for finding in result.verdict["findings"]:
    print(finding["code"], finding["message"])

rng = np.random.default_rng(0)
x, s = rng.standard_normal(cell.input_size), np.tanh(rng.standard_normal(cell.state_size))
J = cell.jacobian(x, s)  # structured: no 64 x 64 matrix is built
print("one step:", cell.step(x, s).shape, "J @ v:", (J @ s).shape, "J.T @ u:", (J.T @ s).shape)
print("norm of the Jacobian:", np.linalg.norm(J.dense(), 2).round(4))
