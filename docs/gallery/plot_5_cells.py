"""
Every cell as it is initialised
===============================

All cells, with 64 units and their usual initialisation, on the same white noise of 200 steps, with a loss at the last
one. The rate is the change of the logarithm of the gradient norm per step; the bars are 95 % intervals over eight
sequences.
Left of the dotted line a run of this length counts as vanishing.
"""

import matplotlib.pyplot as plt
import numpy as np

import gradscope
from gradscope import plugins
from gradscope.report.verdict import DECADES
from gradscope.settings import THRESHOLD

STEPS = 200
results = {}
for name in plugins.names("cells"):
    results[name] = gradscope.analyze(gradscope.create(name, hidden_size=64), steps=STEPS, lags=0, name=name)


def rate(name):
    """Return the rate; a gradient that becomes exactly zero has none, and comes last."""
    value = results[name].metrics["rate"]
    return -np.inf if value is None else value


order = sorted(results, key=rate)
print(f"{'cell':14} {'verdict':12} {'reach':>5} {'half-life':>9} {'rate':>8}  95 % interval")
for name in reversed(order):
    m = results[name].metrics
    low, high = m["rate_ci95"] or (None, None)
    half = "-" if m["half_life"] is None else f"{m['half_life']:.3g}"
    reach = "-" if m["reach"] is None else m["reach"]
    interval = "-" if low is None else f"{low:+.4f} to {high:+.4f}"
    value = "none" if m["rate"] is None else f"{m['rate']:+.4f}"
    print(f"{name:14} {results[name].verdict['state']:12} {reach:>5} {half:>9} {value:>8}  {interval}")

# %%
# Cells that were designed to keep their state keep it from the start. Most gated cells do so only with suitable biases:
# as frameworks initialise them, gates are about half open, and about half of the state is lost at every step.

COLORS = {"vanishing": "#c44e52", "stable": "#4c72b0", "exploding": "#dd8452", "inconclusive": "#8c8c8c"}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 8), sharey=True, layout="constrained")
for row, name in enumerate(order):
    m, state = results[name].metrics, results[name].verdict["state"]
    color = COLORS.get(state, "black")
    if m["rate"] is None:
        left.annotate("none: exactly zero at some lag", (-1, row), va="center", fontsize=8, color=color)
    else:
        low, high = m["rate_ci95"]
        left.errorbar(m["rate"], row, xerr=[[m["rate"] - low], [high - m["rate"]]], fmt="o", color=color, markersize=4)
    right.plot([0, m["reach"]], [row, row], color=color, linewidth=3, solid_capstyle="butt")
    right.annotate(f"{m['reach']}", (m["reach"], row), (4, 0), textcoords="offset points", va="center", fontsize=8)
bar = -DECADES * np.log(10) / STEPS
left.axvline(0, color="black", linewidth=1)
left.axvline(bar, color="grey", linewidth=1, linestyle=":")
left.set_xscale("symlog", linthresh=0.01)
left.set_xlim(-2, 0.2)
left.set_xticks([-1, -0.1, -0.01, 0, 0.01, 0.1], ["-1", "-0.1", "-0.01", "0", "0.01", "0.1"])
left.set_yticks(range(len(order)), order)
left.set_ylim(-0.7, len(order) - 0.3)
left.grid(axis="y", alpha=0.3)
left.set(xlabel="rate, nats per step (linear up to 0.01, then logarithmic)")
right.set_xlim(0, STEPS * 1.1)
right.set(xlabel=f"reach: steps back that get {THRESHOLD:g} or more, of {STEPS}")
for state in dict.fromkeys(r.verdict["state"] for r in results.values()):
    right.plot([], [], color=COLORS.get(state, "black"), linewidth=3, label=state)
right.legend(frameon=False, loc="lower right")
plt.show()
