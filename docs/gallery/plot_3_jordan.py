"""
Spectral radius 0.99, and yet 27-fold growth
============================================

W = [[0.99, 1], [0, 0.99]] has both eigenvalues at 0.99. Its powers vanish eventually, but at 200 steps their norm
is still above one: the matrix is not normal, and the norm of the product decides. Here the norm has a closed
form: log sigma_1(W^t) = t log 0.99 + asinh(t / 1.98).
"""

import matplotlib.pyplot as plt
import numpy as np

import gradscope

W = np.array([[0.99, 1.0], [0.0, 0.99]])
chain = gradscope.JacobianChain.from_arrays(np.tile(W, (1000, 1, 1)))
result = gradscope.analyze(chain, lags=60)
product = result.series["product"]
lag = np.array(product["lag"])
exact = (lag * np.log(0.99) + np.arcsinh(lag / 1.98)) / np.log(10)
print(f"largest difference from the closed form: {np.abs(product['log10_spectral_norm'] - exact).max():.1e} decades")
print(f"largest norm: {10 ** exact.max():.1f} at lag {lag[exact.argmax()]}; at lag 1000: {10 ** exact[-1]:.3f}")

short = gradscope.analyze(gradscope.JacobianChain.from_arrays(np.tile(W, (200, 1, 1))))
print(f"after 200 steps: norm {10 ** short.series['product']['log10_spectral_norm'][-1]:.2f}")

# %%
# The spectral radius of the product, dashed, says "vanishing" at every lag.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(lag, product["log10_spectral_norm"], label="norm of the product, measured")
ax.plot(lag, exact, "k.", markersize=3, label="norm, closed form")
ax.plot(lag, lag * np.log10(0.99), "--", label="spectral radius of the product")
ax.axhline(0, color="grey", linewidth=1)
ax.set(xlabel="steps back", ylabel="log10")
ax.legend(frameon=False)
plt.show()
