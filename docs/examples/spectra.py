"""All Lyapunov exponents, singular values and eigenvalues along the run of a network."""

import numpy as np

import gradscope

np.set_printoptions(precision=3, suppress=True)
cell = gradscope.create("gru", hidden_size=8, input_size=4, seed=0)
rng = np.random.default_rng(0)
s, jacobians = np.zeros(cell.state_size), []
for x in rng.standard_normal((400, cell.input_size)):
    jacobians.append(cell.jacobian(x, s).dense())
    s = cell.step(x, s)
chain = gradscope.JacobianChain.from_arrays(jacobians[100:])  # without the transient

growth = gradscope.lyapunov(chain)
print("exponents        ", growth.exponents)
print("standard errors  ", growth.standard_errors, "over", growth.errors_are_over)
print(f"sum - log|det|    {growth.determinant_error:.0e}")
print("singular values  ", gradscope.singular_values(chain).logs / chain.steps)
print("eigenvalues      ", gradscope.eigenvalues(chain).logs / chain.steps)

product = np.linalg.multi_dot(jacobians[:99:-1])
with np.errstate(divide="ignore"):
    naive = np.log(np.linalg.svd(product, compute_uv=False)) / chain.steps
print("by numpy's svd   ", naive)
