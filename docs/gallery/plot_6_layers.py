"""
In which layer does the gradient vanish?
========================================

Eight LSTM layers as initialised, with a loss that reads the top layer at the last step. The gradient is propagated back
through time and down through the layers; the maps show the gradient at the output of each layer at each step, relative
to the direct gradient at the top layer.
"""

import matplotlib.pyplot as plt
import numpy as np

import gradscope

LAYERS, SHOWN = 8, 60
networks = {
    "as it is": {},
    "residual": {"residual": True},
    "layer norm": {"norm": "layer"},
    "residual and layer norm": {"residual": True, "norm": "layer"},
}
maps = {}
for name, between in networks.items():
    cell = gradscope.create("lstm", hidden_size=64, layers=LAYERS, **between)
    result = gradscope.analyze(cell, lags=0)
    norms = result.series["log10_gradient_norm"]
    rows = [norms.get(f"l{i}.h_total", norms[f"l{i}.h"])["median"][::-1] for i in range(LAYERS)]
    maps[name] = np.array(rows, float)[:, :SHOWN]
    bottom = result.metrics["layers"][0]
    reach = "never" if bottom["reach"] is None else f"{bottom['reach']} steps back"
    arrives = f"l0 gets {10 ** bottom['log10_last']:.1g} at the last step"
    print(f"{name:24} rate {result.metrics['rate']:+.3f}, {arrives}; 1/1000 or more: {reach}")

# %%
# Each LSTM passes on about a seventh to the layer below: four layers down less than a thousandth is left. Residual
# connections give the loss a direct path to every layer, and change next to nothing in time. A norm amplifies the small
# outputs of a layer: the gates of the next one move, and the reach in time grows, too.

fig, axes = plt.subplots(2, 2, figsize=(9, 5.5), sharex=True, sharey=True, layout="constrained")
for ax, (name, values) in zip(axes.flat, maps.items(), strict=True):
    image = ax.imshow(values, aspect="auto", origin="lower", cmap="cividis", vmin=-12, vmax=0)
    ax.contour(values, [-3], colors="white", linewidths=1.2, linestyles="solid")
    ax.set_title(name, loc="left", fontsize=10)
    ax.set_yticks(range(LAYERS), [f"l{i}" for i in range(LAYERS)])
for ax in axes[1]:
    ax.set_xlabel("steps back")
fig.colorbar(image, ax=axes, extend="min", label="log10 |dL/dh| relative to the direct gradient (white line: 1/1000)")
plt.show()
