"""How often does a 95 % interval hold the truth? Simulated runs of systems whose first exponent is known.

    python tests/benchmarks/coverage_study.py            # minutes; writes the table of docs/explanation/coverage.md
    python tests/benchmarks/coverage_study.py --quick    # seconds, few runs; only prints

Many runs lie side by side in one chain, and `lyapunov.frame_growth` follows them all; `lyapunov.spectrum`, which is
what makes the interval, is then called for the sequences of one run at a time, as `gradscope.lyapunov` calls it.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import digamma

import gradscope
from gradscope.analysis.gradients import gradient_norms
from gradscope.analysis.lyapunov import LONGEST_BURN, frame_growth, spectrum, usual_burn
from gradscope.analysis.reach import reach
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.dynamics.loss import random_loss
from gradscope.dynamics.trajectory import run
from gradscope.kernels.frame import FrameGrowth
from gradscope.numerics.statistics import mean_error, student
from gradscope.report.case import Case
from gradscope.report.sections import lyapunov as exponents_section

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "coverage.md"
BEGIN, END = "<!-- table: make coverage-study -->", "<!-- end of table -->"
WARMUP = 50  # steps, what `gradscope analyze` does unless told otherwise
TOGETHER = 400  # sequences that are followed side by side
TRUTH = 4000  # counted steps of each of the sequences that the truth is measured with
Z = 1.959964  # 97.5 % quantile of the normal distribution


class Chains(NamedTuple):
    """Jacobians of several sequences: those that are measured, and the same with the burn-in before them."""

    measured: JacobianChain
    longer: JacobianChain
    burn: int


@dataclass(frozen=True)
class System:
    """Something with a first exponent.

    Attributes:
        chains: (sequences, steps, warm-up, generator) -> Chains.
        exponent: the first exponent, if it is known exactly; then the expected rate of a gradient is the same.
        settle: steps after which states and directions have forgotten where they began.
    """

    chains: Callable[[int, int, int, np.random.Generator], Chains]
    exponent: float | None = None
    settle: int = 0


class Plan(NamedTuple):
    """A row of the table, before it is measured; the runs are shared out evenly over the systems."""

    name: str
    systems: Sequence[System]
    sequences: int
    steps: int
    runs: int
    warmup: int = WARMUP


class Run(NamedTuple):
    """What one run found, and whether it holds what it should."""

    error: float  # exponent - truth
    half: float
    covered: bool
    plain: bool  # the same of Student's t alone, with frames that begin in random directions
    rate_covered: bool
    warned: bool


class Row(NamedTuple):
    """A row of the table: shares are of `runs`."""

    plan: Plan
    runs: int
    covered: int
    plain: int | None
    rate_covered: int
    warned: int
    half: float  # median half width
    bias: float  # mean error over the standard deviation of errors
    lowest: float  # share in the system that did worst
    uncertainty: float  # largest standard error of a truth, relative to the half width


def ginibre(n: int = 4, scale: float = 0.5) -> System:
    """Independent Gaussian matrices; lambda_1 = log s + (log 2 + psi(n/2))/2 (Newman 1986)."""

    def chains(sequences: int, steps: int, warmup: int, rng: np.random.Generator) -> Chains:
        chain = JacobianChain.from_arrays(scale * rng.standard_normal((steps, sequences, n, n)))
        return Chains(chain, chain, usual_burn(steps))

    return System(chains, float(np.log(scale) + (np.log(2) + digamma(n / 2)) / 2))


def network(cell: Any, settle: int) -> System:
    """Return a network driven by white noise, linearised as `gradscope.analyze` does it."""

    def chains(sequences: int, steps: int, warmup: int, rng: np.random.Generator) -> Chains:
        inputs = rng.standard_normal((sequences, warmup + steps, cell.network_input_size))
        lead = min(warmup, LONGEST_BURN)
        whole = run(cell, inputs, warmup=warmup - lead)
        return Chains(linearise(whole.after(lead)), linearise(whole), max(lead, usual_burn(whole.steps)))

    return System(chains, settle=settle)


def leaky(leak: float, gain: float, seed: int) -> System:
    """Return a leaky network, the cell of the page on writing one."""
    made = runpy.run_path(str(ROOT / "docs" / "examples" / "drip.py"))["Drip"]
    drawn = gradscope.create("rnn", hidden_size=32, input_size=8, init="gaussian", gain=gain, seed=seed)
    cell = made(W=drawn.W, U=drawn.U, b_ih=drawn.b_ih, b_hh=drawn.b_hh, leak=leak)
    return network(cell, settle=int(100 / leak))


def long_run(system: System, rng: np.random.Generator, sequences: int = 100, parts: int = 4) -> tuple[float, float]:
    """Return the first exponent and its standard error, from one vector in each of many long sequences."""
    samples: list[float] = []
    for _ in range(parts):
        _, chain, _ = system.chains(sequences, system.settle + TRUTH, 0, rng)
        v = rng.standard_normal((chain.size, chain.batch))
        grown = np.zeros(chain.batch)
        for t, J in chain.forward():
            v = J.jvp(v)
            size = np.sqrt((v * v).sum(axis=0))
            v /= size
            if t >= system.settle:
                grown += np.log(size)
        samples += list(grown / TRUTH)
    return float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(len(samples)))


def runs_of(system: System, plan: Plan, count: int, truth: float, rng: np.random.Generator) -> Iterator[Run]:
    """Simulate runs of one system. The rate of a gradient is held against its mean over all of them."""
    found, gains = [], []
    while len(found) < count:
        now = min(count - len(found), max(1, TOGETHER // plan.sequences))
        measured, longer, burn = system.chains(now * plan.sequences, plan.steps, plan.warmup, rng)
        followed = frame_growth(longer, 1, burn, int(rng.integers(1 << 31)))
        norms = gradient_norms(measured, random_loss(measured, seed=int(rng.integers(1 << 31)))).state
        for own in (slice(i * plan.sequences, (i + 1) * plan.sequences) for i in range(now)):
            found.append((followed.of(own), reach(norms[:, own]).interval))
        gains.append((norms[0] - norms[-1]) / plan.steps)
    expected = truth if system.exponent is not None else float(np.concatenate(gains).mean())
    for mine, rate in found:
        growth = spectrum(mine)
        low, high = growth.interval[0]
        yield Run(
            error=float(growth.exponents[0] - truth),
            half=float(high - low) / 2,
            covered=bool(low <= truth <= high),
            plain=_plain(mine, truth),
            rate_covered=rate is not None and rate[0] <= expected <= rate[1],
            warned=bool(exponents_section.findings(growth, _case(system, plan))),
        )


def _case(system: System, plan: Plan) -> Case:
    kind = "jacobians" if system.exponent is not None else "linear"
    return Case({}, model={"source": "python", "cell": kind}, config={"warmup": plan.warmup})


def _plain(run: FrameGrowth, truth: float) -> bool:
    samples = run.first_pass[:, 0] / run.steps[run.first_pass_end]
    error, freedom = mean_error(samples)
    return bool(abs(samples.mean() - truth) <= student(freedom) * error)


def study(plan: Plan, truths: dict[System, tuple[float, float]], seed: int = 0) -> Row:
    """Simulate a row, and count."""
    share = -(-plan.runs // len(plan.systems))
    found: list[list[Run]] = []
    for number, system in enumerate(plan.systems):
        if system not in truths:
            exact = system.exponent
            truths[system] = (exact, 0.0) if exact is not None else long_run(system, np.random.default_rng([seed, 1]))
        rng = np.random.default_rng([seed, 2, plan.sequences, plan.steps, plan.warmup, number])
        found.append(list(runs_of(system, plan, share, truths[system][0], rng)))
    every = [r for runs in found for r in runs]
    count = lambda name: sum(getattr(r, name) for r in every)  # noqa: E731
    half = float(np.median([r.half for r in every]))
    scaled = [np.array([r.error for r in runs]) / np.std([r.error for r in runs], ddof=1) for runs in found]
    return Row(
        plan,
        len(every),
        count("covered"),
        count("plain") if plan.sequences > 1 else None,
        count("rate_covered"),
        count("warned"),
        half,
        float(np.concatenate(scaled).mean()),
        min(float(np.mean([r.covered for r in runs])) for runs in found),
        max(truths[s][1] / float(np.median([r.half for r in f])) for s, f in zip(plan.systems, found, strict=True)),
    )


def wilson(covered: int, runs: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    p, q = covered / runs, Z * Z / runs
    middle, half = (p + q / 2) / (1 + q), Z * np.sqrt(p * (1 - p) / runs + q / runs / 4) / (1 + q)
    return float(middle - half), float(middle + half)


def plans(scale: float = 1.0) -> list[Plan]:
    """Return the rows of the table; `scale` multiplies the number of runs."""
    many, some = (max(1, int(scale * n)) for n in (1000, 600))
    sizes = {"input_size": 8, "seed": 0}
    matrices = [ginibre()]
    rnn = [network(gradscope.create("rnn", hidden_size=32, init="gaussian", gain=1.5, **sizes), 300)]
    gated = {n: [network(gradscope.create(n, hidden_size=16, **sizes), 300)] for n in ("lstm", "gru")}
    slow = [leaky(0.05, gain, seed) for gain in (1.0, 1.5) for seed in range(6)]
    rows = [
        Plan("Gaussian matrices, 4 x 4", matrices, 8, 200, many),
        Plan("RNN, gain 1.5", rnn, 8, 200, many),
        *(Plan(f"{n.upper()}, default weights", s, 8, 200, many) for n, s in gated.items()),
        Plan("leaky, twelve networks", slow, 8, 200, many, 1000),
        Plan("leaky, twelve networks", slow, 8, 1000, some, 1000),
        Plan("leaky, twelve networks", slow, 8, 200, many),
    ]
    for name, systems, warmup in (("RNN, gain 1.5", rnn, WARMUP), ("leaky, twelve networks", slow, 1000)):
        rows += [Plan(name, systems, 1, steps, some, warmup) for steps in (200, 1000, 5000)]
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    head = ["system", "warm-up", "sequences", "steps", "runs", "holds the exponent", "lowest", "half width", "bias, sd"]
    head += ["without turning", "warned", "rate"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for r in rows:
        low, high = wilson(r.covered, r.runs)
        exact = all(s.exponent is not None for s in r.plan.systems)
        cells = [r.plan.name, "none" if exact else str(r.plan.warmup), str(r.plan.sequences), str(r.plan.steps)]
        cells += [str(r.runs), f"**{_percent(r.covered / r.runs)}** ({_percent(low)} to {_percent(high)})"]
        cells += [_percent(r.lowest) if len(r.plan.systems) > 1 else "", f"{r.half:.2g}", f"{r.bias:+.2f}"]
        cells += ["" if r.plain is None else _percent(r.plain / r.runs), _percent(r.warned / r.runs)]
        lines.append([*cells, _percent(r.rate_covered / r.runs)])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    worst = max((r.uncertainty for r in rows), default=0.0)
    return f"{text}\n\nThe truths are known to {_percent(worst)} of a half width or better (one standard error)."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def written(page: str, text: str) -> str:
    """Return the page with the table between its markers replaced."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description="count how often 95 % intervals hold the truth")
    parser.add_argument("--quick", action="store_true", help="few runs of the first row and a slow one; print only")
    quick = parser.parse_args(arguments).quick
    chosen = [plans(0.1)[i] for i in (0, 1)] if quick else plans()
    rows, truths = [], {}
    for plan in chosen:
        started = time.perf_counter()
        rows.append(study(plan, truths))
        print(table(rows[-1:]).split("\n")[2], f"{time.perf_counter() - started:.0f} s", flush=True)
    text = table(rows)
    if quick:
        print(text)
    else:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
