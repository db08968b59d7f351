"""Four matrix products that the eigenvalues of their factors do not predict."""

import numpy as np

import gradscope

np.set_printoptions(precision=4, suppress=True)
T = 200
pairs = {
    "a Jordan block, radius 0.99": [[[0.99, 1], [0, 0.99]]] * 2,
    "radius 0 and radius 0": [[[0, 2], [0, 0]], [[0, 0], [2, 0]]],
    "radius 2 and radius 2": [[[2, 0], [0, 0.1]], [[0.1, 0], [0, 2]]],
    "radius 1 and radius 1": [[[1, 1], [0, 1]], [[1, 0], [1, 1]]],
}
for name, pair in pairs.items():
    radii = [np.abs(np.linalg.eigvals(J)).max() for J in np.array(pair, float)]
    chain = gradscope.JacobianChain.from_arrays(np.tile(np.array(pair, float), (T // 2, 1, 1)))
    print(name)
    print("  sum of log radii       ", f"{T / 2 * sum(np.log(r) if r else -np.inf for r in radii):.4f}")
    print("  log singular values    ", gradscope.singular_values(chain).logs)
    print("  log |eigenvalues|      ", gradscope.eigenvalues(chain).logs)
    print("  exponents, nats a step ", gradscope.lyapunov(chain).exponents)
