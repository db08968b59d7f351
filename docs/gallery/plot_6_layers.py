"""
In which layer does the gradient die?
=====================================

Eight layers of LSTM as they are initialised, with a loss that reads the top one at the last step. A gradient goes back
through time and down through the layers; the maps show what arrives at the output of each layer at each step, beside
what the loss gives the top one.
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
# Down the layers each LSTM passes on about a seventh: four layers down less than a thousandth is left. Residual
# connections take the loss to every layer at once, and change next to nothing in time. A norm makes the small outputs
# of a layer large inputs of the next: its gates move, and the gradient lasts longer in time, too.

fig, axes = plt.subplots(2, 2, figsize=(9, 5.5), sharex=True, sharey=True, layout="constrained")
for ax, (name, values) in zip(axes.flat, maps.items(), strict=True):
    image = ax.imshow(values, aspect="auto", origin="lower", cmap="cividis", vmin=-12, vmax=0)
    ax.contour(values, [-3], colors="white", linewidths=1.2, linestyles="solid")
    ax.set_title(name, loc="left", fontsize=10)
    ax.set_yticks(range(LAYERS), [f"l{i}" for i in range(LAYERS)])
for ax in axes[1]:
    ax.set_xlabel("steps back")
fig.colorbar(image, ax=axes, extend="min", label="log10 |dL/dh| beside the loss's own (white line: 1/1000)")
plt.show()
