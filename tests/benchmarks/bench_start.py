"""How long is the wait for a command, beside what merely importing takes, and how much memory does a long run take?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from bench_timing import Line, paired, rounds_of

GRADSCOPE = (sys.executable, "-m", "gradscope")
CASES = {  # (what is typed, what it is held against, target)
    "start-help": (("--help",), "import typer, rich.console", 0.5),
    "start-analyze": (
        ("analyze", "--cell", "gru", "--steps", "200", "--json"),
        "import numpy, scipy.linalg, typer",
        0.5,
    ),
}
START, MEMORY = "start-up / python -c imports", "memory"
LONG = ("analyze", "--cell", "gru", "--hidden", "256", "--batch", "1", "--lags", "0", "--json", "--steps")
STEPS, SHARES = (
    1_000_000,
    (0.1, 0.2),
)  # the run, and parts of it with as many entries in their series, which are thinned
SHORT = 10_000  # steps of a run that only shows that all of this works
TIGHT = ("--max-memory", "400MB")  # under which these parts keep as little of the run as all of it has to under 1 GiB
ALLOWED = 1.0  # GiB
PEAK = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"


def _call(command: Sequence[str]) -> Callable[[], None]:
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True) and None


def measure(name: str, seconds: float) -> list[Line]:
    """Time a command against the imports, in new processes that take turns."""
    typed, imports, target = CASES[name]
    other = (sys.executable, "-c", imports)
    times = rounds_of({"ours": _call((*GRADSCOPE, *typed)), "imports": _call(other)}, max(seconds, 10.0))
    found = paired(times["ours"], times["imports"])
    case = f"gradscope {' '.join(typed)}"
    return [Line(START, case, *found, target=target, note=f"at most twice: {imports}")]


def peak(steps: int, *options: str) -> float:
    """Return the largest resident memory of the long run with so many steps, GiB."""
    command = [sys.executable, "-c", PEAK, *GRADSCOPE, *LONG, str(steps), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no word'])[0]}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(done.stdout) * unit / 2**30


def memory(steps: int = STEPS, *, full: bool = False) -> list[Line]:
    """Measure the memory of a long run, or extrapolate it from two parts of it.

    What grows with the root of the steps makes a straight line through the two too high further on, never too low.
    """
    if full or steps <= SHORT:
        found, note = peak(steps), "measured"
    else:
        short, longer = (int(steps * share) for share in SHARES)
        a, b = peak(short, *TIGHT), peak(longer, *TIGHT)
        found, note = a + (b - a) * (steps - short) / (longer - short), f"at most, from {short} and {longer} steps"
    case = f"gru H=256 B=1 T={steps}: gradient norms, peak memory"
    return [Line(MEMORY, case, found, ALLOWED, ALLOWED / found, target=1.0, note=note, unit="GiB")]
