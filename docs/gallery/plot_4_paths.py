"""
Gradient paths and the forget bias
==================================

The gradient of an LSTM can take the skip path around the recurrent weights, through the forget gate, or a path through
the weights. The forget bias sets the factor f of the skip path, which is about 1/2 at bias 0: most of the gradient
takes this path, and still almost nothing arrives.
"""

import matplotlib.pyplot as plt

import gradscope

biases = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
shares, gains = [], []
for bias in biases:
    cell = gradscope.create("lstm", forget_bias=bias)
    result = gradscope.analyze(cell, lags=0)
    shares.append(result.metrics["around_share"])
    gains.append(result.metrics["log10_gain"])
    print(f"forget bias {bias:g}: {shares[-1]:.2f} around, log10 gain {gains[-1]:6.2f}, {result.verdict['state']}")

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
left.plot(biases, shares, "o-")
left.set(xlabel="forget bias", ylabel="share of the gradient around the weights")
right.plot(biases, gains, "o-")
right.axhline(0, color="grey", linewidth=1)
right.set(xlabel="forget bias", ylabel="log10 gain over 200 steps")
plt.show()

# %%
# A large share does not mean that the gradient is large: it describes the path of what is left. (In other networks a
# share may lie above one: the two paths then have opposite signs and cancel in part.)
