"""Twelve networks, several seeds each, by the command line: how much of a gradient is left at the first step?"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

NETWORKS = {
    "RNN": "--cell rnn",
    "RNN, orthogonal": "--cell rnn --init orthogonal",
    "RNN, gaussian, gain 1.5": "--cell rnn --init gaussian --gain 1.5",
    "RNN, gaussian, gain 3": "--cell rnn --init gaussian --gain 3",
    "RNN, relu, identity": "--cell rnn --set activation=relu --init identity",
    "RNN, relu": "--cell rnn --set activation=relu",
    "LSTM": "--cell lstm",
    "LSTM, forget bias 1": "--cell lstm --set forget_bias=1",
    "LSTM, forget bias 5": "--cell lstm --set forget_bias=5",
    "LSTM, chrono": "--cell lstm --init chrono --set tmax=200",
    "GRU": "--cell gru",
    "GRU, chrono": "--cell gru --init chrono --set tmax=200",
}
LESS = "--lags 1 --step-spectra 1 --spectrum 1 --json"  # one exponent; no spectra of single steps


def measure(options, seed, size):
    """Return the verdict, the largest exponent (-inf: exactly zero), and log10 of dL/dh_0 and dL/dc_0."""
    command = [sys.executable, "-m", "gradscope", "analyze", *f"{options} {size} --seed {seed} {LESS}".split()]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    rate = result["metrics"]["lyapunov_1"]
    if rate is None and any(n["kind"] == "-inf" and "lyapunov" in n["path"] for n in result["nonfinite"]):
        rate = float("-inf")
    summary = {"verdict": result["verdict"]["state"], "rate": rate}
    norms = result["series"]["log10_gradient_norm"]
    return summary | {part: norms[part]["median"][0] for part in ("h", "c") if part in norms}


def spread(values, digits):
    """Return "mean +- sd" of the finite values, and the number of others."""
    finite = [v for v in values if v not in (None, float("-inf"))]
    if len(finite) < 2:
        return "-"
    lost = f" ({len(values) - len(finite)} -inf)" if len(finite) < len(values) else ""
    return f"{statistics.mean(finite):+.{digits}f} +- {statistics.stdev(finite):.{digits}f}{lost}"


def draw(measured, steps, file):
    """Draw one dot a seed."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for y, runs in enumerate(measured.values()):
        for axis, key, style in ((left, "h", "o"), (left, "c", "x"), (right, "rate", "o")):
            values = [r[key] for r in runs if key in r and r[key] not in (None, float("-inf"))]
            axis.plot(values, [y] * len(values), style, color="C1" if key == "c" else "C0", alpha=0.6)
    left.set_yticks(range(len(measured)), list(measured))
    left.invert_yaxis()
    left.axvspan(-3, 3, color="0.9", zorder=0)
    left.text(4, len(measured) - 1, "grey: within\n3 decades", va="center", fontsize=9, color="0.35")
    left.text(4, 6.4, "dot: h\ncross: c", va="center", fontsize=9, color="0.35")
    right.axvline(0, color="0.7", zorder=0)
    left.set_xlabel(f"log10 of the gradient, {steps} steps back")
    right.set_xlabel("largest Lyapunov exponent, nats per step")
    fig.savefig(file, dpi=110)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--hidden", type=int, default=128)
parser.add_argument("--only", default="", help="networks that have this in their name")
parser.add_argument("-o", metavar="FILE.png", help="draw it, too")


def main():
    wanted = parser.parse_args()
    size = f"--steps {wanted.steps} --hidden {wanted.hidden}"
    networks = {name: options for name, options in NETWORKS.items() if wanted.only in name}
    jobs = [(options, seed) for options in networks.values() for seed in range(wanted.seeds)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda job: measure(*job, size), jobs))
    measured = {name: runs[i * wanted.seeds :][: wanted.seeds] for i, name in enumerate(networks)}

    print(f"{'network':25}{'log10 dL/dh_0':17}{'log10 dL/dc_0':17}{'exponent':30}verdicts")
    for name, runs in measured.items():
        h, c, rate = ([r.get(key) for r in runs] for key in ("h", "c", "rate"))
        verdicts = ", ".join(sorted({r["verdict"] for r in runs}))
        print(f"{name:25}{spread(h, 2):17}{spread(c, 2):17}{spread(rate, 4):30}{verdicts}")
    if wanted.o:
        draw(measured, wanted.steps, wanted.o)


if __name__ == "__main__":
    main()
