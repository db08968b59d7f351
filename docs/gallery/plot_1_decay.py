"""
How fast the gradient decays: rnn, lstm and gru
===============================================

The same white noise, the same loss at the last step, weights as PyTorch draws them. The gates of the LSTM and the
GRU extend the reach a little; as initialised, the gradient still vanishes.
"""

import matplotlib.pyplot as plt

import gradscope

results = {name: gradscope.analyze(gradscope.create(name), lags=0, name=name) for name in ("rnn", "lstm", "gru")}
for result in results.values():
    print(result)

# %%
# ``series`` holds log10 of the gradient norm at every time step; reversed, it is a function of the lag.
# The band is from the 5th to the 95th percentile of the eight sequences.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, style in zip(results, ("-", "--", ":"), strict=True):
    norms = results[name].series["log10_gradient_norm"]["state"]
    lags = range(len(norms["median"]))
    start = norms["median"][-1]
    (line,) = ax.plot(lags, [y - start for y in reversed(norms["median"])], style, label=name)
    low, high = ([y - start for y in reversed(norms[k])] for k in ("p05", "p95"))
    ax.fill_between(lags, low, high, alpha=0.2, color=line.get_color())
ax.axhline(-3, color="grey", linewidth=1)
ax.annotate("reach: down to 1/1000", (198, -3), ha="right", va="bottom", color="grey")
ax.set(xlabel="steps back", ylabel="log10 of |dL/ds| relative to the last step")
ax.legend(frameon=False)
plt.show()
