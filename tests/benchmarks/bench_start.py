"""How long is the wait for a command, beside what merely importing takes, and how much memory does a long run take?"""

from __future__ import annotations

import os
import re
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
STEPS, PART = 1_000_000, 100_000  # the run, and a part of it that can be waited for
SHORT = 10_000  # steps of a run that only shows that all of this works
TIGHT = ("--max-memory", "400MB")  # under which the part keeps of the run what all of it does: checkpoints
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


def planned(steps: int, *options: str) -> float:
    """Return what --dry-run says that the run will need at most, GiB."""
    command = [*GRADSCOPE, *LONG, str(steps), *options, "--dry-run"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"total: about ([\d.]+) (MiB|GiB)", text)
    assert found is not None, text
    return float(found[1]) / {"MiB": 1024, "GiB": 1}[found[2]]


def memory(steps: int = STEPS, *, full: bool = False) -> list[Line]:
    """Measure the memory of a long run; or, since that takes many minutes, what is planned, and how a part kept to it.

    A line through two parts would not do: the peak of the shorter one may lie where its document is written, that of
    the longer one where its inputs are held.
    """
    if full or steps <= SHORT:
        found, note = peak(steps), "measured"
    else:
        found = planned(steps)
        plan, used = planned(PART, *TIGHT), peak(PART, *TIGHT)
        note = f"planned; of {plan:.2g} GiB that are planned for {PART} steps {used:.2g} were used"
    case = f"gru H=256 B=1 T={steps}: gradient norms, peak memory"
    return [Line(MEMORY, case, found, ALLOWED, ALLOWED / found, target=1.0, note=note, unit="GiB")]
