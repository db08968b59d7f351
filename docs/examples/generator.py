"""Fit the readout of an echo state network to the Henon map, and save it with the series."""

import numpy

rng = numpy.random.default_rng(0)
units, washout = 200, 100

# the Henon map, x' = 1 - 1.4 x^2 + y, y' = 0.3 x; the network reads x
points = [(0.1, 0.1)]
for _ in range(4000):
    x, y = points[-1]
    points.append((1 - 1.4 * x * x + y, 0.3 * x))
series = numpy.array(points)[100:, :1]

weights = {
    "rnn.weight_ih_l0": rng.uniform(-1, 1, (units, 1)),
    "rnn.weight_hh_l0": 0.3 * rng.standard_normal((units, units)) / numpy.sqrt(units),
    "rnn.bias_ih_l0": rng.uniform(-0.5, 0.5, units),
    "rnn.bias_hh_l0": numpy.zeros(units),
}
h, states = numpy.zeros(units), []
for value in series[:-1]:
    h = numpy.tanh(weights["rnn.weight_ih_l0"] @ value + weights["rnn.weight_hh_l0"] @ h + weights["rnn.bias_ih_l0"])
    states.append(h)

# ridge regression of the next value on the state, with a constant
known = numpy.column_stack([states, numpy.ones(len(states))])[washout:]
wanted = series[1 + washout :]
solved = numpy.linalg.solve(known.T @ known + 1e-8 * numpy.eye(units + 1), known.T @ wanted)
error = numpy.sqrt(numpy.mean((known @ solved - wanted) ** 2))
print(f"error of one step: {error:.1e}")

numpy.savez("henon.npz", **weights, **{"head.weight": solved[:-1].T, "head.bias": solved[-1]})
numpy.save("series.npy", series[: 8 * 300].reshape(8, 300, 1))  # eight pieces of the series
