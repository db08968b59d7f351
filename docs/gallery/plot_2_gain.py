"""
Where gradients begin to explode: orthogonal and gaussian weights
=================================================================

The recurrent weights of a tanh network are multiplied by a gain g. "The largest eigenvalue is above one, so the
gradient explodes" would put the transition at g = 1 for both initialisations. It lies near 1.4: the input moves the
units away from the steepest part of tanh, and larger weights must compensate.
"""

import matplotlib.pyplot as plt
import numpy as np

import gradscope

gains = np.array([0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0])
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for init, style in (("orthogonal", "-o"), ("gaussian", "--s")):
    rates, errors = [], []
    for gain in gains:
        cell = gradscope.create("rnn", init=init, gain=gain)
        metrics = gradscope.analyze(cell, lags=0).metrics
        low, high = metrics["rate_ci95"]
        rates.append(metrics["rate"])
        errors.append((high - low) / 2)
    ax.errorbar(gains, rates, errors, fmt=style, markersize=4, label=init)
    crossing = np.interp(0, rates, gains)
    print(f"{init:10} the rate is zero near gain {crossing:.2f}, and {rates[-1]:+.3f} at gain 3")

ax.axhline(0, color="black", linewidth=1)
ax.axvline(1, color="grey", linewidth=1, linestyle=":")
ax.set(xlabel="gain", ylabel="rate, nats per step (above 0: explodes)")
ax.legend(frameon=False)
plt.show()

# %%
# The error bars are 95 % intervals over eight input sequences for one sample of the weights. Another sample moves the
# curve by more than that: change ``seed`` in ``create`` to see how much.
