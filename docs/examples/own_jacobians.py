"""Measure Jacobians from any source: J[t] = d s[t+1] / d s[t], rows are outputs."""

import numpy as np

import gradscope

# Henon map, a = 1.4, b = 0.3: its Jacobian along an orbit is [[-2 a x, 1], [b, 0]].
x, y, jacobians = 0.1, 0.1, []
for _ in range(2000):
    jacobians.append([[-2.8 * x, 1.0], [0.3, 0.0]])
    x, y = 1 - 1.4 * x * x + y, 0.3 * x

chain = gradscope.JacobianChain.from_arrays(jacobians)
result = gradscope.analyze(chain, name="Henon map")
print(result)
print(f"rate: {result.metrics['rate']:.3f} nats per step, 95 % {result.metrics['rate_ci95']}")

growth = gradscope.lyapunov(chain)
print("exponents:", growth.exponents.round(3), "+-", growth.standard_errors.round(3))
print(f"their sum: {growth.exponents.sum():.6f}, and log 0.3 is {np.log(0.3):.6f}")
print(f"Kaplan-Yorke dimension: {growth.kaplan_yorke:.2f}")
print("log singular values of the product:", gradscope.singular_values(chain).logs.round(1))
print("log |eigenvalues| of the product:  ", gradscope.eigenvalues(chain).logs.round(1))
