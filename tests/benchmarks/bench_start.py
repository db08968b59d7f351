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
STEPS, SHARES = 1_000_000, (0.05, 0.1)  # the run, and the parts of it from which its memory is extrapolated
ALLOWED = 1.0  # GiB
PEAK = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


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


def peak(steps: int) -> float:
    """Return the largest resident memory of the long run with so many steps, GiB."""
    command = [sys.executable, "-c", PEAK, *GRADSCOPE, *LONG, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(done.stdout) * unit / 2**30


def memory(full: bool, steps: int = STEPS) -> list[Line]:
    """Measure the memory of a long run, or extrapolate it, a straight line through two shorter ones."""
    case = f"gru H=256 B=1 T={steps}: gradient norms, peak memory"
    if full:
        found, note = peak(steps), "measured"
    else:
        short, longer = (max(1, int(steps * share)) for share in SHARES)
        a, b = peak(short), peak(longer)
        found, note = a + (b - a) * (steps - short) / (longer - short), f"extrapolated from {short} and {longer} steps"
    return [Line(MEMORY, case, found, ALLOWED, ALLOWED / found, target=1.0, note=note, unit="GiB")]
